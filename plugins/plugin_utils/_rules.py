# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to pass a node's firewall for the swarm to work, as rules for nft_rule: on the tunnels, and only there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def wanted(node: Mapping[str, Any], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules of one node of the plan.

    The cluster's management port is opened on managers only, and traffic between tunnels on the hub only.
    """
    devices = [device["name"] for device in node["devices"]]
    tcp = [7946, settings["swarm_port"]] if node["manager"] else [7946]
    rules = [
        _accept("swarm-tcp", "tcp", tcp, devices),
        _accept("swarm-udp", "udp", [settings["data_path_port"], 7946], devices),
        _accept("icmp", "icmp", [], devices),
    ]
    if any(network["encrypted"] for network in settings["overlays"]):
        rules.append(_accept("esp", "esp", [], devices))
    if node["hub"]:
        rules.append(_accept("transit", "any", [], devices, path="forward", out_interfaces=devices))
    return rules


def _accept(
    name: str,
    protocol: str,
    ports: list[int],
    in_interfaces: list[str],
    path: str = "input",
    out_interfaces: list[str] | None = None,
) -> dict[str, Any]:
    return {
        "name": f"fleet-{name}",
        "path": path,
        "protocol": protocol,
        "ports": ports,
        "in_interfaces": in_interfaces,
        "out_interfaces": out_interfaces or [],
    }
