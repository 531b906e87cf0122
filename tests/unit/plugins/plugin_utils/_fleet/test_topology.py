# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets of any shape: who dials whom, and that packets find their way, whatever is down."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import plan as fleet_plan
from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import routing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.plugin_utils._fleet.fleets import host, planned, settled

HUB = {"overssh_hub": True}
UNDERLAY6 = "fd8a:91c4:6e27::/64"
TWO_HUBS: dict[str, dict[str, Any]] = {
    "cloud1": {**HUB, "ansible_host": "198.51.100.7"},
    "cloud2": {**HUB, "ansible_host": "203.0.113.7"},
    "edge1": {},
    "edge2": {},
}


def dials(plan: dict[str, Any]) -> set[tuple[str, str, str, int]]:
    """Who dials whom, and where."""
    assert plan["problems"] == []
    return {
        (name, link["peer"], link["host"], link["port"])
        for name, node in plan["nodes"].items()
        for link in node["links"]
    }


def with_(fleet: dict[str, dict[str, Any]], **change: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {**fleet, **{name: {**fleet.get(name, {}), **variables} for name, variables in change.items()}}


class Network:
    """The routing of a planned fleet as the kernel does it; down: links and nodes that are not up."""

    def __init__(self, plan: dict[str, Any], down: Iterable[frozenset[str]] = ()) -> None:
        self._plan, self._down = plan, set(down)
        self._hubs = [name for name, node in plan["nodes"].items() if node["hub"]]

    def up(self, one: str, other: str) -> bool:
        return not self._down & {frozenset((one, other)), frozenset((one,)), frozenset((other,))}

    def way(self, source: str, destination: str) -> list[str]:
        """The nodes that a packet passes, its destination last; empty where it gets lost. One for both families."""
        node = self._plan["nodes"][destination]
        way = self._way(source, destination, node["address"])
        if node["address6"]:
            assert self._way(source, destination, node["address6"]) == way
        return way

    def _way(self, source: str, destination: str, place: str) -> list[str]:
        address = ipaddress.ip_address(place)
        way, came_from = [source], None
        while way[-1] != destination:
            assert len(way) < 4 + len(self._hubs), f"a packet goes round and round: {way}"
            following = self._next(way[-1], came_from, address)
            if following is None or following == way[-1]:
                return []
            came_from = way[-1]
            way.append(following)
        return way[1:]

    def _next(self, here: str, came_from: str | None, address: Any) -> str | None:
        devices = self._plan["nodes"][here]["devices"]
        forwarding, neighbour, unsaid = ("forwarding", 0, 0) if address.version == 4 else ("forwarding6", 256, 1024)
        table = next((each["incoming_table"] for each in devices if each["peer"] == came_from), None)
        if came_from is not None:
            assert next(each[forwarding] for each in devices if each["peer"] == came_from), f"{here} is no router"
        found = []
        for device in devices:
            if device["failover"] and not self.up(here, device["peer"]):
                continue
            for peer in (pair.get("peer") for pair in device["addresses"]):
                if table is None and peer and ipaddress.ip_address(peer) == address:
                    found.append((-address.max_prefixlen, neighbour, device["peer"]))
            for route in device["routes"]:
                network = ipaddress.ip_network(route["destination"])
                if route.get("table") == table and address in network:
                    found.append((-network.prefixlen, route.get("metric", unsaid), device["peer"]))
        return min(found)[2] if found else None


def test_with_two_hubs_every_other_node_dials_both_and_they_dial_each_other() -> None:
    plan = planned(TWO_HUBS)
    assert dials(plan) == {
        ("cloud2", "cloud1", "198.51.100.7", 22),
        *((edge, "cloud1", "198.51.100.7", 22) for edge in ("edge1", "edge2")),
        *((edge, "cloud2", "203.0.113.7", 22) for edge in ("edge1", "edge2")),
    }
    assert [node["manager"] for node in plan["nodes"].values()] == [True, False, False, False]
    metrics = {
        each["peer"]: [route["metric"] for route in each["routes"]] for each in plan["nodes"]["edge1"]["devices"]
    }
    assert metrics == {"cloud1": [2000], "cloud2": [2100], "edge1": [1_000_000]}


@pytest.mark.parametrize(
    ("change", "managers"),
    [
        ({}, ["cloud1"]),
        ({"cloud3": HUB}, ["cloud1", "cloud2", "cloud3"]),
        ({"edge1": {"overssh_manager": True}}, ["cloud1", "cloud2", "edge1"]),
        ({"cloud1": {"overssh_manager": False}}, ["cloud2"]),
        ({"cloud1": {"overssh_manager": True}}, ["cloud1"]),
        ({"cloud2": {"overssh_manager": True}, "cloud1": {"overssh_manager": True}}, ["cloud1", "cloud2"]),
    ],
)
def test_managers_are_an_odd_number_unless_the_operator_says_otherwise(
    change: dict[str, dict[str, Any]], managers: list[str]
) -> None:
    nodes = planned(with_(TWO_HUBS, **change))["nodes"]
    assert sorted(name for name, node in nodes.items() if node["manager"]) == managers


@pytest.mark.parametrize(
    ("down", "way"),
    [
        ([], ["cloud1", "edge2"]),
        ([{"cloud1"}], ["cloud2", "edge2"]),
        ([{"cloud1", "edge1"}], ["cloud2", "edge2"]),
        ([{"cloud1", "edge2"}], ["cloud1", "cloud2", "edge2"]),
        ([{"cloud1", "edge2"}, {"cloud1", "cloud2"}], []),
        ([{"edge2"}], []),
    ],
)
def test_packets_go_by_the_other_hub_where_the_first_one_is_out_of_reach(down: list[set[str]], way: list[str]) -> None:
    assert Network(planned(TWO_HUBS), map(frozenset, down)).way("edge1", "edge2") == way


def test_a_node_prefers_the_hub_that_it_names_first() -> None:
    plan = planned(with_(TWO_HUBS, edge1={"overssh_hubs": ["cloud2", "cloud1"]}))
    assert Network(plan).way("edge1", "edge2") == ["cloud2", "edge2"]
    assert Network(plan).way("edge2", "edge1") == ["cloud1", "edge1"]


def test_a_hub_knows_the_way_to_a_node_that_does_not_dial_it() -> None:
    plan = planned(with_(TWO_HUBS, edge1={"overssh_hubs": "cloud2"}))
    assert ("edge1", "cloud1", "198.51.100.7", 22) not in dials(plan)
    assert Network(plan).way("edge2", "edge1") == ["cloud1", "cloud2", "edge1"]
    assert Network(plan).way("cloud1", "edge1") == ["cloud2", "edge1"]


def test_nodes_of_a_site_dial_each_other_there() -> None:
    berlin = {"overssh_site": "berlin"}
    fleet = with_(
        TWO_HUBS, edge1=berlin, edge2={**berlin, "overssh_site_host": "10.1.0.2"}, edge3=berlin, cloud1=berlin
    )
    plan = planned(fleet)
    assert {(here, there, at) for here, there, at, _port in dials(plan) if not there.startswith("cloud")} == {
        ("edge2", "edge1", "edge1"),
        ("edge3", "edge1", "edge1"),
        ("edge3", "edge2", "10.1.0.2"),
    }
    assert Network(plan).way("edge1", "edge2") == ["edge2"]
    assert Network(plan, [frozenset(("edge1", "edge2"))]).way("edge1", "edge2") == ["cloud1", "edge2"]
    assert not any(each["forwarding"] for each in plan["nodes"]["edge1"]["devices"])


def test_links_may_be_named_one_by_one() -> None:
    named = [{"peer": "edge2", "host": "192.0.2.9", "port": 2222}, {"peer": "cloud1", "port": "443"}]
    plan = planned(with_(TWO_HUBS, edge1={"overssh_links": named}))
    assert {each for each in dials(plan) if each[0] == "edge1"} == {
        ("edge1", "edge2", "192.0.2.9", 2222),
        ("edge1", "cloud1", "198.51.100.7", 443),
        ("edge1", "cloud2", "203.0.113.7", 22),
    }
    assert Network(plan).way("edge1", "edge2") == ["edge2"]


def test_a_hub_may_dial_a_node_that_can_not_dial_it() -> None:
    plan = planned(with_(TWO_HUBS, cloud1={"overssh_links": [{"peer": "edge1"}]}))
    assert {each[:2] for each in dials(plan) if "edge1" in each[:2]} == {("cloud1", "edge1"), ("edge1", "cloud2")}
    assert Network(plan).way("edge1", "edge2") == ["cloud1", "edge2"]


def test_a_node_behind_a_jump_host_is_dialled_through_it() -> None:
    found = {name: host(sshd={"host_keys": [f"ssh-ed25519 {name}"]}) for name in ("cloud1", "cloud2", "edge1", "edge2")}
    plan = planned(with_(TWO_HUBS, cloud2={"overssh_jump": "cloud1", "overssh_dial_host": "10.0.0.5"}), **found)
    ways = {name: {link["peer"]: link["jumps"] for link in node["links"]} for name, node in plan["nodes"].items()}
    jump = {"name": "cloud1", "host": "198.51.100.7", "port": 22, "host_keys": ["ssh-ed25519 cloud1"]}
    assert ways["edge1"] == {"cloud1": [], "cloud2": [jump]}
    assert plan["nodes"]["cloud1"]["forwards"] == [
        {"peer": edge, "to": ["10.0.0.5:22"], "device": device}
        for edge, device in (("edge1", "tun1003"), ("edge2", "tun1004"))
    ]
    # The jump host itself is there already, whichever of the two dials.
    assert ways["cloud2"] == {"cloud1": []}
    turned = {name: planned(with_(TWO_HUBS, cloud1={"overssh_jump": "cloud2"}))["nodes"][name] for name in TWO_HUBS}
    assert turned["cloud2"]["links"][0]["jumps"] == []


def test_jump_hosts_may_stand_in_a_row() -> None:
    fleet: dict[str, dict[str, Any]] = {
        "cloud1": {**HUB, "overssh_jump": "middle", "overssh_dial_host": "10.2.0.1"},
        "middle": {**HUB, "overssh_jump": "outer", "overssh_dial_host": "10.1.0.1", "overssh_dial_port": 2200},
        "outer": {**HUB, "overssh_dial_host": "2001:db8::1"},
        "edge1": {"overssh_hubs": ["cloud1"]},
    }
    plan = planned(fleet)
    assert plan["problems"] == []
    (link,) = plan["nodes"]["edge1"]["links"]
    assert [(jump["name"], jump["host"], jump["port"]) for jump in link["jumps"]] == [
        ("outer", "2001:db8::1", 22),
        ("middle", "10.1.0.1", 2200),
    ]
    assert [entry["to"] for entry in plan["nodes"]["outer"]["forwards"] if entry["peer"] == "edge1"] == [
        ["10.1.0.1:2200"]
    ]
    assert [entry["to"] for entry in plan["nodes"]["middle"]["forwards"] if entry["peer"] == "edge1"] == [
        ["10.2.0.1:22"]
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"edge1": {"overssh_hubs": ["cloud9"]}}, "edge1: overssh_hubs names cloud9, which is no host of the group."),
        ({"edge1": {"overssh_hubs": ["edge2"]}}, "edge1: overssh_hubs names edge2, which is no hub; set overssh_hub"),
        (
            {"edge1": {"overssh_hubs": ["edge2"]}},
            "edge1: has no link with a hub, so nobody passes its packets on; name",
        ),
        ({"edge1": {"overssh_hubs": []}}, "edge1: overssh_hubs is []; it takes a list of inventory names"),
        ({"cloud2": {"overssh_hubs": ["cloud1"]}}, "cloud2: overssh_hubs is for nodes that are no hubs, and hubs dial"),
        ({"edge1": {"overssh_links": [{"peer": "moon"}]}}, "edge1: overssh_links names moon, which is no host of the"),
        ({"edge1": {"overssh_links": [{"peer": "edge1"}]}}, "edge1: overssh_links names the host itself; take it out."),
        ({"edge1": {"overssh_links": [{"host": "x"}]}}, "it takes a list of links, each with a peer"),
        ({"edge1": {"overssh_links": [{"peer": "edge2", "por": 1}]}}, "it takes a list of links, each with a peer"),
        ({"edge1": {"overssh_links": [{"peer": "edge2", "port": 0}]}}, "it takes a whole number from 1 to 65535"),
        ({"cloud2": {"overssh_jump": "moon"}}, "cloud2: overssh_jump names moon, which is no host of the group."),
        ({"cloud2": {"overssh_jump": "cloud2"}}, "cloud2: overssh_jump names the host itself; take it out."),
        (
            {"cloud1": {"overssh_jump": "cloud2"}, "cloud2": {"overssh_jump": "cloud1"}},
            "cloud1: is dialled through cloud2 through cloud1, which never begins; take one overssh_jump out.",
        ),
        (
            {"cloud1": {"ansible_host": "127.0.0.1"}},
            "cloud1: is to be dialled by cloud2, and 127.0.0.1 is no address that another host can dial; set "
            "overssh_dial_host.",
        ),
        ({"cloud1": {"ansible_host": "localhost"}}, "and localhost is no address that another host can dial"),
        (
            {"cloud1": {"ansible_host": "cloud1", "ansible_connection": "local"}},
            "and cloud1 is no address that another host can dial",
        ),
    ],
)
def test_shapes_that_can_not_be_are_named(change: dict[str, dict[str, Any]], sentence: str) -> None:
    said = planned(with_(TWO_HUBS, **change))["problems"]
    assert any(sentence in each for each in said), said


