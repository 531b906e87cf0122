# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where accepts are placed in rulesets recorded from nft 1.0.6 (Debian 12) and 1.1.3 (Debian 13)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.accept import accept_from
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.owner import OWNERS, owners
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.placement import Placer
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.ruleset import Ruleset, parse

RECORDED = Path(__file__).resolve().parents[4] / "recorded" / "nft"
VERSIONS = ("1.0.6", "1.1.3")
TUNNELS = ["tun1002", "tun1003"]
TCP = {"name": "tcp", "protocol": "tcp", "ports": [2377], "in_interfaces": TUNNELS}
UDP = {"name": "udp", "protocol": "udp", "ports": [4789], "in_interfaces": TUNNELS}
TRANSIT = {"name": "transit", "path": "forward", "in_interfaces": TUNNELS, "out_interfaces": TUNNELS}


def recorded(version: str, name: str) -> Ruleset:
    folder = RECORDED / version
    return parse((folder / f"{name}.json").read_text(), (folder / f"{name}.txt").read_text())


def ruleset(*objects: dict) -> Ruleset:
    """A ruleset with a base chain `inet t input`, and what is given."""
    base = {"family": "inet", "table": "t", "name": "input", "type": "filter", "hook": "input", "prio": 0}
    return parse(json.dumps({"nftables": [{"chain": {**base, "policy": "accept"}}, *objects]}))


def rule(handle: int, *statements: dict, chain: str = "input", **more: str) -> dict:
    place = {"family": "inet", "table": "t", "chain": chain}
    return {"rule": {**place, "handle": handle, "expr": list(statements), **more}}


def match(left: dict, right: object, op: str = "==") -> dict:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str, right: object, op: str = "==") -> dict:
    return match({"meta": {"key": key}}, right, op)


def payload(protocol: str, field: str, right: object, op: str = "==") -> dict:
    return match({"payload": {"protocol": protocol, "field": field}}, right, op)


DROP, ACCEPT = {"drop": None}, {"accept": None}


def placed(found: Ruleset, options: dict) -> list[tuple[str, str, str]]:
    """Chain, what it stands before, and what would drop, of each rule."""
    accept_placement = Placer(found).place(accept_from(options))
    return [
        (str(placement.key), placement.anchor, placement.decider.text if placement.decider else "")
        for placement in accept_placement.added
    ]


def before(found: Ruleset, **options: object) -> list[int | None]:
    """The handle that the accept is placed before, in each chain."""
    wanted = {"name": "x", "protocol": "tcp", "ports": [2377], "in_interfaces": ["tun1"], **options}
    return [placement.before for placement in Placer(found).place(accept_from(wanted)).added]


