# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a fleet: what it promises for every inventory, and what it says of wrong ones."""

from __future__ import annotations

import copy
import ipaddress
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.model import Subnet, desired_of
from ansible_collections.overssh.swarm.plugins.modules.overlay_network import ONE
from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import plan as fleet_plan
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.plugin_utils._fleet.fleets import host, planned, settled

THREE: dict[str, dict[str, Any]] = {
    "cloud1": {"overssh_hub": True, "ansible_host": "198.51.100.7"},
    "edge1": {},
    "edge2": {},
}


def problems(change: dict[str, dict[str, Any]], **found: dict[str, Any]) -> list[str]:
    hosts = copy.deepcopy(THREE)
    for name, variables in change.items():
        hosts.setdefault(name, {}).update(variables)
    said: list[str] = planned(hosts, **found)["problems"]
    return said


def everywhere(**variables: Any) -> dict[str, dict[str, Any]]:
    return {name: dict(variables) for name in THREE}


def decided(keyword: str, value: str) -> dict[str, Any]:
    """A host whose administrator decides something before a Match block of ours could."""
    file = "/etc/ssh/sshd_config.d/10-hardened.conf"
    return host(sshd={"decided": [{"keyword": keyword, "value": value, "file": file}]})


@pytest.mark.parametrize(
    ("link", "keyword", "value", "needed"),
    [
        ({}, "ForceCommand", "/bin/false", "none"),
        ({}, "AuthorizedKeysFile", ".ssh/authorized_keys", "/etc/overssh/authorized_keys"),
        ({}, "PermitTunnel", "yes", "no"),
        ({}, "PermitTunnel", "no", None),
        ({}, "DisableForwarding", "yes", None),
        ({"overssh_transport": "tun"}, "PermitTunnel", "no", "point-to-point"),
        ({"overssh_transport": "tun"}, "DisableForwarding", "yes", "no"),
        ({"overssh_transport": "tun"}, "AllowTcpForwarding", "no", None),
        ({"overssh_jump": "cloud1"}, "AllowTcpForwarding", "no", "local"),
    ],
)
def test_a_match_block_that_decides_before_ours_is_named(
    link: dict[str, str], keyword: str, value: str, needed: str | None
) -> None:
    fleet = {**THREE, "edge1": link, "edge2": {**link, "overssh_hub": "overssh_jump" in link}}
    said = planned(fleet, cloud1=decided(keyword, value), edge1=decided("PermitTunnel", "no"))["problems"]
    sentence = (
        f"cloud1: sshd's {keyword} is {value} for overssh, by a Match block in /etc/ssh/sshd_config.d/10-hardened.conf "
        f"that is read before ours, and has to be {needed}; take the account out of that block, as in Match User "
        "*,!overssh."
    )
    assert said == ([sentence] if needed else [])


SECOND = {"overssh_underlay6": "fd8a:91c4:6e27::/64"}


def three(**variables: Any) -> dict[str, dict[str, Any]]:
    return {name: {**own, **variables} for name, own in THREE.items()}


def device(name: str, alias: str, address: str, peer: str) -> dict[str, Any]:
    return {"name": name, "alias": alias, "addresses": [{"address": address, "peer": peer}]}


def test_three_hosts_with_nothing_but_a_hub_make_a_fleet() -> None:
    plan = planned(THREE)
    assert plan["problems"] == []
    assert plan["addresses"] == {"cloud1": "172.30.0.1", "edge1": "172.30.0.2", "edge2": "172.30.0.3"}
    assert plan["first_manager"] == "cloud1"
    edge = plan["nodes"]["edge1"]
    assert edge["links"] == [
        {
            "peer": "cloud1",
            "host": "198.51.100.7",
            "port": 22,
            "host_keys": [],
            "jumps": [],
            "device": "tun1001",
            "remote_device": "tun1002",
            "remote_address": "172.30.0.1",
            "transport": "stream",
            "lanes": "auto",
            "mtu": 65000,
            "python": "/usr/bin/python3",
            "watchdog": False,
        }
    ]
    everything = {"destination": "172.30.0.0/16", "source": "172.30.0.2"}
    assert edge["devices"][0]["routes"] == [{**everything, "metric": 2000}]
    assert not edge["devices"][0]["forwarding"]
    own = edge["devices"][-1]
    assert (own["name"], own["addresses"]) == ("tun1002", [{"address": "172.30.0.2"}])
    assert own["routes"] == [{**everything, "metric": 1_000_000}]
    hub = plan["nodes"]["cloud1"]
    assert hub["links"] == []
    stream = {"transport": "stream", "lanes": "auto", "python": "/usr/bin/python3"}
    assert hub["accepts"] == [
        {"peer": "edge1", "device": "tun1002", **stream},
        {"peer": "edge2", "device": "tun1003", **stream},
    ]
    assert [each["forwarding"] for each in hub["devices"]] == [True, True, False]


def test_both_ends_of_a_link_name_the_same_devices_and_addresses() -> None:
    plan = planned(THREE)
    ends = {(entry["name"], found["name"]): found for entry in plan["nodes"].values() for found in entry["devices"]}
    for node in plan["nodes"].values():
        for link in node["links"]:
            near, far = ends[(node["name"], link["device"])], ends[(link["peer"], link["remote_device"])]
            assert near["addresses"][0]["peer"] == far["addresses"][0]["address"] == link["remote_address"]
            assert far["addresses"][0]["peer"] == near["addresses"][0]["address"]
            assert near["mtu"] == far["mtu"]
            assert not near["multi_queue"]
            assert not far["multi_queue"]
            (accepted,) = (
                entry for entry in plan["nodes"][link["peer"]]["accepts"] if entry["device"] == link["remote_device"]
            )
            assert (accepted["peer"], accepted["transport"], accepted["lanes"]) == (
                node["name"],
                link["transport"],
                link["lanes"],
            )


def test_each_link_is_as_its_dialling_end_says() -> None:
    plan = planned(
        {
            "cloud1": {"overssh_hub": True, "overssh_transport": "tun", "overssh_python": "/opt/python3.12"},
            "edge1": {"overssh_lanes": "2", "overssh_python": "/usr/local/bin/python3"},
            "edge2": {"overssh_transport": "tun", "overssh_lanes": "auto"},
        }
    )
    assert plan["problems"] == []
    says = {
        name: [(link["transport"], link["lanes"], link["python"]) for link in node["links"] or node["accepts"]]
        for name, node in plan["nodes"].items()
    }
    assert says == {
        "cloud1": [("stream", 2, "/opt/python3.12"), ("tun", 1, "/opt/python3.12")],
        "edge1": [("stream", 2, "/usr/local/bin/python3")],
        "edge2": [("tun", 1, "/usr/bin/python3")],
    }
    assert [device["multi_queue"] for device in plan["nodes"]["cloud1"]["devices"]] == [True, False, False]


