# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that are passed by for a packet are those, and only such, that do nothing with it."""

from __future__ import annotations

import ipaddress
import itertools
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.conditions import Condition, Holds, Packet, sure
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.index import Index
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.ruleset import parse
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.traversal import Reader

RECORDED = sorted((Path(__file__).resolve().parents[4] / "recorded" / "nft").glob("*/*.json"))
NETWORKS = {
    "ip": (None, ipaddress.ip_network("172.30.0.0/16"), ipaddress.ip_network("198.51.100.2/32")),
    "ip6": (None, ipaddress.ip_network("fd00:30::/32")),
}
PACKETS = [
    Packet(family, state, hook, iif, oif, protocol, port, source)
    for family, networks in NETWORKS.items()
    for state, hook, iif, oif, (protocol, port), source in itertools.product(
        ("new", "established", "invalid"),
        ("input", "forward"),
        ("tun1002", "eth0", None),
        ("", None),
        ((None, None), ("icmp", None), ("tcp", None), ("tcp", (22, 22)), ("udp", (4789, 4789)), ("tcp", (1, 65535))),
        networks,
    )
]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_rule_that_may_do_something_is_never_passed_by(path):
    ruleset = parse(path.read_text())
    reader = Reader(ruleset)
    passed_by = 0
    for key, chain in ruleset.chains.items():
        for packet in PACKETS:
            handles = reader.passed_by(key, packet)
            passed_by += len(handles)
            for rule in chain.rules:
                may = [outcome for outcome in reader.read(key, rule) if outcome.holds(packet) is not Holds.NO]
                assert not (may and rule.handle in handles), (key, rule, packet)
    assert passed_by > 0


def test_what_rules_ask_of_a_value_is_worked_out_once():
    asked = []

    def port_is(number):
        def holds(packet):
            asked.append(number)
            return sure(packet.port == (number, number))

        return Condition(holds, "port")

    index = Index([(1, [port_is(22)]), (2, [port_is(80)]), (3, [Condition(lambda packet: Holds.NO)])])
    ssh = Packet("ip", "new", "input", protocol="tcp", port=(22, 22))
    assert index.excluded(ssh) == {2}
    assert index.excluded(Packet("ip", "new", "input", iif="tun1002", protocol="tcp", port=(22, 22))) == {2}
    assert asked == [22, 80]
    # A condition that tells no field is left to whoever looks at the rule itself.
    assert index.excluded(Packet("ip", "new", "input", protocol="tcp", port=(80, 80))) == {1}
    assert index.excluded(Packet("ip", "new", "input", protocol="udp", port=(22, 22))) == {2}
    assert asked == [22, 80] * 3