@pytest.mark.parametrize("version", VERSIONS)
class TestRecorded:
    def test_goes_before_the_last_reject_and_its_log(self, version):
        ((chain, anchor, decider),) = placed(recorded(version, "cloud_reject_last"), TCP)
        assert chain == "inet filter input"
        assert anchor.startswith('log prefix "rejected: "')
        assert decider == "counter reject with icmpx admin-prohibited"

    def test_goes_to_the_end_before_a_policy(self, version):
        found = recorded(version, "policy_drop")
        assert placed(found, TRANSIT) == [("inet filter forward", "", "policy drop")]
        ((chain, anchor, decider),) = placed(found, TCP)
        assert (chain, decider) == ("inet filter input", "policy drop")
        assert "dropped: " in anchor

    def test_goes_to_each_base_chain_that_drops(self, version):
        assert placed(recorded(version, "two_base_chains"), TCP) == [
            ("inet first input", "tcp dport != 22 drop", "tcp dport != 22 drop"),
            ("ip second in_late", "", "policy drop"),
            ("ip6 second in_late", "", "policy drop"),
        ]

    def test_leaves_out_the_family_that_its_networks_exclude(self, version):
        found = recorded(version, "two_base_chains")
        chains = [chain for chain, _, _ in placed(found, {**TCP, "source": ["172.30.0.0/16"]})]
        assert chains == ["inet first input", "ip second in_late"]

    def test_goes_where_the_deciding_rule_stands(self, version):
        found = recorded(version, "jump_goto_tree")
        assert placed(found, TCP) == [
            ("inet fw tunnel_tcp", "meta l4proto tcp reject with tcp reset", "meta l4proto tcp reject with tcp reset")
        ]
        assert placed(found, UDP) == [("inet fw tunnel_udp", "drop", "drop")]
        # A low port returns from the tree of the tunnels and falls into the goto.
        assert placed(found, {**TCP, "ports": [80]}) == [("inet fw from_world", "counter drop", "counter drop")]
        assert placed(found, {**TCP, "ports": [22]}) == []

    def test_reads_maps_and_sets(self, version):
        found = recorded(version, "maps_and_sets")
        assert placed(found, {**TCP, "ports": [8080], "source": ["fd00::/8"]}) == []
        # Two rules use the map, so its chain serves others too.
        assert placed(found, {**TCP, "source": ["fd00::/8"]}) == [
            ("inet edge input", "tcp dport vmap @services", "reject")
        ]
        ((chain, anchor, _),) = placed(found, {**UDP, "source": ["fd00::/8"]})
        assert (chain, anchor) == ("inet edge input", "udp dport vmap @services")

    def test_goes_before_a_set_that_packets_fill(self, version):
        accept_placement = Placer(recorded(version, "maps_and_sets")).place(accept_from(UDP))
        assert [placement.anchor for placement in accept_placement.added] == ["ip saddr @banned drop"]
        assert any("@banned" in note for note in accept_placement.notes)

    def test_stays_out_of_a_chain_that_others_use_too(self, version):
        assert placed(recorded(version, "shared_logdrop"), TCP) == [
            ("inet filter input", "jump logdrop", "counter drop")
        ]

    def test_knows_that_checks_of_states_and_flags_pass_new_packets(self, version):
        rule = {**TCP, "source": ["172.30.0.0/16"]}
        assert placed(recorded(version, "states_flags_limits"), rule) == [("inet filter input", "", "policy drop")]

    def test_goes_before_routing_too_where_packets_are_dropped_there(self, version):
        found = recorded(version, "raw_prerouting")
        assert [chain for chain, _, _ in placed(found, TCP)] == ["inet early prerouting", "inet filter input"]
        accept_placement = Placer(found).place(accept_from(TRANSIT))
        early, late = accept_placement.added
        assert early.text == (
            'iifname { "tun1002", "tun1003" } fib daddr type != local accept comment "overssh:transit"'
        )
        assert late.piece.out_interfaces == ("tun1002", "tun1003")

    def test_opens_nothing_early_for_all_interfaces(self, version):
        accept_placement = Placer(recorded(version, "raw_prerouting")).place(
            accept_from({"name": "x", "path": "forward", "out_interfaces": TUNNELS})
        )
        assert [placement.key.chain for placement in accept_placement.added] == ["forward"]
        assert any("say in_interfaces" in note for note in accept_placement.notes)

    def test_goes_before_a_return_to_the_policy(self, version):
        found = recorded(version, "policy_by_return")
        # tun1002 leaves by the first return, tun1003 by the second: the earlier place serves both.
        assert placed(found, TCP) == [("ip guard input", 'iifname "tun1002" return', "policy drop")]
        assert placed(found, TRANSIT) == [("ip guard postrouting", 'oifname "tun1003" drop', 'oifname "tun1003" drop')]

    def test_gives_iptables_one_interface_and_port_a_rule(self, version):
        found = recorded(version, "iptables_vendor")
        accept_placement = Placer(found).place(accept_from({**TCP, "ports": [2377, "7946-7950"]}))
        assert [placement.text.partition(" accept")[0] for placement in accept_placement.added] == [
            'iifname "tun1002" tcp dport 2377',
            'iifname "tun1002" tcp dport 7946-7950',
            'iifname "tun1003" tcp dport 2377',
            'iifname "tun1003" tcp dport 7946-7950',
        ]
        assert {placement.anchor for placement in accept_placement.added} == {
            "counter reject with icmp type host-prohibited"
        }

    def test_goes_into_the_chain_that_docker_keeps_for_others(self, version):
        found = recorded(version, "iptables_docker")
        places = placed(found, TRANSIT)
        assert {place[:2] for place in places} == {("ip filter DOCKER-USER", "counter return")}
        assert {place[2] for place in places} == {"policy drop"}
        assert len(places) == 4

    def test_goes_before_what_iptables_does_not_tell(self, version):
        found = recorded(version, "iptables_ufw")
        accept_placement = Placer(found).place(accept_from(TCP))
        assert {placement.key.chain for placement in accept_placement.added} == {"ufw-before-input"}
        assert any("can't tell" in note for note in accept_placement.notes)

    def test_keeps_its_own_rules_where_they_are(self, version):
        found = recorded(version, "cloud_reject_last")
        accept_placement = Placer(found).place(accept_from(TCP))
        assert (accept_placement.kept, accept_placement.removed) == ((), ())
        assert accept_placement.needed


