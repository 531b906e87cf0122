# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of nft_rule that stand where the user says, against the kernel: what they do, and where they stand."""

from __future__ import annotations

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import desired as firewall_desired
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import engine as firewall_engine
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import info as firewall_info
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import persistence
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import plan as firewall_plan
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import normalize, rules_file

from tests.netns.firewall import load, options_of, refused, task

HOST, SPOKE, WAN = "172.30.2.1", "172.30.3.2", "198.51.100.1"
OPEN = """
table inet filter {
    set friends { type ipv4_addr; elements = { 172.30.2.2 }; }
    chain input { type filter hook input priority 0; policy accept;
        ct state established accept comment "first"
        tcp dport 80 accept comment "web"
        udp dport 53 accept
    }
    chain later { }
}
"""
INPUT = {"name": "x", "chain": "inet filter input"}


@pytest.fixture
def opened(net):
    """A host that lets everything in."""
    net.run(["nft", "-f", "-"], OPEN)
    return net


def stands(net, text: str) -> int:
    """The place of a rule among the rules of the chain that it is in."""
    lines = [
        line.strip() for line in net.run(["nft", "-s", "list", "chain", "inet", "filter", "input"]).stdout.splitlines()
    ]
    rules = lines[lines.index("chain input {") + 2 : lines.index("}")]
    (place,) = [place for place, rule in enumerate(rules) if text in rule]
    return place


BLOCKS = [
    {"verdict": "drop", "protocol": "tcp", "ports": ["2377"], "in_interfaces": ["tun1002"]},
    {
        "verdict": "drop",
        "protocol": "tcp",
        "ports": ["2370-2380"],
        "in_interfaces": ["tun10*", "eth7"],
        "counter": True,
    },
    {"verdict": "reject", "protocol": "tcp", "ports": ["2377", "80"], "source": ["172.30.2.0/24", "fd00:30:2::/64"]},
    {
        "verdict": "reject",
        "reject_with": "tcp reset",
        "protocol": "tcp",
        "ports": ["2377"],
        "ct_state": ["new", "invalid"],
    },
    {"verdict": "drop", "expression": "ip saddr @friends tcp dport 2377", "log_prefix": "gone: "},
    {"verdict": "drop", "protocol": "tcp", "limit": "over 1/hour", "limit_burst": 1, "source": ["172.30.2.2"]},
    {"verdict": "goto", "target": "later", "protocol": "udp"},
]


@pytest.mark.parametrize("options", BLOCKS[:-2])
def test_closes_what_was_open_and_nothing_else(opened, options):
    before = opened.listing()
    assert opened.tcp_passes("peer", HOST, 2377)
    done = task(opened, **INPUT, position="first", **options)
    assert done["changed"]
    assert opened.tcp_blocked("peer", HOST, 2377)
    assert opened.tcp_passes("world", WAN, 2377) or "ct_state" in options
    assert opened.udp_passes("peer", HOST, 2377)
    again = task(opened, **INPUT, position="first", **options)
    assert (again["changed"], again["steps"]) == (False, [])
    assert again["placements"] == done["placements"]
    task(opened, state="absent", name="x")
    assert opened.listing() == before


@pytest.mark.parametrize("options", BLOCKS)
def test_check_mode_tells_what_then_happens(opened, options):
    before = opened.listing()
    foreseen = task(opened, check_mode=True, **INPUT, **options)
    assert opened.listing() == before
    done = task(opened, **INPUT, **options)
    assert (foreseen["changed"], foreseen["steps"], foreseen["diff"]) == (True, done["steps"], done["diff"])
    assert task(opened, **INPUT, **options)["steps"] == []


