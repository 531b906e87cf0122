# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a task's options to the rules, and from the host's rules back."""

from __future__ import annotations

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.accept import accept_from, pieces, read_piece
from hypothesis import given
from hypothesis import strategies as st

TCP = {"name": "x", "protocol": "tcp", "ports": [2377], "in_interfaces": ["tun1"]}


def texts(options, family="inet", hook="input", iptables=False):
    return [piece.text for piece in pieces(accept_from(options), family, hook, iptables)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": ""}, "can't name a rule"),
        ({"name": 'a"b'}, "can't name a rule"),
        ({"name": "n" * 121}, "at most 120"),
        ({"ports": ["0"]}, "'0' is no port"),
        ({"ports": [65536]}, "65536 is no port"),
        ({"ports": ["9-5"]}, "'9-5' is no port"),
        ({"ports": ["ssh"]}, "'ssh' is no port"),
        ({"protocol": "icmp"}, "ports belong to"),
        ({"in_interfaces": ["tun*"]}, "no interface's name"),
        ({"in_interfaces": ["a-name-that-is-long"]}, "no interface's name"),
        ({"out_interfaces": ["tun2"]}, "path: forward"),
        ({"source": ["10.0.0.1/8"]}, "host bits"),
        ({"destination": ["here"]}, "no network"),
        ({"source": ["10.0.0.0/8"], "destination": ["fd00::/8"]}, "no address family in common"),
        ({"protocol": "icmpv6", "ports": [], "source": ["10.0.0.0/8"]}, "no address family in common"),
        ({"protocol": "any", "ports": [], "in_interfaces": []}, "everything from everywhere"),
    ],
)
def test_bad_options_are_named(options, sentence):
    with pytest.raises(OversshError, match=sentence) as caught:
        accept_from({**TCP, **options})
    assert "\n" not in str(caught.value)


def test_a_rule_in_a_native_table_has_sets():
    options = {**TCP, "ports": [7946, 2377], "in_interfaces": ["tun2", "tun1"], "source": ["10.0.0.0/8", "fd00::1"]}
    start, end = 'iifname { "tun1", "tun2" }', 'tcp dport { 2377, 7946 } accept comment "overssh:x"'
    assert texts(options) == [f"{start} ip saddr 10.0.0.0/8 {end}", f"{start} ip6 saddr fd00::1 {end}"]
    assert texts(options, family="ip6") == [f"{start} ip6 saddr fd00::1 {end}"]


def test_a_rule_without_ports_names_the_protocol():
    assert texts({**TCP, "ports": [], "protocol": "icmpv6"}) == [
        'iifname "tun1" meta l4proto ipv6-icmp accept comment "overssh:x"'
    ]
    assert texts({**TCP, "ports": [], "protocol": "any"}) == ['iifname "tun1" accept comment "overssh:x"']


def test_before_routing_a_rule_says_whose_packets_it_means():
    assert texts(TCP, hook="prerouting") == [
        'iifname "tun1" tcp dport 2377 fib daddr type local accept comment "overssh:x"'
    ]
    forwarded = {**TCP, "path": "forward", "out_interfaces": ["tun2"]}
    assert texts(forwarded, hook="prerouting") == [
        'iifname "tun1" tcp dport 2377 fib daddr type != local accept comment "overssh:x"'
    ]
    # Neighbours are looked for at a group's address; iptables can't show the condition.
    assert "fib" not in texts({**TCP, "ports": [], "protocol": "icmpv6"}, hook="prerouting")[0]
    assert "fib" not in texts(TCP, family="ip", hook="prerouting", iptables=True)[0]


def test_ports_that_touch_are_one_range():
    assert accept_from({**TCP, "ports": ["5-7", 8, 2, "1-2"]}).ports == ((1, 2), (5, 8))


def test_flags_may_come_as_a_list_or_alone():
    for flags in ("daddr", ["daddr"]):
        local = {"match": {"op": "==", "left": {"fib": {"result": "type", "flags": flags}}, "right": "local"}}
        assert read_piece("overssh:x", [local, {"accept": None}]).local is True
    both = {"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr", "iif"]}}, "right": "local"}}
    assert read_piece("overssh:x", [both, {"accept": None}]) is None


PORT = st.integers(1, 65535)
RANGES = st.lists(st.tuples(PORT, PORT).map(sorted).map(lambda ends: f"{ends[0]}-{ends[1]}"), max_size=5)
NETWORKS = st.lists(st.ip_addresses().map(str), max_size=4)


@given(ports=RANGES, source=NETWORKS, iptables=st.booleans(), hook=st.sampled_from(["prerouting", "input"]))
def test_a_rule_reads_back_as_it_was_written(ports, source, iptables, hook):
    accept = accept_from({**TCP, "ports": ports, "source": source})
    for family in accept.families:
        for piece in pieces(accept, family, hook, iptables):
            assert read_piece(piece.comment, piece.statements) == piece


@given(ports=RANGES)
def test_normalised_ports_are_the_same_ports(ports):
    covered = {port for span in accept_from({**TCP, "ports": ports}).ports for port in span}
    ends = {int(end) for text in ports for end in text.split("-")}
    assert covered <= ends
    spans = accept_from({**TCP, "ports": ports}).ports
    assert all(any(low <= end <= high for low, high in spans) for end in ends)