@pytest.mark.parametrize(
    ("change", "mtus"),
    [
        ({}, [65000, 65000]),
        ({"edge2": {"overssh_transport": "tun"}}, [65000, 9000]),
        ({"edge2": {"overssh_transport": "tun", "overssh_mtu": 16380}}, [65000, 16380]),
        ({"edge2": {"overssh_mtu": 1500}}, [65000, 1500]),
        ({"edge2": {"overssh_mtu": 65535}}, [65000, 65535]),
        ({"cloud1": {"overssh_mtu": 20000}, "edge2": {"overssh_transport": "tun"}}, [20000, 9000]),
        ({"cloud1": {"overssh_mtu": 1400}, "edge1": {"overssh_mtu": 1300}}, [1300, 1400]),
        (everywhere(overssh_mtu="auto"), [65000, 65000]),
        (everywhere(overssh_mtu=1500), [1500, 1500]),
    ],
)
def test_the_mtu_of_a_link_is_what_its_dialling_end_says_and_the_hub_allows(
    change: dict[str, dict[str, Any]], mtus: list[int]
) -> None:
    plan = planned({name: {**variables, **change.get(name, {})} for name, variables in THREE.items()})
    assert plan["problems"] == []
    assert [device["mtu"] for device in plan["nodes"]["cloud1"]["devices"][:-1]] == mtus
    assert [plan["nodes"][name]["devices"][0]["mtu"] for name in ("edge1", "edge2")] == mtus
    assert plan["underlay_mtu"] == min(mtus)
    assert "mtu" not in plan["settings"]


def test_a_device_is_replaced_only_where_ours_was_there_before() -> None:
    mine = host(devices=[device("tun1001", "overssh cloud1", "172.30.0.2", "172.30.0.1")])
    nodes = planned(THREE, edge1=mine)["nodes"]
    assert nodes["edge1"]["devices"][0]["on_change"] == "recreate"
    assert [each["on_change"] for each in nodes["cloud1"]["devices"]] == ["fail"] * 3


def python_of(version: str = "", error: str = "") -> dict[str, Any]:
    return host(python={"path": "/opt/python", "version": version, "error": error})


@pytest.mark.parametrize(
    ("change", "found", "sentences"),
    [
        (
            {},
            {"edge1": python_of("3.8.10")},
            [
                "edge1: /opt/python is Python 3.8.10, which is too old for the helper of the stream transport; name "
                "one of version 3.9 or later with overssh_python."
            ],
        ),
        (
            {"edge1": {"overssh_transport": "tun"}},
            {"cloud1": python_of(error="Permission denied")},
            [
                "cloud1: /opt/python, which is to run the helper of the stream transport, can't be run by an account "
                "without privileges (Permission denied); name one of version 3.9 or later with overssh_python."
            ],
        ),
        ({"edge1": {"overssh_transport": "tun"}}, {"edge1": python_of("2.7.18")}, []),
        (everywhere(overssh_transport="tun"), {"cloud1": python_of(error="No such file or directory")}, []),
        ({}, {"cloud1": python_of("3.9.0"), "edge1": python_of("3.10.1"), "edge2": host(python={})}, []),
    ],
)
def test_python_counts_where_a_stream_begins_or_ends(
    change: dict[str, dict[str, Any]], found: dict[str, dict[str, Any]], sentences: list[str]
) -> None:
    assert problems(change, **found) == sentences


def test_the_management_port_is_opened_on_managers_and_transit_on_the_hub() -> None:
    nodes = planned(THREE)["nodes"]
    ports = {name: {port for rule in node["rules"] for port in rule["ports"]} for name, node in nodes.items()}
    assert ports == {"cloud1": {2377, 7946, 4789}, "edge1": {7946, 4789}, "edge2": {7946, 4789}}
    assert [rule["path"] for rule in nodes["cloud1"]["rules"]].count("forward") == 1
    assert {rule["name"] for rule in nodes["edge1"]["rules"] if rule["path"] != "input"} == {"fleet-out"}
    for node in nodes.values():
        devices = [each["name"] for each in node["devices"] if each["peer"] != node["name"]]
        sides = [rule["out_interfaces" if rule["path"] == "output" else "in_interfaces"] for rule in node["rules"]]
        assert all(side == devices for side in sides)


def test_a_second_underlay_numbers_its_addresses_alike() -> None:
    plan = planned(three(overssh_underlay6="fd8a:91c4:6e27::/64"))
    assert plan["problems"] == []
    hub, edge = plan["nodes"]["cloud1"], plan["nodes"]["edge1"]
    assert (hub["address6"], edge["address6"]) == ("fd8a:91c4:6e27::1", "fd8a:91c4:6e27::2")
    assert edge["devices"][0]["addresses"] == [
        {"address": "172.30.0.2", "peer": "172.30.0.1"},
        {"address": "fd8a:91c4:6e27::2", "peer": "fd8a:91c4:6e27::1"},
    ]
    assert [each["forwarding6"] for each in hub["devices"]] == [True, True, False]
    assert not any(each["forwarding6"] for each in edge["devices"])
    rules = {rule["name"]: rule for rule in hub["rules"]}
    assert rules["fleet-icmp6"]["protocol"] == "icmpv6"
    assert rules["fleet-transit6"]["source"] == rules["fleet-transit6"]["destination"] == ["fd8a:91c4:6e27::/64"]
    assert rules["fleet-swarm-tcp"]["destination"] == [hub["swarm_address"]] == ["172.30.0.1"]


