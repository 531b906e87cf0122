# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's own address pools: conflicts with the fleet's networks, and a subnet for docker_gwbridge; pure.

Docker knows the host's routes to its neighbours. It does not know overlay networks, which have address spaces of their
own, nor networks behind a gateway. Where a pool overlaps such an address, docker_gwbridge gets a subnet that is chosen
here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Union

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
# Docker's default pools; newer versions write the same ones in another way.
BUILT_IN: tuple[dict[str, Any], ...] = (
    {"base": "172.17.0.0/16", "size": 16},
    {"base": "172.18.0.0/16", "size": 16},
    {"base": "172.19.0.0/16", "size": 16},
    {"base": "172.20.0.0/14", "size": 16},
    {"base": "172.24.0.0/14", "size": 16},
    {"base": "172.28.0.0/14", "size": 16},
    {"base": "192.168.0.0/16", "size": 20},
)
BRIDGE = "docker_gwbridge"


class Pool(NamedTuple):
    """A network, and the prefix length of the subnets that Docker takes from it."""

    base: ipaddress.IPv4Network
    size: int


class Bridge(NamedTuple):
    """The subnet for docker_gwbridge, empty for Docker's own choice; free: False where no subnet is free."""

    subnet: str = ""
    free: bool = True


def bridge_of(answer: Mapping[str, Any], kept: Iterable[Network], known: Iterable[Network]) -> Bridge:
    """The bridge's subnet on a host.

    answer: of host_info; kept: addresses that Docker does not know and must not use; known: those that Docker will know
    itself by then.
    """
    docker = answer.get("host", {}).get("docker", {})
    keep = [network for network in kept if network.version == 4]
    pools = list(pools_of(docker))
    if docker.get("swarm") != "inactive" or any(network["name"] == BRIDGE for network in docker.get("networks", [])):
        return Bridge()
    if not any(pool.base.overlaps(network) for pool in pools for network in keep):
        return Bridge()
    taken = [*keep, *known, *_taken(answer, docker)]
    found = next((subnet for pool in pools for subnet in _free(pool, taken)), None)
    return Bridge(free=False) if found is None else Bridge(str(found))


def pools_of(docker: Mapping[str, Any]) -> Iterator[Pool]:
    """The engine's IPv4 pools; docker: host_info's facts of it."""
    for pool in docker.get("pools") or BUILT_IN:
        try:
            base = ipaddress.IPv4Network(pool["base"], strict=False)
        except ValueError:  # of IPv6
            continue
        if base.prefixlen <= pool["size"] <= 32:
            yield Pool(base, pool["size"])


def _taken(answer: Mapping[str, Any], docker: Mapping[str, Any]) -> Iterator[Network]:
    """The networks in use on the host: its routes, and Docker's networks."""
    for route in answer["host"].get("routes", []):
        network = ipaddress.ip_network(route["destination"], strict=False)
        if network.version == 4:
            yield network
    for entry in docker.get("networks", []):
        network = ipaddress.ip_network(entry["subnet"], strict=False)
        if network.version == 4:
            yield network


def _free(pool: Pool, taken: Sequence[Network]) -> Iterator[ipaddress.IPv4Network]:
    """The first subnet of a pool that overlaps nothing, if there is one; a large network is passed over in one step."""
    step, at = 1 << (32 - pool.size), int(pool.base.network_address)
    while at <= int(pool.base.broadcast_address):
        subnet = ipaddress.IPv4Network((at, pool.size))
        obstacle = next((network for network in taken if _overlap(network, subnet)), None)
        if obstacle is None:
            yield subnet
            return
        behind = max(int(obstacle.broadcast_address), int(subnet.broadcast_address)) + 1
        at = -(-behind // step) * step


def problems(
    found: Mapping[str, Mapping[str, Any]], bridges: Mapping[str, Bridge], planned: Sequence[tuple[str, Network]]
) -> Iterator[str]:
    """Sentences where Docker has no free subnet for its bridge, or would take the fleet's at its next start."""
    for name, answer in found.items():
        docker = answer.get("host", {}).get("docker", {})
        if name in bridges and not bridges[name].free:
            yield (
                f"{name}: Docker's address pools ({docker.get('pools_place') or 'its built-in ones'}) have no subnet "
                f"left for {BRIDGE} that overlaps nothing of the fleet; add one to default-address-pools, or choose "
                "other networks."
            )
        bip = docker.get("bip") or {}
        if bip and not _is_there(bip["address"], answer):
            for variable, network in planned:
                if _overlap(network, _network(bip["address"])):
                    yield (
                        f"{name}: Docker's bridge gets {bip['address']} (bip in {bip['place']}) at its next start, "
                        f"which is in {variable} {network}; choose another."
                    )


def warnings(found: Mapping[str, Mapping[str, Any]], planned: Sequence[tuple[str, Network]]) -> Iterator[str]:
    """Sentences on pools from which a later network may get an overlay network's addresses."""
    for name, answer in found.items():
        docker = answer.get("host", {}).get("docker", {})
        if not docker:
            continue
        for pool in pools_of(docker):
            for variable, network in planned:
                if _overlap(network, pool.base):
                    yield (
                        f"{name}: Docker takes the subnets of bridge networks out of {pool.base} "
                        f"({docker.get('pools_place') or 'one of its built-in pools'}), which overlaps {variable} "
                        f"{network}; a network that it makes there later may hide that one, so better choose another."
                    )


def _network(address: str) -> Network:
    return ipaddress.ip_interface(address).network


def _is_there(address: str, answer: Mapping[str, Any]) -> bool:
    """Whether the host has a route to the network that an address with a prefix length is in."""
    return any(
        ipaddress.ip_network(route["destination"], strict=False) == _network(address)
        for route in answer["host"].get("routes", [])
    )


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
