# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hub's firewall does with the swarm's packets, told by its kernel: those in a tunnel pass, others don't."""

from __future__ import annotations

import json

import pytest

from tests.support import lab

HUB, SPOKE, OTHER = list(lab.hosts())[:3]
MANAGER = {"protocol": "tcp", "port": 2377}
DATA = {"protocol": "udp", "port": 4789, "path": "forward", "destination": "172.30.0.3"}


def trace(**arguments) -> dict:
    return lab.task(HUB, "overssh.swarm.nft_trace", **arguments)


def world() -> str:
    """The hub's device for all that is not in a tunnel."""
    return str(json.loads(lab.inside(HUB, "ip -json route show default"))[0]["dev"])


@pytest.mark.parametrize("packet", [{**MANAGER, "destination": "172.30.0.1"}, DATA], ids=["to_hub", "across"])
def test_a_packet_in_a_tunnel_passes_sent_and_injected(packet):
    """The tunnel's device is open in the process that carries it all the while."""
    answers = [
        trace(**packet, in_interface="tun1002", peer=SPOKE),
        trace(**packet, in_interface="tun1002", inject=True),
    ]
    for answer in answers:
        assert (answer["passes"], answer["path"]) == (True, packet.get("path", "input")), answer
        assert answer["packet"]["source"] == "172.30.0.2"
        assert any('comment "overssh:' in hop["rule"] for hop in answer["hops"])
    assert answers[0]["hops"] == answers[1]["hops"]


def test_the_same_packet_from_the_world_does_not():
    answer = trace(**MANAGER, in_interface=world(), inject=True)
    assert (answer["passes"], answer["verdict"]) == (False, "reject")
    assert answer["decided_by"]["rule"] == "reject with icmpx admin-prohibited"