def test_the_swarm_may_run_on_the_second_underlay() -> None:
    plan = planned(three(overssh_underlay6="fd8a:91c4:6e27::/64", overssh_swarm_family="ipv6"))
    assert plan["problems"] == []
    assert plan["swarm_addresses"]["edge2"] == plan["nodes"]["edge2"]["swarm_address"] == "fd8a:91c4:6e27::3"
    rules = {rule["name"]: rule["destination"] for rule in plan["nodes"]["edge1"]["rules"]}
    assert rules == {
        "fleet-icmp": ["172.30.0.2"],
        "fleet-icmp6": ["fd8a:91c4:6e27::2"],
        "fleet-out": ["172.30.0.0/16"],
        "fleet-out6": ["fd8a:91c4:6e27::/64"],
        "fleet-swarm-tcp": ["fd8a:91c4:6e27::2"],
        "fleet-swarm-udp": ["fd8a:91c4:6e27::2"],
    }
    devices = [device("tun1001", "overssh cloud1", "172.30.0.2", "172.30.0.1")]
    alone = three(**SECOND, overssh_swarm_family="ipv6")
    del alone["edge1"]
    gone = fleet_plan.plan(alone, {"cloud1": host(), "edge2": host(devices=devices)}, ["edge2", "edge1"])["gone"]
    assert gone == {"edge2": "fd8a:91c4:6e27::2", "edge1": ""}


@pytest.mark.parametrize(
    ("variables", "found", "sentence"),
    [
        (
            {"overssh_swarm_family": "ipv6"},
            {},
            "overssh_swarm_family is ipv6, and there is no overssh_underlay6; set that to an IPv6 network such as "
            "fd8a:91c4:6e27::/64.",
        ),
        (
            {**SECOND, "overssh_swarm_family": "ipv6"},
            {"edge1": host(docker={"version": "24.0.9", "swarm": "inactive"})},
            "edge1: Docker 24.0.9 does not send containers' traffic over IPv6, as versions from 25 on do; upgrade it, "
            "or set overssh_swarm_family: ipv4.",
        ),
        (
            {**SECOND, "overssh_swarm_family": "ipv6"},
            {"edge1": host(docker={"version": "26.1.5+dfsg1", "swarm": "active", "swarm_address": "172.30.0.2"})},
            "edge1: is in the swarm as 172.30.0.2, and overssh_swarm_family is ipv6; a swarm can't follow a change of "
            "addresses, so set it back, or run overssh.swarm.teardown first.",
        ),
        (
            {**SECOND},
            {"edge1": host(docker={"version": "26.1.5", "swarm": "active", "swarm_address": "fd00::7"})},
            "edge1: is in a swarm already, as fd00::7, which is not in overssh_underlay 172.30.0.0/16; a swarm can't "
            "follow a change of addresses, so take the host out of that swarm with 'docker swarm leave' first.",
        ),
        (
            SECOND,
            {"edge1": host(ipv6={"enabled": False, "forwarding": "off"})},
            "edge1: IPv6 is switched off there for new devices; set net.ipv6.conf.all.disable_ipv6 and "
            "net.ipv6.conf.default.disable_ipv6 to 0, or leave overssh_underlay6 out.",
        ),
        (
            SECOND,
            {"cloud1": host(ipv6={"enabled": True, "forwarding": "off"})},
            "cloud1: is a hub, and its kernel, older than 6.17, passes IPv6 packets on for the whole host or not at "
            "all; set net.ipv6.conf.all.forwarding to 1 there (and accept_ra to 2 before, on devices that take their "
            "addresses from a router), or leave overssh_underlay6 out.",
        ),
        (
            SECOND,
            {"edge2": host(routes=[{"destination": "fd8a:91c4::/32", "device": "wg0"}])},
            "edge2: overssh_underlay6 fd8a:91c4:6e27::/64 overlaps the host's route fd8a:91c4::/32 (on wg0); choose "
            "another.",
        ),
        (
            {**SECOND, "overssh_overlays": [{"name": "six", "subnet": "fd01::/64"}]},
            {},
            "cloud1: overssh_overlays is [{'name': 'six', 'subnet': 'fd01::/64'}]; it takes an IPv4 network such as "
            "172.30.0.0/16 (no version of Docker carries IPv6 inside overlay networks) as subnet of the network 'six'.",
        ),
        (
            {"overssh_underlay6": "fe80::/64"},
            {},
            "cloud1: overssh_underlay6 is 'fe80::/64'; it takes an IPv6 network of unique local addresses with the "
            "prefix length 64, such as fd8a:91c4:6e27::/64.",
        ),
    ],
)
def test_what_can_not_be_over_ipv6_is_named(variables: dict[str, Any], found: dict[str, Any], sentence: str) -> None:
    assert fleet_plan.plan(three(**variables), {name: found.get(name, host()) for name in THREE})["problems"] == [
        sentence
    ]


@pytest.mark.parametrize("found", [{"forwarding": "device"}, {"forwarding": "host"}])
def test_a_hub_that_can_pass_ipv6_on_is_taken(found: dict[str, str]) -> None:
    second = host(ipv6={"enabled": True, **found})
    assert (
        planned(three(**SECOND), cloud1=second, edge1=host(ipv6={"enabled": True, "forwarding": "off"}))["problems"]
        == []
    )


def test_links_too_small_for_ipv6_are_named() -> None:
    fleet = three(**SECOND)
    fleet["edge1"]["overssh_mtu"] = 1000
    assert planned(fleet)["problems"] == [
        "edge1: its link with cloud1 has an MTU of 1000, and overssh_underlay6 takes 1280 or more; raise overssh_mtu, "
        "or leave overssh_underlay6 out."
    ]


def test_ports_are_closed_to_everything_but_the_tunnels_where_that_is_asked_for() -> None:
    assert {tuple(node["closed"]) for node in planned(THREE)["nodes"].values()} == {()}
    (tcp, udp) = planned(three(overssh_firewall_restrict=True))["nodes"]["cloud1"]["closed"]
    assert (tcp["verdict"], tcp["chain"], tcp["ports"]) == ("drop", "inet overssh closed", [7946, 2377])
    assert tcp["expression"] == udp["expression"] == 'iifname != { "lo", "tun1002", "tun1003" }'
    assert (udp["protocol"], udp["ports"]) == ("udp", [4789, 7946])


def test_encrypted_networks_open_esp() -> None:
    networks = [{"name": "secret", "subnet": "10.200.0.0/24", "encrypted": True}]
    plan = planned({name: {**variables, "overssh_overlays": networks} for name, variables in THREE.items()})
    assert "esp" in [rule["protocol"] for rule in plan["nodes"]["edge1"]["rules"]]