def test_stands_where_it_is_told_to(opened):
    web = {"verdict": "drop", "protocol": "tcp", "ports": ["80"]}
    handle = task(opened, **INPUT, **web, position="before", anchor="web")["placements"][0]["before"]
    assert stands(opened, "overssh:x") == 1
    assert opened.tcp_blocked("peer", HOST, 80)
    assert task(opened, **INPUT, **web, position="before", anchor=str(handle))["steps"] == []
    for position, anchor, place in (("after", "web", 2), ("last", None, 3), ("first", None, 0), ("after", "first", 1)):
        moved = task(opened, **INPUT, **web, position=position, anchor=anchor)
        assert moved["changed"]
        assert stands(opened, "overssh:x") == place
    assert task(opened, **INPUT, **web, position="before", anchor="web")["steps"] == [], "it stands there already"


def test_several_rules_keep_their_order(opened):
    rules = [{**INPUT, "name": f"r{number}", "protocol": "tcp", "ports": [str(number)]} for number in range(1, 5)]
    task(opened, rules=rules)
    assert [stands(opened, f"overssh:r{number}") for number in range(1, 5)] == [3, 4, 5, 6]
    assert task(opened, rules=rules)["steps"] == []


def test_a_changed_rule_takes_the_place_of_the_old_one(opened):
    task(opened, **INPUT, verdict="drop", protocol="tcp", ports=["2377"])
    task(opened, **INPUT, verdict="drop", protocol="tcp", ports=["2378"])
    assert opened.tcp_passes("peer", HOST, 2377)
    assert opened.tcp_blocked("peer", HOST, 2378)
    task(opened, name="x", chain="inet filter later", verdict="drop", protocol="tcp", ports=["2378"])
    assert opened.tcp_passes("peer", HOST, 2378), "it stands in a chain that nobody calls"


OWN = {"name": "own/in", "chain": "inet overssh in", "hook": "input", "priority": -5}


def test_makes_a_chain_of_its_own_and_takes_it_away_again(opened):
    before = opened.listing()
    rules = [
        {**OWN, "verdict": "drop", "protocol": "tcp", "ports": ["2377"], "in_interfaces": ["wan0"]},
        {"name": "own/out", "chain": "ip overssh out", "hook": "postrouting", "type": "nat", "priority": 100}
        | {"verdict": "masquerade", "out_interfaces": ["tun1003"]},
    ]
    task(opened, rules=rules)
    assert opened.tcp_blocked("world", WAN, 2377)
    assert opened.tcp_passes("peer", HOST, 2377)
    assert task(opened, rules=rules)["steps"] == []
    task(opened, state="absent", name="own/in")
    assert "table inet overssh" not in opened.listing()
    assert "masquerade" in opened.listing()
    task(opened, state="absent", all=True)
    assert opened.listing() == before


def test_several_chains_of_its_own_can_be_taken_back_together(opened):
    before = opened.listing()
    rules = [{**OWN, "name": name, "chain": f"inet overssh {name}", "protocol": "tcp"} for name in ("one", "two")]
    desired = firewall_desired.desired_from(options_of(persist=False, rules=rules))
    engine = firewall_engine.NftRuleEngine(desired, opened.run)
    _record, step = engine.plan(engine.observe()).steps
    engine.perform(step)
    assert opened.listing() != before
    engine.perform(step.inverse)
    assert opened.listing() == before


