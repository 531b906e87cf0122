# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for nft_rule that the swarm needs on a node: on the tunnels, and only there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Before the filters of others, whose accepts end nothing but their own chains.
CLOSED_PRIORITY = -5


def wanted(node: Mapping[str, Any], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules of one node of the plan.

    The swarm's ports are opened for its address family, the port of cluster management on managers only, and traffic
    between tunnels on hubs only.
    """
    devices = [device["name"] for device in node["devices"] if device["peer"] != node["name"]]
    rules: list[dict[str, Any]] = []
    for family, suffix, icmp in (("ipv4", "", "icmp"), ("ipv6", "6", "icmpv6")):
        underlay, address = settings[f"underlay{suffix}"], node[f"address{suffix}"]
        if not underlay:
            continue
        # Addresses too are said, so that a rule of the host that looks at them is known not to be about these packets.
        here = {"in_interfaces": devices, "source": [underlay], "destination": [address]}
        if settings["swarm_family"] == family:
            rules += _swarm(node, settings, here)
        rules.append(_accept(f"icmp{suffix}", icmp, here))
        # Where hosts let out nothing but what they know.
        out = {"out_interfaces": devices, "source": [address], "destination": [underlay]}
        rules.append({**_accept(f"out{suffix}", "any", out), "path": "output"})
        if node["hub"]:
            through = {**here, "destination": [underlay], "out_interfaces": devices}
            rules.append({**_accept(f"transit{suffix}", "any", through), "path": "forward"})
    return rules


def _swarm(
    node: Mapping[str, Any], settings: Mapping[str, Any], here: Mapping[str, list[str]]
) -> Iterator[dict[str, Any]]:
    yield _accept("swarm-tcp", "tcp", here, [7946, settings["swarm_port"]] if node["manager"] else [7946])
    yield _accept("swarm-udp", "udp", here, [settings["data_path_port"], 7946])
    if any(network["encrypted"] for network in settings["overlays"]):
        yield _accept("esp", "esp", here)


def closed(node: Mapping[str, Any], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules that close the swarm's ports to all but the tunnels, in a chain of ours; none by default.

    They precede the host's own rules, and affect no other packets.
    """
    if not settings["firewall_restrict"]:
        return []
    devices = [device["name"] for device in node["devices"] if device["peer"] != node["name"]]
    inside = ", ".join(f'"{name}"' for name in ["lo", *sorted(devices)])
    ports = {"tcp": [7946, settings["swarm_port"]], "udp": [settings["data_path_port"], 7946]}
    if any(network["encrypted"] for network in settings["overlays"]):
        ports["esp"] = []
    return [
        {
            "name": f"closed-{protocol}",
            "chain": "inet overssh closed",
            "hook": "input",
            "priority": CLOSED_PRIORITY,
            "verdict": "drop",
            "protocol": protocol,
            "ports": numbers,
            "expression": f"iifname != {{ {inside} }}",
            "counter": True,
        }
        for protocol, numbers in ports.items()
    ]


def _accept(name: str, protocol: str, packets: Mapping[str, list[str]], ports: Sequence[int] = ()) -> dict[str, Any]:
    return {"name": f"fleet-{name}", "path": "input", "protocol": protocol, "ports": list(ports), **packets}