class TestVerdicts:
    def test_nothing_is_placed_where_nothing_drops(self):
        accept_placement = Placer(ruleset(rule(1, meta("iifname", "eth0"), DROP))).place(accept_from(TCP))
        assert (accept_placement.added, accept_placement.needed) == ((), False)

    def test_an_accept_that_surely_holds_ends_the_search(self):
        assert before(ruleset(rule(1, payload("tcp", "dport", {"range": [2000, 3000]}), ACCEPT), rule(2, DROP))) == []

    def test_an_accept_for_a_part_of_the_packets_does_not(self):
        found = ruleset(rule(1, payload("tcp", "dport", 2377), ACCEPT), rule(2, DROP))
        assert before(found) == []
        assert before(found, ports=[2377, 7946]) == [2]
        assert before(found, ports=["2377-2378"]) == [2]
        assert before(found, ports=[]) == [2]

    @pytest.mark.parametrize(
        "statement",
        [
            {"match": {"op": "==", "left": {"osf": {"key": "name"}}, "right": "Linux"}},
            {"limit": {"rate": 5, "per": "second"}},
            {"ct count": {"val": 3, "inv": True}},
            {"xt": {"type": "match", "name": "conntrack"}},
            {"match": {"op": "==", "left": {"payload": {"base": "th", "offset": 0, "len": 16}}, "right": 5}},
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@gone"}},
        ],
    )
    def test_what_is_not_understood_may_drop_and_may_not_accept(self, statement):
        found = ruleset(rule(1, statement, ACCEPT), rule(2, statement, DROP), rule(3, DROP))
        assert before(found) == [2]

    @pytest.mark.parametrize(
        "statement",
        [{"nonsense": None}, {"xt": {"type": "target", "name": "TARPIT"}}, {"vmap": {"key": {}, "data": 3}}],
    )
    def test_a_verdict_that_is_not_understood_may_drop(self, statement):
        assert before(ruleset(rule(1, ACCEPT, chain="other"), rule(2, statement))) == [2]

    @pytest.mark.parametrize("name", ["LOG", "MARK", "TCPMSS"])
    def test_iptables_targets_that_end_nothing(self, name):
        assert before(ruleset(rule(1, {"xt": {"type": "target", "name": name}}), rule(2, ACCEPT), rule(3, DROP))) == []

    def test_a_jump_goes_on_after_the_call_and_a_goto_does_not(self):
        side = {"chain": {"family": "inet", "table": "t", "name": "side"}}
        returning = rule(9, payload("tcp", "dport", 80), DROP, chain="side")
        assert before(ruleset(side, rule(1, {"jump": {"target": "side"}}), rule(2, DROP), returning)) == [2]
        assert before(ruleset(side, rule(1, {"goto": {"target": "side"}}), rule(2, DROP), returning)) == []

    def test_a_place_in_a_called_chain_that_may_not_be_reached_is_not_enough(self):
        side = {"chain": {"family": "inet", "table": "t", "name": "side"}}
        maybe = meta("mark", 7)
        found = ruleset(side, rule(1, maybe, {"jump": {"target": "side"}}), rule(2, DROP), rule(9, DROP, chain="side"))
        assert sorted(handle or 0 for handle in before(found)) == [2, 9]

    def test_a_packet_handed_to_a_program_is_told(self):
        accept_placement = Placer(ruleset(rule(1, {"queue": {"num": 3}}), rule(2, DROP))).place(accept_from(TCP))
        assert accept_placement.added == ()
        assert any("program" in note for note in accept_placement.notes)

    def test_an_accept_stands_in_the_chain_that_drops_on_arrival(self):
        ingress = {
            "chain": {
                **{"family": "netdev", "table": "n", "name": "in", "type": "filter", "hook": "ingress"},
                **{"prio": 0, "policy": "drop", "dev": "tun1002"},
            }
        }
        (added,) = Placer(ruleset(ingress)).place(accept_from(TCP)).added
        assert (str(added.key), added.before) == ("netdev n in", None)
        assert added.text == (
            'iifname { "tun1002", "tun1003" } tcp dport 2377 fib daddr type local accept comment "overssh:tcp"'
        )
        (added,) = Placer(ruleset(ingress)).place(accept_from({**TCP, "in_interfaces": []})).added
        assert added.text == 'tcp dport 2377 fib daddr type local accept comment "overssh:tcp"'
        other = Placer(ruleset(ingress)).place(accept_from({**TCP, "in_interfaces": ["tun9"]}))
        assert (other.added, other.needed, other.notes) == ((), False, ())
        both = {**TRANSIT, "in_interfaces": []}
        with pytest.raises(OversshError, match="before their outgoing interface is known; say in_interfaces"):
            Placer(ruleset(ingress)).place(accept_from(both))

    @pytest.mark.parametrize("devices", ['device "tun1002"', 'devices = { "tun1002", "tun1003" }', "device tun1002"])
    def test_devices_of_a_chain_come_from_the_text_where_the_json_has_none(self, devices):
        """As with nft 1.0.6."""
        chain = {"family": "netdev", "table": "n", "name": "in", "type": "filter", "hook": "ingress", "prio": 0}
        listing = json.dumps({"nftables": [{"chain": {**chain, "policy": "drop"}}]})
        base = f"\t\ttype filter hook ingress {devices} priority filter; policy drop;"
        words = f"table netdev n {{ # handle 1\n\tchain in {{ # handle 1\n{base}\n\t}}\n}}\n"
        found = parse(listing, words)
        assert Placer(found).place(accept_from(TCP)).needed
        assert not Placer(found).place(accept_from({**TCP, "in_interfaces": ["tun9"]})).needed

    def test_dropped_replies_are_told(self):
        output = {"family": "inet", "table": "t", "name": "output", "type": "filter", "hook": "output", "prio": 0}
        chain = {"chain": {**output, "policy": "drop"}}
        accept_placement = Placer(ruleset(chain)).place(accept_from(TCP))
        assert accept_placement.notes == (
            "'policy drop' in inet t output drops this host's replies; a rule of path output lets them out",
        )
        replies = rule(1, match({"ct": {"key": "state"}}, "established", "in"), ACCEPT, chain="output")
        assert not Placer(ruleset(chain, replies)).place(accept_from(TCP)).notes
        assert not Placer(ruleset(chain)).place(accept_from(TRANSIT)).notes
        nat = {"chain": {**output, "type": "nat", "policy": "drop"}}
        assert not Placer(ruleset(nat)).place(accept_from(TCP)).notes

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("iptables_docker", ["docker", "iptables"]),
            ("iptables_ufw", ["iptables", "ufw"]),
            ("policy_drop", ["nftables"]),
        ],
    )
    def test_who_writes_the_firewall_is_told(self, name, found):
        assert owners(recorded("1.1.3", name)) == found

    def test_the_user_may_know_better_whose_a_table_is(self):
        found = recorded("1.1.3", "iptables_vendor")
        wanted = accept_from({**TCP, "ports": [2377, 7946]})
        count = {owner: len(Placer(found, owner=owner).place(wanted).added) for owner in OWNERS}
        assert count == {"auto": 4, "iptables": 4, "firewalld": 4, "nftables": 1}
        plain = recorded("1.1.3", "policy_drop")
        assert len(Placer(plain, owner="iptables").place(wanted).added) == 1, "an inet table is never iptables'"

    def test_firewalld_is_left_to_firewalld(self):
        base = {"family": "inet", "table": "firewalld", "name": "filter_INPUT", "type": "filter", "hook": "input"}
        placer = Placer(ruleset({"chain": {**base, "prio": 10, "policy": "drop"}}))
        assert placer.place(accept_from(TCP)).placements == ()
        assert next(placer.drops_of_firewalld(accept_from(TCP))) == (
            "'policy drop' in inet firewalld filter_INPUT, which is firewalld's, still drops these packets"
        )
        plain = Placer(ruleset({"chain": {**base, "prio": 10, "policy": "drop"}}), owner="nftables")
        assert [place.key.table for place in plain.place(accept_from(TCP)).added] == ["firewalld"]


