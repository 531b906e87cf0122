# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's part in a swarm as modules return it; only looks."""

from __future__ import annotations

from typing import Any

from .._core.command import Runner
from .._docker.client import Docker
from .model import Observed, believed
from .observe import observe_node


def info(docker: Docker, run: Runner) -> dict[str, Any]:
    """This node's part, and the nodes that a manager lists."""
    found = believed(observe_node(docker, run), {})
    return {**node_result(found), "nodes": nodes_result(found)}


def node_result(observed: Observed) -> dict[str, Any]:
    """A node's part in its swarm as return values; it has no join tokens and no keys."""
    own = observed.own
    return {
        "active": observed.local_state == "active",
        "local_state": "error" if observed.doubted else observed.local_state,
        "error": observed.error,
        "role": observed.role,
        "node_id": observed.node_id,
        "node_address": observed.node_address,
        "hostname": observed.hostname,
        "cluster_id": observed.cluster_id or "",
        "managers": list(observed.managers),
        "leader": bool(own and own.leader),
        "availability": own.availability if own else None,
        "labels": dict(own.labels) if own else None,
        "listen_addr": observed.listen_addr,
        "data_path_addr": observed.data_path_addr,
        "data_path_port": observed.data_path_port,
        "default_addr_pool": list(observed.default_addr_pool or ()),
        "subnet_size": observed.subnet_size,
        "settings": None if observed.settings is None else dict(observed.settings),
        "underlay_mtu": observed.underlay_mtu,
    }


def nodes_result(observed: Observed) -> list[dict[str, Any]]:
    """The swarm's nodes as a manager lists them."""
    return [
        {
            "node_id": node.node_id,
            "hostname": node.hostname,
            "role": node.role,
            "availability": node.availability,
            "status": node.status,
            "address": node.address,
            "reachability": node.reachability,
            "leader": node.leader,
            "labels": dict(node.labels),
        }
        for node in observed.nodes
    ]