@pytest.mark.parametrize(
    ("dial", "families", "told"),
    [
        ("2001:db8::7", [4], "edge1: is to dial cloud1 at 2001:db8::7, and has no IPv6 address; give cloud1 an"),
        ("198.51.100.7", [6], "edge1: is to dial cloud1 at 198.51.100.7, and has no IPv4 address"),
        ("2001:db8::7", [4, 6], None),
        ("2001:db8::7", [], None),
        ("cloud1.example.org", [6], None),
    ],
)
def test_a_link_of_contradicting_address_families_is_named(dial: str, families: list[int], told: str | None) -> None:
    hosts = with_(TWO_HUBS, cloud1={"overssh_dial_host": dial}, edge1={"overssh_hubs": ["cloud1"]})
    said = planned(hosts, edge1=host(families=families))["problems"]
    assert any(told in each for each in said) if told else said == []


def test_links_that_the_plan_has_no_more_are_to_go() -> None:
    def holding(*peers: tuple[str, str]) -> dict[str, Any]:
        return host(
            devices=[
                {"name": name, "alias": f"overssh {peer}", "addresses": [{"address": "172.30.0.3", "peer": None}]}
                for name, peer in peers
            ]
        )

    held = holding(("tun1001", "cloud1"), ("tun1002", "cloud2"), ("tun1003", "edge1"), ("tun1009", "gone"))
    plan = planned(with_(TWO_HUBS, edge1={"overssh_hubs": ["cloud1"]}), edge1=held)
    assert plan["problems"] == []
    assert plan["nodes"]["edge1"]["obsolete"] == [{"peer": "cloud2", "device": "tun1002"}]


names = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True), min_size=3, max_size=12, unique=True)


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Fleets of every shape that can be."""
    everywhere = draw(st.sampled_from([{}, {"overssh_underlay6": UNDERLAY6}]))
    found: dict[str, dict[str, Any]] = {name: {**everywhere} for name in draw(names)}
    hubs = draw(st.lists(st.sampled_from(sorted(found)), min_size=1, max_size=4, unique=True))
    for name, variables in found.items():
        if name in hubs:
            variables["overssh_hub"] = True
        else:
            chosen = draw(st.lists(st.sampled_from(hubs), max_size=3, unique=True))
            if chosen:
                variables["overssh_hubs"] = chosen
            site = draw(st.sampled_from([None, None, "a", "b"]))
            if site:
                variables["overssh_site"] = site
    return found


def links_of(plan: dict[str, Any]) -> list[frozenset[str]]:
    return [frozenset((name, link["peer"])) for name, node in plan["nodes"].items() for link in node["links"]]


@settings(deadline=None)
@given(fleets())
def test_every_node_reaches_every_other(fleet: dict[str, dict[str, Any]]) -> None:
    plan = planned(fleet)
    assert plan["problems"] == []
    network = Network(plan)
    for here in fleet:
        for there in fleet:
            assert here == there or network.way(here, there)[-1] == there


@settings(deadline=None)
@given(fleets(), st.data())
def test_whatever_is_down_no_packet_goes_round_and_what_any_hub_reaches_is_reached(
    fleet: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    plan = planned(fleet)
    links = links_of(plan)
    down = data.draw(st.lists(st.sampled_from(links), max_size=len(links)))
    network = Network(plan, down)
    hubs = [name for name, variables in fleet.items() if variables.get("overssh_hub")]
    whole = all(frozenset((one, other)) not in down for one in hubs for other in hubs if one != other)
    up = {name: [hub for hub in hubs if frozenset((name, hub)) in links and network.up(name, hub)] for name in fleet}
    for here in fleet:
        for there in fleet:
            if here == there:
                continue
            way = network.way(here, there)
            if whole and (here in hubs or up[here]) and (there in hubs or up[there]):
                assert way, f"{here} does not reach {there} without {down}"


@settings(deadline=None)
@given(fleets(), st.data())
def test_nobody_else_is_concerned_when_a_node_comes_or_goes(
    fleet: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    first = planned(fleet)
    found = settled(first)
    leaves = [name for name, variables in fleet.items() if not variables.get("overssh_hub")]
    place = data.draw(st.integers(0, len(fleet)))
    items = list(fleet.items())
    newcomer = {key: value for key, value in items[0][1].items() if key == "overssh_underlay6"}
    other = dict([*items[:place], ("newcomer", newcomer), *items[place:]])
    gone = data.draw(st.sampled_from(leaves)) if leaves else None
    for changed in (other, {name: each for name, each in fleet.items() if name != gone}):
        second = fleet_plan.plan(changed, {name: found.get(name, host()) for name in changed})
        if second["problems"]:
            assert second["problems"] == ["the group has 1 host; a fleet takes two or more."]
            continue
        for name in set(changed) & set(fleet):
            assert second["addresses"][name] == first["addresses"][name]
            before = {each["peer"]: each for each in first["nodes"][name]["devices"]}
            after = {each["peer"]: each for each in second["nodes"][name]["devices"]}
            for peer in set(before) & set(after):
                assert after[peer]["name"] == before[peer]["name"]
                if name in leaves:
                    same = {key: value for key, value in before[peer].items() if key != "on_change"}
                    assert {key: value for key, value in after[peer].items() if key != "on_change"} == same
        addresses = list(second["addresses"].values())
        assert len(set(addresses)) == len(addresses)
        for node in second["nodes"].values():
            devices = [each["name"] for each in node["devices"]]
            assert len(set(devices)) == len(devices)


def test_hubs_route_by_a_table_of_its_own_what_comes_from_a_hub() -> None:
    plan = planned(TWO_HUBS)
    between = {
        name: [each["incoming_table"] for each in plan["nodes"][name]["devices"] if each["incoming_table"]]
        for name in plan["nodes"]
    }
    assert between == {
        "cloud1": [routing.HUBS_TABLE],
        "cloud2": [routing.HUBS_TABLE],
        "edge1": [],
        "edge2": [],
    }
