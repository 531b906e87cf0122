# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet takes another shape when site is run again: a hub behind a jump host, a site, a link of its own; and back.

The way to that hub and the site's link are dialled over IPv6, and the underlay is of both families.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import lab

HUBS = lab.hubs()
JUMP, BEHIND = HUBS
NODES = list(lab.hosts())
UNDERLAY6 = "fd8a:91c4:6e27::/64"
# Of the clouds' network and the edges', which the lab itself has over IPv4 only.
PLACES6 = {name: f"fd77:0:0:{name in HUBS:d}::{place}" for place, name in enumerate(NODES, start=1)}


def links(node: str) -> set[str]:
    """The peers that a node dials."""
    return set(lab.inside(node, "cd /etc/overssh/links 2>/dev/null && ls *.conf | sed 's/.conf$//' || true").split())


def carriers(node: str) -> set[str]:
    """The peers that a node has a link with that is up."""
    script = "for each in /sys/class/net/tun*; do test $(cat $each/carrier) = 0 || cat $each/ifalias; done"
    return {line.removeprefix("overssh ") for line in lab.inside(node, script).splitlines()}


@pytest.fixture(scope="module", autouse=True)
def another_shape():
    """The second hub is dialled through the first one; edge1 and edge2 are a site; edge3 keeps to the second hub."""
    edge3 = lab.hosts()["edge3"]["ansible_host"]
    shape: dict[str, dict[str, Any]] = {
        BEHIND: {"overssh_jump": JUMP, "overssh_dial_host": PLACES6[BEHIND], "overssh_dial_port": 22},
        "edge1": {"overssh_site": "berlin", "overssh_site_host": PLACES6["edge1"]},
        "edge2": {"overssh_site": "berlin", "overssh_site_host": PLACES6["edge2"]},
        "edge3": {"overssh_hubs": [BEHIND]},
        "edge4": {"overssh_links": [{"peer": "edge3", "host": edge3, "port": 22}]},
    }
    for node in NODES:
        lab.inside(node, "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0")
        lab.inside(node, f"ip address add {PLACES6[node]}/64 dev eth0 nodad")
    for node in NODES:
        # The lab's firewalls are of people who think of IPv4 alone, and drop what neighbours ask each other.
        hardware = lab.inside(node, "cat /sys/class/net/eth0/address").strip()
        for other in NODES:
            if other != node and (other in HUBS) == (node in HUBS):
                lab.inside(other, f"ip neighbour replace {PLACES6[node]} lladdr {hardware} dev eth0 nud permanent")
    lab.changed_to({node: {"overssh_underlay6": UNDERLAY6, **shape.get(node, {})} for node in NODES})
    yield
    lab.changed_to({}, again=False)
    for node in NODES:
        lab.inside(node, f"ip address delete {PLACES6[node]}/64 dev eth0; sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")
        assert UNDERLAY6.removesuffix("/64") not in lab.inside(node, "ip address; ip -6 route; nft list ruleset")
    assert links("edge2") == set(HUBS)
    assert carriers("edge3") == set(HUBS)


def test_every_link_is_there_and_no_other():
    assert {node: links(node) for node in NODES} == {
        JUMP: set(),
        BEHIND: {JUMP},
        "edge1": set(HUBS),
        "edge2": {*HUBS, "edge1"},
        "edge3": {BEHIND},
        "edge4": {*HUBS, "edge3"},
    }
    for node in NODES:
        dialled_by = {other for other in NODES if node in links(other)}
        assert carriers(node) == links(node) | dialled_by


def test_every_node_reaches_every_other():
    for node in NODES:
        for place, other in enumerate(NODES, start=1):
            if other != node:
                lab.inside(node, f"ping -q -c 1 -W 5 172.30.0.{place}")
                lab.inside(node, f"ping -q -c 1 -W 5 {UNDERLAY6.removesuffix('/64')}{place}")


def test_links_are_dialled_over_ipv6():
    for node, place in (("edge2", PLACES6["edge1"]), (JUMP, PLACES6[BEHIND])):
        connections = lab.inside(node, f"ss -6 -H -n -t state established dst '[{place}]:22'")
        assert len(connections.splitlines()) == (1 if node == "edge2" else len(NODES) - 2), connections


def test_hubs_pass_ipv6_on_from_tunnel_to_tunnel_only():
    for node in NODES:
        script = (
            "sysctl -n net.ipv6.conf.all.forwarding net.ipv6.conf.eth0.forwarding net.ipv6.conf.eth0.force_forwarding"
        )
        assert lab.inside(node, script).split() == ["0"] * 3


def test_a_key_opens_the_way_to_the_hub_behind_the_jump_host_and_nothing_else():
    ssh = f"timeout 10 ssh -F /etc/overssh/links/{BEHIND}.conf -v -o BatchMode=yes"
    place = lab.hosts()[BEHIND]["ansible_host"]
    opened = lab.inside("edge1", f"{ssh} -W '[{PLACES6[BEHIND]}]:22' {JUMP} </dev/null 2>&1 || true")
    assert "SSH-2.0-OpenSSH" in opened.partition("Authenticated to")[2]
    closed = [f"[{PLACES6[BEHIND]}]:2377", "[::1]:22", "127.0.0.1:22", f"{place}:22", f"[{PLACES6[JUMP]}]:22"]
    for elsewhere in closed:
        refused = lab.inside("edge1", f"{ssh} -W {elsewhere} {JUMP} </dev/null 2>&1 || true")
        assert "Authenticated to" in refused, "nothing is proven unless the key was taken"
        assert "administratively prohibited" in refused
    back = lab.inside(
        "edge1", f"{ssh} -o ExitOnForwardFailure=yes -N -R 12345:127.0.0.1:22 {JUMP} </dev/null 2>&1 || true"
    )
    assert "remote port forwarding failed" in back


def test_packets_of_a_site_stay_there():
    route = lab.inside("edge1", f"ip route get 172.30.0.{NODES.index('edge2') + 1}")
    assert f"dev tun{1001 + NODES.index('edge2')}" in route