def test_counts_what_meets_it(opened):
    task(opened, **INPUT, verdict="continue", counter=True, protocol="udp", ports=["4789"], position="first")
    assert opened.udp_passes("peer", HOST, 4789)
    assert opened.udp_passes("peer", HOST, 4789)
    assert (
        task(opened, **INPUT, verdict="continue", counter=True, protocol="udp", ports=["4789"], position="first")[
            "steps"
        ]
        == []
    )
    (rule,) = firewall_info.info(opened.run, "x", None)["rules"]
    assert (rule["packets"], rule["bytes"]) == (2, 2 * (20 + 8 + 5))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"chain": "inet filter nowhere"}, "rule x: there is no chain inet filter nowhere on this host"),
        ({"chain": "input"}, "rule x: chain is 'input'; it takes a family, a table and a chain, such as inet filter"),
        ({"position": "before", "anchor": "999"}, "no other rule of the chain inet filter input has the handle or the"),
        ({"position": "before"}, "anchor names the rule to stand before or after; it goes with those positions"),
        ({"ports": ["70000"]}, "'70000' is no port or range of ports"),
        ({"expression": "tcp dport frob"}, "rule x: nft refuses it at 'frob': Could not resolve service"),
        ({"expression": "accept; flush ruleset"}, "expression is a part of one rule, so it takes no ';'"),
        ({"expression": "nonsense"}, "rule x: nft refuses it at 'accept': syntax error, unexpected accept"),
        ({"verdict": "masquerade"}, "rule x: nft refuses it"),
        ({"verdict": "jump"}, "target names the chain to jump to"),
        ({"verdict": "jump", "target": "nowhere"}, "rule x: nft refuses it"),
        ({"hook": "input"}, "hook makes a chain, and this makes them in the table overssh only"),
        ({"limit": "often"}, "limit is 'often'; it takes a rate such as 5/second"),
        ({"in_interfaces": ["tun*1"]}, "'tun*1' in in_interfaces is no interface's name"),
        ({"chain": "ip6 overssh in", "hook": "input", "source": ["10.0.0.0/8"]}, "have no address family in common"),
        ({"chain": None, "verdict": "drop"}, "rule x: verdict goes with chain; without that the rule is an accept"),
    ],
)
def test_what_can_not_be_is_told_and_nothing_is_changed(opened, options, sentence):
    before = opened.listing()
    assert sentence in refused(opened, **{**INPUT, "protocol": "tcp", **options})
    assert opened.listing() == before


def test_a_table_of_iptables_gets_what_iptables_can_show(net):
    load(net, "iptables_vendor.v4")
    many = {"name": "x", "chain": "ip filter INPUT", "verdict": "drop", "position": "first"}
    task(net, **many, protocol="tcp", ports=["2377", "7946"], in_interfaces=["tun1002", "tun1003"])
    shown = net.run(["iptables-nft", "-S", "INPUT"]).stdout
    assert shown.count('--comment "overssh:x" -j DROP') == 4
    assert "could not show this rule" in refused(net, **many, ct_state=["new"], protocol="tcp")


def test_the_script_brings_a_chain_of_ours_back(opened, tmp_path):
    before = opened.listing()
    rules = [
        {**OWN, "verdict": "drop", "protocol": "tcp", "ports": ["2377"]},
        {**INPUT, "verdict": "drop", "protocol": "udp"},
    ]
    task(opened, rules=rules)
    placed = opened.listing()
    firewall = firewall_plan.Observed(firewall_engine.Nft(opened.run).ruleset())
    desired = firewall_desired.desired_from(options_of(rules=rules))
    written = normalize.written(opened.run, firewall.ruleset, desired.fixed, desired.owner)
    lines = firewall_plan.decide(desired, firewall_plan.Observed(firewall.ruleset, written=written)).lines
    (tmp_path / "rules").write_text(rules_file.file_text(lines))
    (tmp_path / "restore").write_text(persistence.SCRIPT)
    script = ["sh", str(tmp_path / "restore"), str(tmp_path / "rules")]
    opened.run(script)
    assert opened.listing() == placed
    task(opened, state="absent", all=True)
    assert opened.listing() == before
    opened.run(script)
    assert opened.listing() == placed


def test_an_accept_finds_its_place_before_a_drop_of_ours(opened):
    task(opened, **INPUT, verdict="drop", protocol="tcp", position="first")
    accept = {"name": "y", "protocol": "tcp", "ports": ["2377"], "in_interfaces": ["tun1002"]}
    done = task(opened, **accept)
    assert done["needed"]
    assert opened.tcp_passes("peer", HOST, 2377)
    assert opened.tcp_blocked("world", WAN, 2377)
    assert task(opened, **accept)["steps"] == []
    assert task(opened, **INPUT, verdict="drop", protocol="tcp", position="first")["steps"] == []
