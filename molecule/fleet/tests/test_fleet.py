# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished fleet of two hubs."""

from __future__ import annotations

import itertools
import json

from tests.support import lab

HUBS = lab.hubs()
UNDERLAY = {name: f"172.30.0.{place}" for place, name in enumerate(lab.hosts(), start=1)}


def test_every_node_has_a_link_with_every_hub(host, node):
    carriers = {
        link["ifalias"].removeprefix("overssh ")
        for link in json.loads(host.check_output("ip -json link show"))
        if link["ifname"].startswith("tun") and "LOWER_UP" in link["flags"]
    }
    assert carriers == ((set(UNDERLAY) if node in HUBS else set(HUBS)) - {node})


def test_hubs_dial_each_other_within_their_site(host, node):
    if node == HUBS[-1]:
        conf = host.check_output(f"cat /etc/overssh/links/{HUBS[0]}.conf")
        assert f"HostName {lab.hosts()[HUBS[0]]['overssh_site_host']}\n" in conf


def test_managers_are_three_and_every_node_is_ready(hub):
    nodes = json.loads(hub.check_output("docker node inspect $(docker node ls --quiet)"))
    assert all(entry["Status"]["State"] == "ready" for entry in nodes)
    managers = {entry["Description"]["Hostname"] for entry in nodes if entry["Spec"]["Role"] == "manager"}
    assert managers == {*HUBS, "edge1"}


def test_the_report_has_every_ordered_pair():
    report = json.loads(lab.REPORT.read_text(encoding="utf-8"))
    assert report["ok"]
    assert {(pair["from"], pair["to"]) for pair in report["pairs"]} == set(itertools.permutations(UNDERLAY, 2))
