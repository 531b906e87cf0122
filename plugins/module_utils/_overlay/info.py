# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Overlay networks of a Docker engine, and their endpoints; only looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .._docker.client import NOT_FOUND, Docker, DockerError
from .._docker.nodes import host_names, is_manager
from .._docker.tasks import ENDED
from .model import VXLAN_IDS, OverlayNetwork, network_of


def endpoints(docker: Docker, network: str) -> list[dict[str, Any]]:
    """The endpoints of the network on all nodes of the swarm; only managers know them.

    Containers attached by hand are tasks too, of the runtime "attachment", which the API returns only on request.
    """
    try:
        network_id = docker.inspect_network(network)["Id"]
    except DockerError as error:
        if error.status == NOT_FOUND:
            return []
        raise
    nodes = host_names(docker.nodes())
    services = {service["ID"]: service["Spec"]["Name"] for service in docker.services()}
    tasks = [*docker.tasks(), *docker.tasks(filters={"runtime": "attachment"})]
    found = [_endpoint(task, network_id, nodes, services) for task in tasks]
    return sorted(
        (one for one in found if one is not None), key=lambda one: (one["node"], one["service"], one["container"])
    )


def info(docker: Docker, name: str | None = None, managed: bool = False) -> dict[str, Any]:
    """The overlay networks of this engine, with their endpoints where it is a manager.

    name: only the network of this name; managed: only those that this collection made.
    """
    manager = is_manager(docker)
    listed = []
    for found in docker.networks():
        network = network_of(found)
        if not network.is_overlay or name not in (None, network.name) or (managed and not network.ours):
            continue
        peers = docker.inspect_network(network.network_id).get("Peers") or []
        listed.append(
            {
                **network_result(network),
                "peers": sorted(peer["IP"] for peer in peers if peer.get("IP")),
                "endpoints": endpoints(docker, network.network_id) if manager else [],
            }
        )
    return {"manager": manager, "networks": sorted(listed, key=lambda one: str(one["name"]))}


def network_result(network: OverlayNetwork) -> dict[str, Any]:
    """A network as return values."""
    first = network.subnets[0] if network.subnets else None
    return {
        "name": network.name,
        "id": network.network_id,
        "managed": network.ours,
        "allocated": network.allocated,
        "ingress": network.ingress,
        "subnet": first.subnet if first else None,
        "gateway": first.gateway if first else None,
        "ip_range": first.ip_range if first else None,
        "subnets": [asdict(each) for each in network.subnets],
        "attachable": network.attachable,
        "internal": network.internal,
        "encrypted": network.encrypted,
        "mtu": network.mtu,
        "container_mtu": network.container_mtu,
        "vxlan_id": _vxlan_id(network),
        "labels": dict(network.labels),
        "options": dict(network.options),
    }


def user(endpoint: Mapping[str, Any]) -> str:
    """Who uses a network, in words."""
    what = f"service {endpoint['service']}" if endpoint["service"] else f"container {endpoint['container']}"
    return f"{what} on {endpoint['node'] or 'no node'} (task {endpoint['task']}, {endpoint['state']})"


def _vxlan_id(network: OverlayNetwork) -> int | None:
    first = (network.options.get(VXLAN_IDS) or "").split(",")[0]
    return int(first) if first.isdigit() else None


def _endpoint(
    task: Mapping[str, Any], network_id: str, nodes: Mapping[str, str], services: Mapping[str, str]
) -> dict[str, Any] | None:
    spec, status = task.get("Spec") or {}, task.get("Status") or {}
    attached = [
        one for one in task.get("NetworksAttachments") or [] if (one.get("Network") or {}).get("ID") == network_id
    ]
    asked = any(one.get("Target") == network_id for one in spec.get("Networks") or [])
    if not (attached or asked) or (status.get("State") in ENDED and task.get("DesiredState") in ENDED):
        return None
    node_id = task.get("NodeID") or ""
    container = (spec.get("NetworkAttachmentSpec") or {}).get("ContainerID") or (
        status.get("ContainerStatus") or {}
    ).get("ContainerID")
    return {
        "task": task["ID"],
        "service": services.get(task.get("ServiceID") or "", task.get("ServiceID") or ""),
        "container": (container or "")[:12],
        "node": nodes.get(node_id, node_id),
        "node_id": node_id,
        "addresses": [address for one in attached for address in one.get("Addresses") or []],
        "state": status.get("State") or "",
    }
