# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host can dial another one, against the kernel; no connection is made, and a rule that drops is named."""

from __future__ import annotations

import contextlib
import socket

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._host import dial

WORLD, PORT = "198.51.100.2", 2222
DIAL = {"peer": "hub", "host": WORLD, "port": PORT}
DROPPING = "{ type filter hook input priority 0; policy drop; }"
HERE = "can't dial hub at 198.51.100.2 port 2222: "


@contextlib.contextmanager
def listening(net, family=socket.AF_INET):
    """A server at the place that is dialled, which takes nothing."""
    with net.inside("world"), socket.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", PORT))
        server.listen()
        server.setblocking(False)
        yield server


def said(net, *dials):
    with net.inside("host"):
        return dial.problems(net.run, dials or [DIAL], nft=True)


def test_a_place_that_answers_is_dialled_without_a_connection(net):
    with listening(net) as server:
        assert said(net) == []
        with pytest.raises(BlockingIOError):
            server.accept()


def test_nothing_that_listens_is_told_at_once(net):
    assert said(net) == [
        f"{HERE}nothing listens there (Connection refused); set overssh_dial_host and overssh_dial_port to where its "
        "sshd does."
    ]


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (
            "table ip filter {\nchain OUTPUT { type filter hook output priority 0; policy drop; "
            'oifname "lo" accept; ct state established accept; }\n}',
            "this host's own firewall drops it, by the policy drop of ip filter OUTPUT; accept tcp port 2222 to "
            "198.51.100.2 before that.",
        ),
        (
            "table inet own {\nchain deny { tcp dport 2222 counter drop; }\n"
            "chain out { type filter hook output priority 0; jump deny; }\n}",
            "this host's own firewall drops it, by 'tcp dport 2222 counter drop' in inet own deny; accept tcp port "
            "2222 to 198.51.100.2 before that.",
        ),
        (
            "table inet own {\nchain in { type filter hook input priority 0; policy drop; tcp dport 22 accept; }\n}",
            "this host's own firewall drops the answers, by the policy drop of inet own in; accept packets of "
            "established connections before that.",
        ),
    ],
)
def test_a_rule_of_this_host_that_drops_is_named(net, rules, sentence):
    net.run(["nft", "-f", "-"], data=rules)
    with listening(net):
        assert said(net) == [f"{HERE}{sentence}"]


def test_rules_that_let_it_through_are_no_obstacle_however_they_read(net):
    net.run(
        ["nft", "-f", "-"],
        data="table inet own {\n"
        "chain in { type filter hook input priority 0; policy drop; ct state established accept; }\n"
        "chain out { type filter hook output priority 0; policy drop; limit rate 9/second tcp dport 2222 accept; }\n}",
    )
    with listening(net):
        assert said(net) == []


def test_a_far_side_that_drops_is_not_taken_for_this_one(net):
    net.run(
        ["nft", "add table inet far; add chain inet far in { type filter hook input priority 0; policy drop; }"],
        node="world",
    )
    try:
        (sentence,) = said(net)
    finally:
        net.run(["nft", "flush", "ruleset"], node="world")
    assert sentence.startswith(f"{HERE}no answer within 2 s, and no rule of this host drops it; open that port")


def test_no_way_there_and_no_such_name(net):
    nowhere, nobody = {**DIAL, "host": "192.0.2.77"}, {**DIAL, "host": "no-such-name.invalid"}
    first, second = said(net, nowhere, nobody)
    assert "can't dial hub at 192.0.2.77 port 2222: it has no way there (Network is unreachable);" in first
    assert "this host can't resolve the name no-such-name.invalid" in second


def test_where_a_connection_stands_nothing_is_sent(net):
    with listening(net), net.inside("host"), socket.create_connection((WORLD, PORT), timeout=2):
        net.run(["nft", f"add table ip own; add chain ip own out {DROPPING}".replace("input", "output")])
        assert said(net) == []