class TestConditions:
    """Each drop stands before one that is certain, so the place tells whether the first may hold."""

    @pytest.mark.parametrize(
        ("statement", "holds"),
        [
            (meta("iifname", "tun*"), True),
            (meta("iifname", "tun2*"), False),
            (meta("iifname", {"set": ["eth0", "tun1"]}), True),
            (meta("iif", "tun1", "!="), False),
            (meta("iif", 7), False),
            (meta("oifname", "tun1"), False),
            (meta("l4proto", {"set": ["udp", "tcp"]}), True),
            (meta("l4proto", 17), False),
            (meta("nfproto", "ipv6"), True),
            (meta("pkttype", {"set": ["broadcast", "multicast"]}), False),
            (payload("tcp", "dport", 2377, "!="), False),
            (payload("udp", "dport", 2377, "!="), False),
            (payload("th", "dport", {"set": [22, {"range": [2370, 2380]}]}), True),
            (payload("tcp", "dport", 1024, "<"), False),
            (payload("tcp", "dport", 1024, ">="), True),
            (payload("tcp", "sport", 22), True),
            (payload("icmp", "type", "echo-request"), False),
            (payload("arp", "operation", "request"), False),
            (payload("ip", "saddr", {"prefix": {"addr": "10.0.0.0", "len": 8}}), True),
            (match({"ct": {"key": "state"}}, "invalid", "in"), False),
            (match({"ct": {"key": "state"}}, ["established", "new"], "in"), True),
            (match({"ct": {"key": "direction"}}, "reply"), False),
            (match({"fib": {"result": "type", "flags": ["daddr"]}}, "local", "!="), False),
            (match({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, False), True),
            (match({"tcp option": {"name": "maxseg", "field": "size"}}, 500), True),
            (
                match(
                    {"concat": [{"meta": {"key": "iifname"}}, {"payload": {"protocol": "tcp", "field": "dport"}}]},
                    {"set": [{"concat": ["tun1", 22]}, {"concat": ["eth0", 2377]}]},
                ),
                False,
            ),
        ],
        ids=str,
    )
    def test_holds_or_not(self, statement, holds):
        assert before(ruleset(rule(1, statement, DROP), rule(2, DROP))) == [1 if holds else 2]

    @pytest.mark.parametrize(
        ("networks", "place"),
        [(["172.30.0.0/16"], 2), (["10.1.0.0/16"], 1), (["0.0.0.0/0"], 1), (["fd00::/8"], 2), ([], 1)],
    )
    def test_networks(self, networks, place):
        ten = payload("ip", "saddr", {"prefix": {"addr": "10.0.0.0", "len": 8}})
        assert before(ruleset(rule(1, ten, DROP), rule(2, DROP)), source=networks) == [place]

    def test_an_address_range(self):
        some = payload("ip", "daddr", {"range": ["10.0.0.5", "10.0.0.9"]})
        assert before(ruleset(rule(1, some, DROP)), destination=["10.0.0.6"]) == [1]
        assert before(ruleset(rule(1, some, DROP)), destination=["10.0.0.10"]) == []

    def test_elements_with_a_timeout(self):
        some = payload("ip", "saddr", {"set": [{"elem": {"val": "10.0.0.5", "timeout": 9}}]})
        assert before(ruleset(rule(1, some, DROP)), source=["10.0.0.5"]) == [1]
        assert before(ruleset(rule(1, some, DROP)), source=["10.0.0.6"]) == []

    @pytest.mark.parametrize("flags", [["fin", "syn", "rst", "ack"], {"|": ["fin", "syn", "rst", "ack"]}])
    def test_flags_of_a_first_packet(self, flags):
        masked = {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, flags]}
        new = match({"ct": {"key": "state"}}, "new", "in")
        assert before(ruleset(rule(1, match(masked, "syn", "!="), new, DROP), rule(2, DROP))) == [2]
        assert before(ruleset(rule(1, match(masked, "syn"), new, DROP), rule(2, DROP))) == [1]