def test_encrypted_networks_are_refused_where_a_kernel_has_no_esp() -> None:
    networks = [{"name": name, "subnet": f"10.21{at}.0.0/24", "encrypted": True} for at, name in enumerate("ab")]
    lacking = {"cloud1": host(esp=True), "edge1": host(esp=False), "edge2": host(esp=None)}
    assert planned(three(overssh_overlays=networks[:1]), **lacking)["problems"] == [
        "edge1: the kernel has no ESP, so that containers there would reach no others on the encrypted network a; load "
        "the kernel module esp4 there, or leave encrypted out of overssh_overlays."
    ]
    (said,) = planned(three(overssh_overlays=networks), **lacking)["problems"]
    assert "on the encrypted networks a, b;" in said
    assert planned(three(), **lacking)["problems"] == []


@pytest.mark.parametrize(
    ("versions", "named"),
    [
        (("26.1.5+dfsg1", "29.1.3", "29.7.2"), ["edge1"]),
        (("29.0.0-rc.1", "29.2.0", "29.2.1"), ["cloud1", "edge1"]),
        (("29.0.0", "29.2.0", "29.1.0"), []),
        (("28.5.2", "29.2.1", ""), []),
    ],
)
def test_engines_that_mark_encrypted_packets_in_two_ways_are_not_mixed(
    versions: tuple[str, ...], named: list[str]
) -> None:
    found = {name: host(docker={"swarm": "inactive", "version": version}) for name, version in zip(THREE, versions)}
    encrypted = [{"name": "a", "subnet": "10.8.0.0/24", "encrypted": True}]
    said = planned(three(overssh_overlays=encrypted), **found)["problems"]
    assert [sentence.partition(":")[0] for sentence in said] == named
    if named == ["edge1"]:
        assert said[0].startswith(
            "edge1: Docker 29.1.3 marks encrypted packets otherwise than Docker 26.1.5+dfsg1 on cloud1 (29.0.0 to"
        )
        assert said[0].endswith("; upgrade it to 29.2.1 or later, or leave encrypted out of overssh_overlays.")
    assert planned(three(), **found)["problems"] == []


def test_an_overlay_network_has_every_option_of_the_module() -> None:
    """But those that are about all of them."""
    listed = [{"name": "a", "subnet": "10.8.0.0/24", "ip_range": "10.8.0.128/25", "options": {"x": 4097}}]
    (network,) = planned(three(overssh_overlays=listed))["settings"]["overlays"]
    assert (network["ip_range"], network["options"]) == ("10.8.0.128/25", {"x": "4097"})
    assert desired_of(network).subnets == (Subnet("10.8.0.0/24", None, "10.8.0.128/25"),)
    assert set(network) == {name for name in ONE if name != "ingress"} | {"name"}


SEVERAL = [{"subnet": "10.8.0.0/24", "gateway": "10.8.0.9"}, {"subnet": "10.9.0.0/24", "ip_range": "10.9.0.0/25"}]


def test_a_network_of_several_subnets_is_planned_with_all_of_them() -> None:
    plan = planned(three(overssh_overlays=[{"name": "a", "subnets": SEVERAL}]))
    assert plan["problems"] == []
    (network,) = plan["settings"]["overlays"]
    assert desired_of(network).subnets == (
        Subnet("10.8.0.0/24", "10.8.0.9", None),
        Subnet("10.9.0.0/24", None, "10.9.0.0/25"),
    )
    assert "overlay network a 10.8.0.0/24 + 10.9.0.0/24" in plan["summary"][1]
    (warning,) = plan["warnings"]
    assert warning.startswith("overssh_overlays: a has several subnets. Its containers reach each other, but not every")


def test_every_subnet_of_a_network_is_looked_at_for_overlaps() -> None:
    both = [{"name": "a", "subnets": SEVERAL}, {"name": "b", "subnet": "10.9.0.0/16"}]
    assert planned(three(overssh_overlays=both))["problems"] == [
        "overssh_overlays: b 10.9.0.0/16 overlaps overssh_overlays: a 10.9.0.0/24; choose networks that don't."
    ]
    found = host(routes=[{"destination": "10.9.0.7", "device": ""}], resolvers=["10.9.0.53"])
    said = planned(three(overssh_overlays=both[:1]), edge1=found)["problems"]
    assert [sentence.partition(";")[0] for sentence in said] == [
        "edge1: overssh_overlays: a 10.9.0.0/24 overlaps the host's route 10.9.0.7/32",
        "edge1: the name server 10.9.0.53 is in overssh_overlays: a 10.9.0.0/24, so that containers there would "
        "resolve no names",
    ]


def test_a_node_keeps_the_address_it_holds_when_the_inventory_is_turned_round() -> None:
    held = {
        "edge1": host(devices=[device("tun1001", "overssh cloud1", "172.30.0.2", "172.30.0.1")]),
        "edge2": host(devices=[device("tun1001", "overssh cloud1", "172.30.0.3", "172.30.0.1")]),
    }
    turned = dict(reversed(list({**THREE, "edge0": {}}.items())))
    assert planned(turned, **held)["addresses"] == {
        "cloud1": "172.30.0.1",
        "edge1": "172.30.0.2",
        "edge2": "172.30.0.3",
        "edge0": "172.30.0.4",
    }


def test_a_reinstalled_node_gets_back_the_address_that_the_hub_remembers() -> None:
    hub = host(devices=[device("tun1009", "overssh edge2", "172.30.0.1", "172.30.0.9")])
    addresses = planned(THREE, cloud1=hub)["addresses"]
    assert addresses["edge2"] == "172.30.0.9"
    assert addresses["edge1"] == "172.30.0.2"


def test_the_address_of_a_node_that_left_the_inventory_is_not_given_away() -> None:
    hub = host(devices=[device("tun1002", "overssh gone", "172.30.0.1", "172.30.0.2")])
    assert planned(THREE, cloud1=hub)["addresses"]["edge1"] == "172.30.0.3"


def test_a_node_is_in_the_swarm_where_it_is_active_at_its_own_address() -> None:
    hosts = {"cloud1": {"overssh_hub": True}, "edge1": {}, "edge2": {}}
    found = {
        "cloud1": host(docker={"swarm": "active", "swarm_address": "172.30.0.1"}),
        "edge1": host(docker={"swarm": "active", "swarm_address": "172.30.0.9"}),
        "edge2": host(docker={"swarm": "pending", "swarm_address": "172.30.0.3"}),
    }
    nodes = planned(hosts, **found)["nodes"]
    assert {name: node["in_swarm"] for name, node in nodes.items()} == {"cloud1": True, "edge1": False, "edge2": False}


