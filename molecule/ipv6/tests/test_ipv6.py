# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A swarm on the IPv6 underlay: its managers, its gossip and its containers' traffic."""

from __future__ import annotations

import json

import pytest

from tests.support import lab, snapshot

UNDERLAY6 = "fd8a:91c4:6e27::/64"
PREFIX = UNDERLAY6.removesuffix("/64")
UNDERLAY = {name: f"{PREFIX}{place}" for place, name in enumerate(lab.hosts(), start=1)}
DUAL = ("--extra-vars", f"overssh_underlay6={UNDERLAY6}")
SIX = (*DUAL, "--extra-vars", "overssh_swarm_family=ipv6")


@pytest.fixture(scope="module")
def site() -> lab.Play:
    return lab.play("overssh.swarm.site", *SIX)


def test_site_forms_the_swarm_and_proves_every_pair(site):
    assert site.status == 0
    report = json.loads(lab.REPORT.read_text(encoding="utf-8"))
    assert {node["name"]: node["underlay"] for node in report["nodes"]} == UNDERLAY
    assert report["ok"] is True
    # What the tunnels carry, less VXLAN's headers over IPv6.
    assert {pair["checks"]["mtu"]["bytes"] for pair in report["pairs"]} == {65000 - 70}


def test_nodes_are_known_by_their_ipv6_addresses(site):
    script = "docker node inspect --format '{{.Description.Hostname}} {{.Status.Addr}}' $(docker node ls --quiet)"
    assert dict(line.split() for line in lab.inside(lab.hub(), script).splitlines()) == UNDERLAY


def test_the_swarm_listens_there_only(site):
    for node in lab.hosts():
        listening = lab.inside(node, "ss -H -lnt 'sport = :2377'").split()
        assert [word for word in listening if word.endswith(":2377")] == (
            [f"[{UNDERLAY[node]}]:2377"] if node == lab.hub() else []
        )


def test_a_rebooted_hub_is_what_it_was(site):
    lab.machine("restart", lab.hub(), "--time", "10")
    lab.wait_for(lab.hub(), "test $(systemctl is-system-running) = running", 120)
    lab.all_take_part(lab.hub())
    # It verifies every pair, and finds nothing to do before.
    done = lab.play("overssh.swarm.site", *SIX, "--diff")
    assert (done.status, done.total("changed")) == (0, 0)


def test_an_ipv4_swarm_is_not_made_of_it(site):
    refused = lab.play("overssh.swarm.preflight", *DUAL)
    assert refused.status == 2
    for node in lab.hosts():
        assert f"{node}: is in the swarm as {UNDERLAY[node]}, and overssh_swarm_family is ipv4;" in refused.output


def test_teardown_takes_everything_back(site):
    assert lab.play("overssh.swarm.teardown", *SIX).status == 0


@pytest.mark.parametrize("aspect", snapshot.SCRIPTS)
def test_nothing_is_left_of_it(site, node, aspect):
    assert snapshot.take(node, aspect) == snapshot.fresh(node, aspect)