RAW = {"family": "inet", "table": "t", "name": "raw", "type": "filter", "hook": "prerouting", "policy": "accept"}


class TestStatesBeforeTracking:
    """Before connections are tracked, nft calls every packet invalid."""

    @pytest.mark.parametrize(("priority", "place"), [(-300, [1]), (-200, [1]), (-150, [2])])
    def test_invalid(self, priority, place):
        invalid = match({"ct": {"key": "state"}}, "invalid", "in")
        rules = (rule(1, invalid, DROP, chain="raw"), rule(2, DROP, chain="raw"))
        assert before(ruleset({"chain": {**RAW, "prio": priority}}, *rules)) == place

    def test_established_is_not_accepted_there(self):
        established = match({"ct": {"key": "state"}}, "established", "in")
        found = ruleset(
            {"chain": {**RAW, "prio": -300}},
            rule(1, established, ACCEPT, chain="raw"),
            rule(2, match({"ct": {"key": "direction"}}, "original"), DROP, chain="raw"),
            rule(3, DROP, chain="raw"),
        )
        assert before(found) == [3]


class TestOwnRules:
    OURS = (meta("iifname", "tun1"), payload("tcp", "dport", 2377), ACCEPT)

    def placement(self, *objects, **options):
        wanted = {"name": "x", "protocol": "tcp", "ports": [2377], "in_interfaces": ["tun1"], **options}
        return Placer(ruleset(*objects)).place(accept_from(wanted))

    def test_one_in_effect_stays_wherever_it_stands(self):
        ours = rule(5, *self.OURS, comment="overssh:x")
        accept_placement = self.placement(ours, rule(1, meta("mark", 3), ACCEPT), rule(2, DROP))
        assert [placement.handle for placement in accept_placement.kept] == [5]
        assert (accept_placement.added, accept_placement.removed) == ((), ())

    def test_one_that_stands_too_late_is_replaced(self):
        accept_placement = self.placement(rule(2, DROP), rule(5, *self.OURS, comment="overssh:x"))
        assert [found.handle for _, found in accept_placement.removed] == [5]
        assert [placement.before for placement in accept_placement.added] == [2]

    def test_a_double_goes(self):
        doubles = [rule(handle, *self.OURS, comment="overssh:x") for handle in (5, 6)]
        accept_placement = self.placement(*doubles, rule(2, DROP))
        assert [placement.handle for placement in accept_placement.kept] == [5]
        assert [found.handle for _, found in accept_placement.removed] == [6]

    @pytest.mark.parametrize(
        "statements",
        [
            (meta("iifname", "tun1"), payload("tcp", "dport", 22), ACCEPT),
            (meta("iifname", "tun1", "!="), payload("tcp", "dport", 2377), ACCEPT),
            (meta("iifname", "tun1"), payload("tcp", "dport", 2377), {"counter": None}, ACCEPT),
            (meta("iifname", "tun1"), payload("tcp", "dport", 2377), DROP),
        ],
    )
    def test_one_that_says_something_else_is_replaced(self, statements):
        accept_placement = self.placement(rule(5, *statements, comment="overssh:x"), rule(2, DROP))
        assert [found.handle for _, found in accept_placement.removed] == [5]
        assert [placement.before for placement in accept_placement.added] == [2]

    def test_one_of_another_name_does_not_count(self):
        accept_placement = self.placement(rule(5, *self.OURS, comment="overssh:y"), rule(2, DROP))
        assert [placement.before for placement in accept_placement.added] == [2]
        assert accept_placement.removed == ()