def test_the_first_manager_is_a_manager_that_has_the_swarm() -> None:
    hosts = {**THREE, "edge2": {"overssh_manager": True}}
    member = host(docker={"swarm": "active", "swarm_address": "172.30.0.3"})
    assert planned(hosts, edge2=member)["first_manager"] == "edge2"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"cloud1": {"overssh_hub": False}}, "no host of the group is a hub; set overssh_hub: true"),
        ({"edge1": {"overssh_hub": "perhaps"}}, "edge1: overssh_hub is 'perhaps'; it takes true or false."),
        ({"edge1": {"overssh_hubb": True}}, "edge1: there is no variable overssh_hubb; did you mean overssh_hub?"),
        (
            {"edge1": {"overssh_address": "172.30.0.7"}, "edge2": {"overssh_address": "172.30.0.7"}},
            "edge2: overssh_address 172.30.0.7 belongs to edge1 already",
        ),
        ({"edge1": {"overssh_address": "10.0.0.1"}}, "overssh_address is 10.0.0.1, which is no host address of"),
        ({"edge1": {"overssh_address": "172.30.0.0"}}, "overssh_address is 172.30.0.0, which is no host address of"),
        ({"cloud1": {"overssh_dial_port": 70000}}, "cloud1: overssh_dial_port is 70000; it takes a whole number"),
        (everywhere(overssh_underlay="172.30.0.0/31"), "overssh_underlay 172.30.0.0/31 has no free address"),
        (everywhere(overssh_underlay="172.30.0.0/30"), "edge2: overssh_underlay 172.30.0.0/30 has no free address"),
        (everywhere(overssh_underlay="172.30.0.1/16"), "overssh_underlay is '172.30.0.1/16'; it takes an IPv4 network"),
        ({"edge1": {"overssh_mtu": 70000}}, "overssh_mtu is 70000; it takes auto, or a whole number from 576 to"),
        (
            {"edge1": {"overssh_mtu": 16381, "overssh_transport": "tun"}},
            "edge1: overssh_mtu is 16381, and the transport tun loses everything from the first packet over 16380 "
            "bytes on; set overssh_mtu: auto, or overssh_transport: stream.",
        ),
        (
            {"edge1": {"overssh_lanes": 2, "overssh_transport": "tun"}},
            "edge1: overssh_lanes is 2, and the transport tun has one lane only; set overssh_transport: stream, or "
            "leave overssh_lanes out.",
        ),
        ({"edge1": {"overssh_lanes": 17}}, "edge1: overssh_lanes is 17; it takes auto, or a whole number from 1 to"),
        ({"edge1": {"overssh_lanes": 0}}, "edge1: overssh_lanes is 0; it takes auto, or a whole number from 1 to 16."),
        ({"edge1": {"overssh_lanes": "many"}}, "edge1: overssh_lanes is 'many'; it takes auto, or a whole number"),
        ({"edge1": {"overssh_lanes": True}}, "edge1: overssh_lanes is True; it takes auto, or a whole number from"),
        ({"edge1": {"overssh_transport": "udp"}}, "edge1: overssh_transport is 'udp'; it takes stream or tun."),
        ({"edge1": {"overssh_python": "python3"}}, "edge1: overssh_python is 'python3'; it takes an absolute path"),
        ({"edge1": {"overssh_python": "/bin/sh -c x"}}, "edge1: overssh_python is '/bin/sh -c x'; it takes an"),
        (
            everywhere(overssh_overlays=[{"name": "a", "subnet": "172.30.4.0/24"}]),
            "overssh_overlays: a 172.30.4.0/24 overlaps overssh_underlay 172.30.0.0/16",
        ),
        (
            everywhere(
                overssh_overlays=[{"name": "a", "subnet": "10.8.0.0/24"}, {"name": "b", "subnet": "10.8.0.128/25"}]
            ),
            "overssh_overlays: b 10.8.0.128/25 overlaps overssh_overlays: a 10.8.0.0/24",
        ),
        (everywhere(overssh_overlays=[{"subnet": "10.8.0.0/24"}]), "it takes networks that all have a name."),
        (
            everywhere(overssh_overlays=[{"name": "a", "subnet": "10.8.0.0/24", "mtuu": 1}]),
            "not 'mtuu'",
        ),
        (everywhere(overssh_overlays=[{"name": "a", "subnet": "10.8.0.0/24", "attachable": "x"}]), "as attachable of"),
        (
            everywhere(overssh_overlays=[{"name": "a", "subnet": "10.8.0.0/24", "ip_range": "10.9.0.0/25"}]),
            "it takes networks whose ip_range is within their subnet, and 10.9.0.0/25 is not within 10.8.0.0/24.",
        ),
        (
            everywhere(overssh_overlays=[{"name": "a", "subnet": "10.8.0.0/24", "ip_range": "10.8.0.0"}]),
            "it takes an IPv4 network such as 172.30.0.0/16 as ip_range of the network 'a'.",
        ),
        (
            everywhere(overssh_overlays=[{"name": "a", "subnet": "10.8.0.0/24", "gateway": "10.9.0.1"}]),
            "it takes networks whose gateway is an address within their subnet, not its first or last, and 10.9.0.1 is "
            "none of 10.8.0.0/24.",
        ),
        (
            everywhere(overssh_overlays=[{"name": "a", "subnet": "10.8.0.0/24", "gateway": "10.8.0.255"}]),
            "10.8.0.255 is none of 10.8.0.0/24.",
        ),
        (
            everywhere(
                overssh_overlays=[{"name": "a", "subnet": "10.8.0.0/24", "subnets": [{"subnet": "10.9.0.0/24"}]}]
            ),
            "it takes networks with subnet or with subnets, and 'a' has subnet and subnets.",
        ),
        (
            everywhere(overssh_overlays=[{"name": "a", "subnets": ["10.9.0.0/24"]}]),
            "it takes a list of subnets, each with subnet, and if need be with gateway and ip_range as subnets of the",
        ),
        (
            everywhere(
                overssh_overlays=[
                    {"name": "a", "subnets": [{"subnet": "10.9.0.0/24", "aux_addresses": {"x": "10.9.0.5"}}]}
                ]
            ),
            "Docker keeps no aux_addresses of an overlay network, so that none can be given as subnets of the network",
        ),
        (
            everywhere(
                overssh_overlays=[{"name": "a", "subnets": [{"subnet": "10.9.0.0/24"}, {"subnet": "10.9.0.0/25"}]}]
            ),
            "it takes subnets that don't overlap, as 10.9.0.0/24 and 10.9.0.0/25 do, as subnets of the network 'a'.",
        ),
        (
            everywhere(overssh_overlays=[{"name": "a", "subnet": "10.8.0.0/24", "options": {"encrypted": ""}}]),
            "it takes a mapping of driver option to value without encrypted, which is said by encrypted, as options of "
            "the network 'a'.",
        ),
        (
            everywhere(overssh_overlays=[{"name": "a", "subnet": "10.8.0.0/24", "options": ["x"]}]),
            "it takes a mapping of driver option to value as options of the network 'a'.",
        ),
        (everywhere(overssh_swarm_settings={"heartbeat": 1}), "it takes a mapping with any of dispatcher_heartbeat, "),
        (everywhere(overssh_swarm_settings="autolock"), "it takes a mapping with any of dispatcher_heartbeat, "),
        (
            everywhere(overssh_swarm_settings={"node_cert_expiry": 60}),
            "it takes a whole number from 3600 to 9000000000 as node_cert_expiry",
        ),
        (everywhere(overssh_swarm_settings={"autolock": 2}), "it takes true or false as autolock"),
        ({"an edge": {}}, "an edge: an inventory name becomes the name of units"),
        ({"cloud1": {"overssh_manager": False}}, "no host of the group is a manager"),
    ],
)
def test_bad_settings_are_named(change: dict[str, dict[str, Any]], sentence: str) -> None:
    said = problems(change)
    assert any(sentence in each for each in said), said


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("overlays", '[{"name": "one", "subnet": "10.9.0.0/24"}]'),
        ("overlays", "- name: one\n  subnet: 10.9.0.0/24\n"),
        ("swarm_pool", "[10.9.0.0/16]"),
    ],
)
def test_a_list_that_comes_as_a_text_is_read(name: str, text: str) -> None:
    plan = planned({host: {**variables, f"overssh_{name}": text} for host, variables in THREE.items()})
    assert plan["problems"] == []
    (found,) = plan["settings"][name]
    assert found == "10.9.0.0/16" or (found["name"], found["subnet"]) == ("one", "10.9.0.0/24")


