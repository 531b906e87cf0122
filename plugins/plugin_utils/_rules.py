# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to pass a node's firewall for the swarm to work, as rules for nft_rule: on the tunnels, and only there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def wanted(node: Mapping[str, Any], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules of one node of the plan.

    The cluster's management port is opened on managers only, and traffic between tunnels on the hub only.
    """
    devices = [device["name"] for device in node["devices"] if device["peer"] != node["name"]]
    # Addresses too are said, so that a rule of the host that looks at addresses is known not to be about these packets.
    here = {"in_interfaces": devices, "source": [settings["underlay"]], "destination": [node["address"]]}
    tcp = [7946, settings["swarm_port"]] if node["manager"] else [7946]
    rules = [
        _accept("swarm-tcp", "tcp", here, tcp),
        _accept("swarm-udp", "udp", here, [settings["data_path_port"], 7946]),
        _accept("icmp", "icmp", here),
    ]
    if any(network["encrypted"] for network in settings["overlays"]):
        rules.append(_accept("esp", "esp", here))
    if node["hub"]:
        through = {**here, "destination": [settings["underlay"]], "out_interfaces": devices}
        rules.append({**_accept("transit", "any", through), "path": "forward"})
    return rules


def _accept(name: str, protocol: str, packets: Mapping[str, list[str]], ports: Sequence[int] = ()) -> dict[str, Any]:
    return {"name": f"fleet-{name}", "path": "input", "protocol": protocol, "ports": list(ports), **packets}
