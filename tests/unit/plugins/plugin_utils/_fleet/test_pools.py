# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker takes from its pools of addresses, and what it must not take."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import pools
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.plugin_utils._fleet.fleets import host, planned

THREE: dict[str, dict[str, Any]] = {
    "cloud1": {"overssh_hub": True, "ansible_host": "198.51.100.7"},
    "edge1": {},
    "edge2": {},
}
CONFIGURED = {"pools": [{"base": "10.200.0.0/15", "size": 24}], "pools_place": "/etc/docker/daemon.json line 3"}


def engine(**docker: Any) -> dict[str, Any]:
    return {"swarm": "inactive", **docker}


def subnets(plan: dict[str, Any]) -> dict[str, str]:
    return {name: node["bridge_subnet"] for name, node in plan["nodes"].items()}


def test_a_bridge_out_of_a_pool_that_holds_the_fleets_networks_gets_another_subnet() -> None:
    plan = planned(THREE, edge1=host(docker=engine(**CONFIGURED)))
    assert plan["problems"] == []
    # Neither the overlay network's 10.200.0.0/24 nor anything of the swarm's pool 10.201.0.0/16.
    assert subnets(plan) == {"cloud1": "", "edge1": "10.200.1.0/24", "edge2": ""}
    assert plan["summary"][2].count("give docker_gwbridge the subnet 10.200.1.0/24 on edge1") == 1
    assert len(plan["warnings"]) == 2
    assert plan["warnings"][0] == (
        "edge1: Docker takes the subnets of bridge networks out of 10.200.0.0/15 (/etc/docker/daemon.json line 3), "
        "which overlaps overssh_swarm_pool 10.201.0.0/16; a network that it makes there later may hide that one, so "
        "better choose another."
    )


@pytest.mark.parametrize(
    ("found", "subnet"),
    [
        ({"operator": "172.18.4.9"}, "172.19.0.0/16"),
        ({"resolvers": ["172.18.0.53", "fe80::1"]}, "172.19.0.0/16"),
        ({"operator": "172.18.4.9", "routes": [{"destination": "172.16.0.0/12", "device": ""}]}, "192.168.0.0/20"),
        ({"operator": "192.0.2.1"}, ""),
        ({"operator": "172.18.4.9", "docker": {"swarm": "active", "swarm_address": "172.31.0.2"}}, ""),
        (
            {
                "operator": "172.18.4.9",
                "docker": engine(networks=[{"name": "docker_gwbridge", "subnet": "172.18.0.0/16"}]),
            },
            "",
        ),
        (
            {"operator": "172.18.4.9", "docker": engine(networks=[{"name": "web", "subnet": "172.19.0.0/16"}])},
            "172.20.0.0/16",
        ),
    ],
)
def test_a_bridge_hides_nobody_whom_the_host_has_to_reach(found: dict[str, Any], subnet: str) -> None:
    hosts = {name: {**variables, "overssh_underlay": "172.31.0.0/16"} for name, variables in THREE.items()}
    routes = [{"destination": "172.17.0.0/16", "device": "docker0"}, *found.get("routes", [])]
    plan = planned(hosts, edge1=host(**{**found, "routes": routes}))
    if "routes" in found:  # which overlaps the underlay, so there is no plan
        bridge = pools.bridge_of(host(**{**found, "routes": routes}), [ipaddress.ip_network("172.18.4.9")], [])
        assert bridge.subnet == subnet
    else:
        assert (plan["problems"], subnets(plan)["edge1"]) == ([], subnet)


def test_pools_without_a_free_subnet_are_named() -> None:
    full = engine(pools=[{"base": "10.200.0.0/24", "size": 24}], pools_place="/etc/docker/daemon.json line 1")
    assert planned(THREE, edge2=host(docker=full))["problems"] == [
        "edge2: Docker's address pools (/etc/docker/daemon.json line 1) have no subnet left for docker_gwbridge that "
        "overlaps nothing of the fleet; add one to default-address-pools, or choose other networks."
    ]


def test_a_bridge_that_docker_gets_at_its_next_start_is_foreseen() -> None:
    bip = {"address": "10.200.0.1/24", "place": "/etc/docker/daemon.json line 2"}
    sentence = (
        "edge2: Docker's bridge gets 10.200.0.1/24 (bip in /etc/docker/daemon.json line 2) at its next start, which is "
        "in overssh_overlays: overssh 10.200.0.0/24; choose another."
    )
    assert planned(THREE, edge2=host(docker=engine(bip=bip)))["problems"] == [sentence]
    there = [{"destination": "10.200.0.0/24", "device": "docker0"}]
    (said,) = planned(THREE, edge2=host(docker=engine(bip=bip), routes=there))["problems"]
    assert "overlaps the host's route 10.200.0.0/24 (on docker0)" in said


@given(
    size=st.integers(16, 24),
    taken=st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(17, 32)), max_size=6),
)
def test_a_subnet_that_is_chosen_is_the_first_of_its_pool_that_overlaps_nothing(
    size: int, taken: list[tuple[int, int]]
) -> None:
    base = ipaddress.ip_network("10.8.0.0/16")
    networks = [
        ipaddress.ip_network((int(base.network_address) + offset, prefix), strict=False) for offset, prefix in taken
    ]
    routes = [{"destination": str(network), "device": "eth0"} for network in networks]
    answer = host(docker=engine(pools=[{"base": str(base), "size": size}]), routes=routes)
    bridge = pools.bridge_of(answer, [ipaddress.ip_network("10.8.255.255")], [])
    free = (
        str(subnet)
        for subnet in base.subnets(new_prefix=size)
        if not any(subnet.overlaps(network) for network in [*networks, ipaddress.ip_network("10.8.255.255")])
    )
    assert bridge == pools.Bridge(next(free, ""), bridge.free)
    assert bridge.free == bool(bridge.subnet)
