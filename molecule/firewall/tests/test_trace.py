# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rule decides about a packet that another node sends: asked over ssh, as an operator would."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support import lab, snapshot

# Two nodes of one network; edge2 drops what it has not asked for.
NODE, PEER = "edge2", "edge1"
LEFT = "nft list tables | grep overssh-trace || true; ip -brief link | grep ovtrace || true"
# The shell that looks has the word in its own line as well.
SENDERS = "pgrep -f '[o]verssh-trace-probe' || true"
NO_SENDERS = "! pgrep -f '[o]verssh-trace-probe' >/dev/null"


@pytest.fixture(autouse=True)
def nothing_stays():
    before = snapshot.take(NODE, snapshot.RULESET)
    yield
    assert snapshot.take(NODE, snapshot.RULESET) == before
    assert lab.inside(NODE, LEFT) == ""
    assert lab.inside(PEER, SENDERS) == ""


def trace(node: str = NODE, **arguments) -> dict:
    address = lab.hosts()[node]["ansible_host"]
    return lab.task(node, "overssh.swarm.nft_trace", **{"protocol": "tcp", "destination": address, **arguments})


@pytest.mark.parametrize(
    "packet", [{"port": 2377}, {"protocol": "udp", "port": 4789}], ids=lambda packet: str(packet["port"])
)
def test_names_the_rule_that_drops_what_a_peer_sends_and_opens_the_way(packet):
    answer = trace(**packet, peer=PEER)
    assert (answer["changed"], answer["passes"], answer["verdict"]) == (False, False, "drop")
    assert answer["packet"]["source"] == lab.hosts()[PEER]["ansible_host"]
    assert answer["decided_by"]["rule"] == "policy drop"
    assert lab.task(NODE, "overssh.swarm.nft_rule", **answer["suggestion"])["changed"]
    try:
        again = trace(**packet, peer=PEER)
        assert (again["passes"], again["verdict"], again["fix"]) == (True, "accept", None)
    finally:
        lab.task(NODE, "overssh.swarm.nft_rule", name=answer["suggestion"]["name"], state="absent", confirm="none")


def test_what_passes_passes():
    answer = trace(port=22, peer=PEER)
    assert (answer["passes"], answer["verdict"], answer["decided_by"]) == (True, "accept", None)
    assert answer["hops"][-1]["verdict"] == "accept"


def test_traces_a_ping():
    assert trace(protocol="icmp", peer=PEER)["packet"]["source"] == lab.hosts()[PEER]["ansible_host"]


def test_follows_what_comes_through_a_nat_before_the_host():
    """The edges dial the hub at an address and a port of their NAT."""
    hub = lab.hosts()["cloud1"]
    dialled = {"peer_destination": hub["overssh_dial_host"], "peer_port": hub["overssh_dial_port"]}
    answer = trace("cloud1", port=22, peer=PEER, **dialled)
    assert (answer["passes"], answer["packet"]["destination"]) == (True, hub["ansible_host"])


def test_a_packet_that_never_comes_is_told():
    """The edges' NAT lets them reach the cloud's port of ssh and nothing else."""
    answer = trace("cloud1", port=2377, peer=PEER, timeout=2)
    assert (answer["passes"], answer["verdict"], answer["hops"]) == (False, "none", [])


def test_a_packet_made_on_the_host_has_the_same_way():
    sent = trace(port=2377, peer=PEER)
    device = sent["packet"]["in_interface"]
    made = trace(port=2377, in_interface=device, inject=True)
    assert (made["decided_by"], made["suggestion"]) == (sent["decided_by"], sent["suggestion"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"peer": "nobody"}, "no packet can be sent from nobody: there is no such host in the inventory"),
        ({"peer": PEER, "destination": None}, "destination is missing"),
        ({"peer": PEER, "destination": "no address"}, "destination is 'no address', which is no address or network"),
        ({"peer": PEER, "inject": True}, "mutually exclusive"),
    ],
)
def test_what_can_not_be_asked_is_told_and_nothing_is_sent(arguments, words):
    answer = trace(**{"port": 2377, **arguments})
    assert answer["failed"]
    assert words in answer["msg"]


def test_a_peer_that_can_not_be_reached_is_told():
    lab.machine("pause", PEER)
    try:
        answer = trace(port=2377, peer=PEER)
    finally:
        lab.machine("unpause", PEER)
    assert answer["failed"]
    assert f"no packet can be sent from {PEER}: " in answer["msg"]
    # The order may have reached the peer: it is carried out once the peer goes on, and nobody stops the sender.
    lab.wait_for(PEER, NO_SENDERS, 40)


def test_nothing_is_left_where_the_operator_breaks_it_off():
    """The controller is killed, and with it what would have stopped the sender; both ends are left by themselves."""
    arguments = {"protocol": "udp", "port": 4788, "destination": "192.0.2.1", "peer": PEER, "timeout": 2}
    command = ["ansible", NODE, "-i", str(lab.INVENTORY), "-m", "overssh.swarm.nft_trace", "-a", json.dumps(arguments)]
    with subprocess.Popen(command, cwd=lab.PROJECT, stdout=subprocess.DEVNULL) as operator:
        lab.wait_for(NODE, "nft list tables | grep -q overssh-trace", 30)
        operator.kill()
    lab.wait_for(NODE, "! nft list tables | grep -q overssh-trace", 10)
    lab.wait_for(PEER, NO_SENDERS, 40)
