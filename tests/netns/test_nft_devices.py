# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains that are a device's, and others that drop early: what is asked for passes there too, or is refused."""

from __future__ import annotations

import pytest

from tests.netns.firewall import refused, task

HOST, SPOKE, PORT = "172.30.2.1", "172.30.3.2", 2377
HERE = {"name": "here", "protocol": "tcp", "ports": ["2377"], "in_interfaces": ["tun1002"], "source": ["172.30.0.0/16"]}
NARROW = {**HERE, "destination": [HOST]}
THROUGH = {**HERE, "name": "through", "path": "forward", "destination": [SPOKE], "out_interfaces": ["tun1003"]}
OUT = {"name": "out", "path": "output", "protocol": "tcp", "ports": ["2377"], "out_interfaces": ["tun1002"]}

ONE, BOTH = 'device "tun1002"', 'devices = { "tun1002", "tun1003" }'
DROP = "tcp dport 2377 drop"


def chain(family, hook, *rules, device="", policy="accept", priority=0):
    base = f"type filter hook {hook} {device} priority {priority}; policy {policy};"
    return "\n".join([f"table {family} early {{", " chain c {", f"  {base}", *rules, " }", "}", ""])


def opens(net, text, rules, asked):
    """What the ruleset blocks passes after the task, and not before nor after it is taken away."""
    net.run(["nft", "-f", "-"], data=text)
    before = net.listing()
    assert net.tcp_blocked(*asked)
    done = task(net, **rules)
    assert (done["changed"], done["needed"], done["notes"]) == (True, True, [])
    assert net.tcp_passes(*asked)
    assert task(net, **rules)["steps"] == []
    assert task(net, state="absent", all=True)["changed"]
    assert net.listing() == before
    assert net.tcp_blocked(*asked)


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        (chain("inet", "ingress", DROP, device=ONE), NARROW),
        (chain("inet", "ingress", "meta protocol arp accept", device=BOTH, policy="drop"), NARROW),
        (chain("netdev", "ingress", DROP, device=ONE), NARROW),
        (chain("netdev", "ingress", DROP, device=ONE), HERE),
        (chain("netdev", "ingress", "meta protocol arp accept", device=BOTH, policy="drop"), {**HERE, "source": []}),
        (chain("ip", "prerouting", DROP, priority=-300), HERE),
        (chain("ip", "prerouting", 'iifname "tun*" meta l4proto tcp drop', priority=-150), HERE),
        (chain("ip", "input", DROP, priority=-150), HERE),
    ],
)
def test_for_this_host(net, text, rules):
    opens(net, text, rules, ("peer", HOST, PORT))


@pytest.mark.parametrize(
    "text",
    [
        chain("netdev", "ingress", DROP, device=ONE),
        chain("netdev", "egress", DROP, device='device "tun1003"'),
        chain("ip", "forward", DROP, priority=-150),
        chain("inet", "postrouting", DROP, priority=-150),
    ],
)
def test_through_this_host(net, text):
    opens(net, text, THROUGH, ("peer", SPOKE, PORT, "spoke"))


@pytest.mark.parametrize("text", [chain("netdev", "egress", DROP, device=ONE), chain("ip", "output", DROP)])
def test_out_of_this_host(net, text):
    opens(net, text, OUT, ("host", "172.30.2.2", PORT, "peer"))


@pytest.mark.parametrize(
    ("text", "rules", "sentence"),
    [
        (chain("inet", "ingress", DROP, device=ONE), HERE, "say its addresses in destination"),
        (chain("inet", "ingress", DROP, device=ONE), THROUGH, "move the rule to a chain of the family netdev"),
        (
            chain("netdev", "egress", DROP, device='device "tun1003"'),
            {**THROUGH, "out_interfaces": []},
            "incoming interface is not known any more; say out_interfaces",
        ),
        (
            chain("ip", "prerouting", DROP, priority=-300),
            {**THROUGH, "in_interfaces": []},
            "before their outgoing interface is known; say in_interfaces",
        ),
    ],
)
def test_where_an_accept_would_let_others_pass_it_is_refused(net, text, rules, sentence):
    net.run(["nft", "-f", "-"], data=text)
    before = net.listing()
    words = refused(net, **rules)
    assert sentence in words
    assert DROP in words
    assert net.listing() == before


def test_a_chain_of_another_device_is_no_news(net):
    net.run(["nft", "-f", "-"], data=chain("netdev", "ingress", DROP, device='device "wan0"'))
    done = task(net, **NARROW)
    assert (done["changed"], done["needed"], done["notes"]) == (False, False, [])
    assert net.tcp_passes("peer", HOST, PORT)


def test_only_what_is_asked_for_passes_on_arrival(net):
    net.run(["nft", "-f", "-"], data=chain("netdev", "ingress", "tcp dport { 2377, 7946 } drop", device=BOTH))
    task(net, **NARROW)
    assert net.tcp_passes("peer", HOST, PORT)
    assert net.tcp_blocked("peer", HOST, 7946)
    assert net.tcp_blocked("peer", SPOKE, PORT, "spoke")
    assert net.tcp_blocked("spoke", "172.30.3.1", PORT)


def test_replies_that_a_device_drops_as_they_leave_are_told(net):
    net.run(["nft", "-f", "-"], data=chain("netdev", "egress", "meta l4proto tcp drop", device=ONE))
    (note,) = task(net, **NARROW)["notes"]
    assert "'meta l4proto tcp drop' in netdev early c drops this host's replies" in note