@pytest.mark.parametrize(
    "given", [{"task_history_limit": "-1", "autolock": "no"}, "{task_history_limit: -1, autolock: false}"]
)
def test_settings_of_the_swarm_are_read_as_the_module_takes_them(given: Any) -> None:
    plan = planned({host: {**variables, "overssh_swarm_settings": given} for host, variables in THREE.items()})
    assert plan["problems"] == []
    assert plan["settings"]["swarm_settings"] == {"task_history_limit": -1, "autolock": False}


@pytest.mark.parametrize("text", ["one", "[10.9.0.0/24", "{}"])
def test_a_text_that_is_no_list_is_told_to_be_one(text: str) -> None:
    (sentence,) = planned({name: {**THREE[name], "overssh_overlays": text} for name in THREE})["problems"]
    assert sentence.endswith("each with name and subnet; this is a text, and no such list in YAML.")


def test_one_host_is_no_fleet() -> None:
    said = planned({"cloud1": {"overssh_hub": True}})["problems"]
    assert said == ["the group has 1 host; a fleet takes two or more."]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    said = problems(
        {"edge1": {"overssh_hubb": True}, "edge2": {"overssh_address": "nowhere"}},
        cloud1={"unreachable": True, "msg": "Connection timed out"},
    )
    assert len(said) == 3
    assert "cloud1: can't be reached over ssh: Connection timed out." in said


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"unreachable": True, "msg": "No route to host"}, "edge1: can't be reached over ssh: No route to host."),
        (
            {
                "unreachable": True,
                "msg": "Task failed: kex_exchange_identification: read: Connection reset by peer\r\n",
            },
            "Connection reset by peer. Something answers there and ends the connection at once: sshd does that",
        ),
        ({"failed": True, "msg": "no python"}, "edge1: could not be looked at: no python."),
        ({}, "edge1: was not looked at, since the run is limited to other hosts"),
        (host(problems=["systemd does not run here."]), "edge1: systemd does not run here."),
        (
            host(routes=[{"destination": "172.16.0.0/12", "device": "eth1"}]),
            "edge1: overssh_underlay 172.30.0.0/16 overlaps the host's route 172.16.0.0/12 (on eth1)",
        ),
        (
            host(routes=[{"destination": "10.200.0.7", "device": ""}]),
            "edge1: overssh_overlays: overssh 10.200.0.0/24 overlaps the host's route 10.200.0.7/32",
        ),
        (
            host(docker={"swarm": "active", "swarm_address": "192.168.1.5"}),
            "edge1: is in a swarm already, as 192.168.1.5",
        ),
        (
            host(devices=[device("tun1001", "", "10.8.0.2", "10.8.0.1")]),
            "edge1: tun1001 exists and is not ours; set overssh_tun_base",
        ),
        (
            host(devices=[device("tun1001", "overssh cloud1", "172.30.0.5", "172.30.0.1")]),
            "",
        ),
    ],
)
def test_hosts_that_can_not_take_part_are_named(found: dict[str, Any], sentence: str) -> None:
    said = problems({}, edge1=found)
    assert any(sentence in each for each in said) if sentence else said == []


@pytest.mark.parametrize(
    ("change", "found", "sentences"),
    [
        (
            {"cloud1": {"overssh_dial_host": "172.30.0.1"}},
            {},
            [
                "cloud1: is dialled at 172.30.0.1, which is in overssh_underlay 172.30.0.0/16, the network of the "
                "tunnels themselves; set overssh_dial_host, or choose another network."
            ],
        ),
        (
            {},
            {"edge1": host(resolvers=["10.200.0.53", "10.200.0.53", "192.0.2.53"])},
            [
                "edge1: the name server 10.200.0.53 is in overssh_overlays: overssh 10.200.0.0/24, so that containers "
                "there would resolve no names; choose another network."
            ],
        ),
        # A name server on a node of the fleet, a name in the place of an address, an operator who comes by the tunnels.
        (
            {"cloud1": {"overssh_dial_host": "hub.example.org"}},
            {"edge1": host(resolvers=["172.30.0.1", "127.0.0.53"])},
            [],
        ),
        ({"edge1": {"ansible_host": "172.30.0.2"}}, {}, []),
    ],
)
def test_addresses_that_would_not_be_reached_any_more_are_named(
    change: dict[str, dict[str, Any]], found: dict[str, dict[str, Any]], sentences: list[str]
) -> None:
    assert problems(change, **found) == sentences


