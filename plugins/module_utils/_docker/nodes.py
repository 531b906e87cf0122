# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes of a swarm in the answers of an engine's API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Node = Mapping[str, Any]


def is_manager(docker: Any) -> bool:
    """Whether the engine is a manager, so that it knows what the swarm has, and may change it."""
    return bool((docker.info().get("Swarm") or {}).get("ControlAvailable"))


def host_name(node: Node) -> str:
    """The node's host name, its ID where the managers have none."""
    return str((node.get("Description") or {}).get("Hostname") or node["ID"])


def host_names(nodes: Iterable[Node]) -> dict[str, str]:
    """The nodes' host names by ID."""
    return {str(node["ID"]): host_name(node) for node in nodes}


def addresses(node: Node) -> list[str]:
    """The node's addresses in the swarm, last that of its manager: some engines know a leader by that one only."""
    manager = str((node.get("ManagerStatus") or {}).get("Addr") or "")
    found = [str((node.get("Status") or {}).get("Addr") or ""), manager.rpartition(":")[0].strip("[]")]
    return [address for address in found if address]
