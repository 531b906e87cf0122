# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""This host's Docker engine as a future swarm member: settings, networks, obstacles; only looks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .._core.errors import OversshError
from .._core.files import read_text
from .._docker import daemon, gossip
from .._docker.client import Docker, data_path_address, stuck_manager
from .._docker.daemon import Settings
from .._linux import proc
from .._linux.devices import Device, smallest_mtu

BRIDGE = "docker_gwbridge"
# From here on swarms can do with nftables, where the engine is configured so.
NFTABLES_IN_SWARM = (29, 6)
FEATURE = "swarm-nftables"


def problems(info: Mapping[str, Any], configured: Settings, places: Mapping[str, str]) -> list[str]:
    """Sentences on why this engine can't join a swarm.

    info: its answer to "docker info"; configured, places: see _docker.daemon.settings. Source: dockerd refuses swarm
    mode with live-restore, and with rules of its own in nftables unless it has the feature swarm-nftables (29.6).
    """
    said = []
    if info.get("LiveRestoreEnabled"):
        place = places.get("live-restore", daemon.DAEMON_FILE)
        said.append(f"Docker's live-restore is on, and a swarm refuses it; take it out of {place}.")
    if _nftables(info) and not _allows_nftables(info, configured):
        place = places.get("firewall-backend", daemon.DAEMON_FILE)
        said.append(
            f"Docker's firewall-backend is nftables ({place}), and a swarm refuses it; set it to iptables, or, from "
            f'Docker 29.6 on, "features": {{"{FEATURE}": true}} beside it.'
        )
    return said


def _nftables(info: Mapping[str, Any]) -> bool:
    backend = info.get("FirewallBackend") or {}
    return "nftables" in str(backend.get("Driver", ""))


def _allows_nftables(info: Mapping[str, Any], configured: Settings) -> bool:
    """Whether the engine takes a swarm all the same. One that is in a swarm would not have started otherwise."""
    if (info.get("Swarm") or {}).get("LocalNodeState") == "active" or configured.get("iptables") is False:
        return True
    features = configured.get("features")
    enabled = isinstance(features, Mapping) and features.get(FEATURE) is True
    return enabled and version(info) >= NFTABLES_IN_SWARM


def version(info: Mapping[str, Any]) -> tuple[int, ...]:
    """The numeric part of the engine's version: (29, 6) for 29.6.1."""
    found = re.match(r"(\d+)\.(\d+)", str(info.get("ServerVersion") or ""))
    return (int(found[1]), int(found[2])) if found else ()


def pools(info: Mapping[str, Any], configured: Settings) -> list[dict[str, Any]]:
    """The engine's address pools for its own networks; empty where none are set.

    The running engine's answer wins over its settings; engines before 20.10 do not answer.
    """
    running = info.get("DefaultAddressPools")
    given = running if isinstance(running, list) else configured.get("default-address-pools")
    found = []
    for pool in given if isinstance(given, list) else []:
        small = {str(key).lower(): value for key, value in pool.items()} if isinstance(pool, Mapping) else {}
        if "base" in small and str(small.get("size", "")).isdecimal():
            found.append({"base": str(small["base"]), "size": int(small["size"])})
    return found


def networks(found: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """The subnets of the engine's networks on this host, without those of the swarm."""
    for network in found:
        if network.get("Scope") != "local":
            continue
        for part in (network.get("IPAM") or {}).get("Config") or []:
            if part.get("Subnet"):
                yield {"name": str(network.get("Name")), "subnet": str(part["Subnet"])}


def listed(docker: Any) -> list[Mapping[str, Any]]:
    """The nodes of the swarm; empty where no managers agree."""
    try:
        return list(docker.nodes())
    except OversshError:  # a swarm without a leader; what becomes of that is the role swarm's
        return []


def unavailable(nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The nodes that take no new containers, by address, each with its availability."""
    found = {(node.get("Status") or {}).get("Addr", ""): (node.get("Spec") or {}).get("Availability") for node in nodes}
    return {address: word for address, word in found.items() if address and word not in (None, "active")}


def members(nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Each node's status by its ID; a manager that the others can't reach is not ready."""
    found = {}
    for node in nodes:
        reach = (node.get("ManagerStatus") or {}).get("Reachability") or "reachable"
        status = (node.get("Status") or {}).get("State") or "unknown"
        found[str(node["ID"])] = status if reach == "reachable" else reach
    return found


def look(connect: Callable[[], Docker], devices: Sequence[Device]) -> tuple[dict[str, Any], list[str]]:
    """All facts, and sentences on why the engine can't join a swarm; devices: those of the host."""
    try:
        client = connect()
        info = client.info()
        # Of one that is in a swarm managers are asked, and its bridge is there.
        own = client.networks() if (info.get("Swarm") or {}).get("LocalNodeState") == "inactive" else []
    except OversshError as error:
        return {}, [f"{error}."]
    configured, places = daemon.settings(_command_line(), read_text)
    swarm = info.get("Swarm") or {}
    cluster = swarm.get("Cluster") or {}
    # An engine that waited for the other managers in vain says so, and would wait as long again.
    nodes = listed(client) if swarm.get("ControlAvailable") and not swarm.get("Error") else []
    answer = {
        "version": info.get("ServerVersion"),
        "hostname": info.get("Name") or "",
        "swarm": swarm.get("LocalNodeState"),
        "swarm_address": swarm.get("NodeAddr") or "",
        "underlay_mtu": smallest_mtu(devices, data_path_address(info)),
        "node_id": swarm.get("NodeID") or "",
        "members": members(nodes),
        "unavailable": unavailable(nodes),
        "pools": pools(info, configured),
        "pools_place": places.get("default-address-pools", ""),
        "bip": {"address": str(configured["bip"]), "place": places["bip"]} if configured.get("bip") else {},
        "networks": list(networks(own)),
        "data_path_port": cluster.get("DataPathPort") or None,
        "swarm_pool": list(cluster.get("DefaultAddrPool") or []),
        "swarm_pool_prefix": cluster.get("SubnetSize") or None,
    }
    said = problems(info, configured, places)
    if swarm.get("Error") and (stuck := stuck_manager()):
        said.append(f"{stuck}.")
    if answer["swarm"] == "inactive" and gossip.listens(gossip.EVERYWHERE):
        said.append(
            f"something listens on port {gossip.PORT}, which the swarm's gossip needs; an engine that has left a "
            f"swarm sometimes keeps it, then {gossip.WAY_OUT}."
        )
    return answer, said


def _command_line() -> list[str]:
    """dockerd's, empty where none runs under that name."""
    for each in proc.processes():
        if each.name == "dockerd":
            return proc.command_line(each.pid)
    return []