@pytest.mark.parametrize(
    ("word", "listed", "taken"),
    [
        ("active", {"n1": "ready", "n2": "ready"}, True),
        ("active", {"n1": "ready"}, False),
        ("active", {}, True),
        ("error", {"n1": "ready", "n2": "ready"}, True),
        ("error", {"n1": "ready", "n2": "down"}, False),
        ("error", {}, False),
    ],
)
def test_managers_say_who_is_in_the_swarm(word: str, listed: dict[str, str], taken: bool) -> None:
    hosts = {"cloud1": {"overssh_hub": True, "overssh_dial_host": "192.0.2.1"}, "edge1": {}}
    addresses = planned(hosts)["addresses"]
    docker = {"swarm": "active", "swarm_address": addresses["cloud1"], "node_id": "n1", "members": listed}
    member = {"swarm": word, "swarm_address": addresses["edge1"], "node_id": "n2"}
    plan = planned(hosts, cloud1=host(docker=docker), edge1=host(docker=member))
    assert plan["nodes"]["edge1"]["in_swarm"] is taken
    assert plan["members"] == listed


def test_a_first_manager_that_was_removed_is_not_the_one_to_join() -> None:
    hosts = {
        "cloud1": {"overssh_hub": True, "overssh_dial_host": "192.0.2.1", "overssh_manager": True},
        "cloud2": {"overssh_hub": True, "overssh_dial_host": "192.0.2.2", "overssh_manager": True},
    }
    addresses = planned(hosts)["addresses"]
    removed = {"swarm": "active", "swarm_address": addresses["cloud1"], "node_id": "old"}
    manager = {"swarm": "active", "swarm_address": addresses["cloud2"], "node_id": "n2", "members": {"n2": "ready"}}
    assert planned(hosts, cloud1=host(docker=removed), cloud2=host(docker=manager))["first_manager"] == "cloud2"


def test_nodes_that_managers_give_no_containers_are_known_by_name() -> None:
    hosts = {"cloud1": {"overssh_hub": True, "overssh_dial_host": "192.0.2.1"}, "edge1": {}, "edge2": {}}
    plan = planned(hosts)
    address = plan["addresses"]["edge2"]
    manager = host(docker={"swarm": "active", "swarm_address": "172.30.0.1", "unavailable": {address: "drain"}})
    assert planned(hosts, cloud1=manager)["unavailable"] == {"edge2": "drain"}
    assert plan["unavailable"] == {}


def test_one_machine_under_two_names_is_named_and_nothing_else_is_said_of_it() -> None:
    hosts = {"cloud1": {"overssh_hub": True, "overssh_dial_host": "192.0.2.1"}, "edge1": {}, "edge2": {}}
    first = settled(planned(hosts))
    found = {name: host(**{**first[name]["host"], "docker": {"hostname": name}}, machine=name) for name in hosts}
    again = fleet_plan.plan({**hosts, "bravo": {}}, {**found, "bravo": found["edge2"]})
    assert again["problems"] == [
        "edge2 and bravo are one machine, to which these names lead; leave one of them in the inventory."
    ]
    assert again["warnings"] == []
    assert planned(hosts, **found)["problems"] == []


def test_hosts_of_one_host_name_are_named_and_take_part_all_the_same() -> None:
    names = {"cloud1": "hub", "edge1": "debian", "edge2": "Debian", "edge3": "debian", "edge4": "debian", "edge5": ""}
    hosts: dict[str, dict[str, Any]] = {name: {} for name in names}
    hosts["cloud1"] = {"overssh_hub": True, "overssh_dial_host": "192.0.2.1"}
    found = {name: host(docker={"swarm": "inactive", "hostname": each}) for name, each in names.items()}
    plan = planned(hosts, **found)
    assert plan["problems"] == []
    assert plan["warnings"] == [
        "edge1, edge3 and edge4 have the same host name, debian. Docker lists nodes by host name, so 'docker node ls' "
        "and what is said of nodes won't tell them apart; give each a name of its own with 'hostnamectl set-hostname'."
    ]


def test_a_held_address_can_not_be_changed_in_the_inventory() -> None:
    mine = host(devices=[device("tun1001", "overssh cloud1", "172.30.0.5", "172.30.0.1")])
    said = problems({"edge1": {"overssh_address": "172.30.0.6"}}, edge1=mine)
    assert said == [
        "edge1: overssh_address is 172.30.0.6, but the host holds 172.30.0.5; an underlay address is for life, so "
        "set it back, or run overssh.swarm.teardown first."
    ]


def test_our_own_routes_collide_with_nothing() -> None:
    mine = host(
        devices=[device("tun1001", "overssh cloud1", "172.30.0.2", "172.30.0.1")],
        routes=[{"destination": "172.30.0.0/16", "device": "tun1001"}],
    )
    assert problems({}, edge1=mine) == []


@given(
    names=st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True), min_size=2, max_size=40, unique=True),
    fixed=st.dictionaries(st.integers(0, 39), st.integers(1, 4000), max_size=10),
    newcomers=st.integers(0, 5),
)
def test_addresses_are_unique_and_for_life(names: list[str], fixed: dict[int, int], newcomers: int) -> None:
    space = ipaddress.IPv4Network("172.30.0.0/16")
    chosen = {names[index]: offset for index, offset in fixed.items() if index < len(names)}
    offsets = list(chosen.values())
    hosts: dict[str, dict[str, Any]] = {
        name: {"overssh_address": str(space[chosen[name]])}
        if name in chosen and offsets.count(chosen[name]) == 1
        else {}
        for name in names
    }
    hosts[names[0]]["overssh_hub"] = True
    first = planned(hosts)
    assert first["problems"] == []
    assert len(set(first["addresses"].values())) == len(names)
    for node in first["nodes"].values():
        devices = [each["name"] for each in node["devices"]]
        assert len(set(devices)) == len(devices)
    found = settled(first)
    grown = {**{f"new-{number}": {} for number in range(newcomers)}, **hosts}
    second = fleet_plan.plan(grown, {**{name: host() for name in grown}, **found})
    assert second["problems"] == []
    for name in names:
        assert second["addresses"][name] == first["addresses"][name]
        before = {each["name"] for each in first["nodes"][name]["devices"]}
        assert before <= {each["name"] for each in second["nodes"][name]["devices"]}
    assert len(set(second["addresses"].values())) == len(grown)


