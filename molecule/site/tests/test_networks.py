# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks of a finished site fit what lies under them, the ingress network among them."""

from __future__ import annotations

import json

import pytest

from tests.support import lab

MTU = "com.docker.network.driver.mtu"


@pytest.fixture(scope="module")
def underlay() -> int:
    """The smallest MTU of all links, at both ends."""
    return min(
        link["mtu"]
        for node in lab.hosts()
        for link in json.loads(lab.inside(node, "ip -json link show"))
        if link["ifname"].startswith("tun")
    )


@pytest.mark.parametrize("network", ["overssh", "ingress"])
def test_a_network_reckons_with_the_smallest_underlay(hub, network, underlay):
    (found,) = json.loads(hub.check_output(f"docker network inspect {network}"))
    assert int((found["Options"] or {}).get(MTU, 1500)) == underlay


def test_every_node_takes_part_in_the_network_for_published_ports(host, hub, underlay):
    identity = "docker network inspect ingress --format '{{.ID}}'"
    assert host.check_output(identity) == hub.check_output(identity)
    links = json.loads(host.check_output("nsenter --net=/var/run/docker/netns/ingress_sbox ip -json link show eth0"))
    assert [link["mtu"] for link in links] == [underlay - 50]


def test_nodes_have_no_label_of_ours(hub):
    nodes = json.loads(hub.check_output("docker node inspect $(docker node ls --quiet)"))
    assert [node["Spec"]["Labels"] for node in nodes] == [{} for _node in lab.hosts()]
