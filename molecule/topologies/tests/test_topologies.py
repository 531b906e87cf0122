# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet takes another shape when site is run again: a hub behind a jump host, a site, a link of its own; and back."""

from __future__ import annotations

import pytest

from tests.scenarios import lab

HUBS = [name for name, variables in lab.hosts().items() if variables.get("overssh_hub")]
JUMP, BEHIND = HUBS
NODES = list(lab.hosts())


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
    there = {name: variables["ansible_host"] for name, variables in lab.hosts().items()}
    lab.changed_to(
        **{
            BEHIND: {"overssh_jump": JUMP, "overssh_dial_host": there[BEHIND], "overssh_dial_port": 22},
            "edge1": {"overssh_site": "berlin", "overssh_site_host": there["edge1"]},
            "edge2": {"overssh_site": "berlin", "overssh_site_host": there["edge2"]},
            "edge3": {"overssh_hubs": [BEHIND]},
            "edge4": {"overssh_links": [{"peer": "edge3", "host": there["edge3"], "port": 22}]},
        }
    )
    yield
    lab.changed_to()
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


def test_a_key_opens_the_way_to_the_hub_behind_the_jump_host_and_nothing_else():
    ssh = f"timeout 10 ssh -F /etc/overssh/links/{BEHIND}.conf -v -o BatchMode=yes"
    place = lab.hosts()[BEHIND]["ansible_host"]
    opened = lab.inside("edge1", f"{ssh} -W {place}:22 {JUMP} </dev/null 2>&1 || true")
    assert "SSH-2.0-OpenSSH" in opened.partition("Authenticated to")[2]
    for elsewhere in ("127.0.0.1:22", f"{place}:2377", f"{lab.hosts()[JUMP]['ansible_host']}:22"):
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