def test_an_operator_in_the_underlay_is_named_before_the_answers_go_into_the_tunnels() -> None:
    (said,) = problems({}, edge1=host(operator="172.30.4.9"))
    assert said == (
        "edge1: the ssh connection of this run comes from 172.30.4.9, which is in overssh_underlay 172.30.0.0/16; the "
        "answers to it would go into the tunnels, so choose another network."
    )
    mine = [device("tun1001", "overssh cloud1", "172.30.0.2", "172.30.0.1")]
    assert problems({}, edge1=host(operator="172.30.0.1", devices=mine)) == []


def test_what_a_swarm_can_not_change_is_foreseen() -> None:
    swarm = {"swarm": "active", "swarm_address": "172.30.0.1", "data_path_port": 7777, "swarm_pool": ["10.0.0.0/8"]}
    assert problems({}, cloud1=host(docker=swarm)) == [
        f"cloud1: its swarm has {differs}; that is fixed when a swarm starts, so set it back, or run "
        "overssh.swarm.teardown first."
        for differs in (
            "7777 where overssh_data_path_port is 4789",
            "10.0.0.0/8 where overssh_swarm_pool is 10.201.0.0/16",
        )
    ]


@pytest.mark.parametrize(
    ("ciphers", "refused"), [(["aes128-gcm@openssh.com", "aes256-ctr"], False), (["aes256-ctr"], True)]
)
def test_macs_matter_where_the_cipher_needs_one(ciphers: list[str], refused: bool) -> None:
    edge = host(ssh={"ciphers": ["aes128-gcm@openssh.com", "aes256-ctr"], "macs": ["hmac-sha2-256"]})
    hub = host(sshd={"algorithms": {"ciphers": ciphers, "macs": ["hmac-sha1"]}})
    said = "edge1: its ssh and the sshd of cloud1 have none of their macs in common (hmac-sha1 there); "
    assert [sentence.startswith(said) for sentence in problems({}, cloud1=hub, edge1=edge)] == [True] * refused


def test_two_ends_without_an_algorithm_in_common_are_named() -> None:
    edge = host(ssh={"kexalgorithms": ["curve25519-sha256"], "ciphers": ["aes128-gcm@openssh.com"]})
    hub = host(sshd={"algorithms": {"kexalgorithms": ["curve25519-sha256"], "ciphers": ["aes256-cbc"]}})
    assert problems({}, cloud1=hub, edge1=edge) == [
        "edge1: its ssh and the sshd of cloud1 have none of their ciphers in common (aes256-cbc there); add one "
        "that both "
        "know to sshd's configuration."
    ]


@pytest.mark.parametrize(
    ("sshd", "words"),
    [
        (
            {"decided": [{"keyword": "PermitTTY", "value": "yes", "file": "here line 2", "address": "10.0.0.5"}]},
            "cloud1: sshd's PermitTTY is yes for overssh from 10.0.0.5, by a Match block in here line 2 that is read",
        ),
        ({"rc": "/etc/ssh/sshrc"}, "cloud1: /etc/ssh/sshrc runs at every login"),
        ({"warnings": ["its MaxStartups."]}, "cloud1: its MaxStartups."),
        (
            {"limits": [{"item": "nproc", "value": 7, "place": "here"}]},
            "sets nproc to 7 for the tunnels' account (here)",
        ),
        ({"limits": [{"item": "nproc", "value": 8, "place": "here"}]}, ""),
        ({"limits": [{"item": "cpu", "value": 60, "place": "here"}]}, "and 2 logins end by it"),
        ({"limits": [{"item": "maxlogins", "value": 1, "place": "here"}]}, "and 2 logins may take 2"),
    ],
)
def test_what_may_keep_links_out_or_end_them_is_a_warning(sshd: dict[str, Any], words: str) -> None:
    plan = planned(THREE, cloud1=host(sshd=sshd), edge1=host(sshd=sshd))
    assert plan["problems"] == []
    assert words in plan["warnings"][0] if words else plan["warnings"] == []
    assert len(plan["warnings"]) == bool(words)


@pytest.mark.parametrize(("lanes", "logins"), [("auto", 2), (3, 4)])
def test_a_link_logs_in_for_each_lane_that_it_can_not_do_without(lanes: int | str, logins: int) -> None:
    hub = host(sshd={"limits": [{"item": "maxlogins", "value": 1, "place": "here"}]})
    variables = {**THREE, "edge1": {**THREE["edge1"], "overssh_lanes": lanes}}
    (warning,) = planned(variables, cloud1=hub)["warnings"]
    assert f"and {logins} logins may take {logins}" in warning


def test_a_place_that_can_not_be_dialled_is_in_the_way_of_what_is_to_be_formed() -> None:
    sentence = "can't dial cloud1 at 198.51.100.7 port 22: it has no way there."
    assert problems({}, edge1=host(undialled=[sentence])) == [f"edge1: {sentence}"]
    formed = host(undialled=[sentence], docker={"swarm": "active", "swarm_address": "172.30.0.2"})
    plan = planned(THREE, edge1=formed)
    assert (plan["problems"], plan["warnings"]) == ([], [f"edge1: {sentence}"])
    somebodys = host(undialled=[sentence], docker={"swarm": "active", "swarm_address": "198.51.100.8"})
    assert f"edge1: {sentence}" in problems({}, edge1=somebodys)


def test_a_node_without_which_there_is_no_fleet_can_not_go() -> None:
    hosts = {name: variables for name, variables in THREE.items() if name != "cloud1"}
    said = fleet_plan.plan(hosts, {name: host() for name in hosts}, ["cloud1"])["problems"]
    assert any(
        sentence.startswith("without cloud1 no host of the group is a hub; set overssh_hub: true on the one of")
        and sentence.endswith("and run site first, or take all of it back with overssh.swarm.teardown.")
        for sentence in said
    ), said
