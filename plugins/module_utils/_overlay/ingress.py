# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The swarm's ingress network (its routing mesh): services that publish through it, and nodes that take part.

When this network is made anew, the managers inform no node of it until something about that node changes (moby 40184,
swarmkit's allocator). A node that is informed sometimes drops the network again: it looks for its address in the
network before it has stored that address ("failed to find a load balancer IP"), and tries again only at the next
change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from .._docker.client import Docker, DockerError
from .._docker.nodes import addresses, host_names
from .._docker.update import Spec, update_entry

# Set for a moment where a node needs a change; nothing reads it.
LABEL = "overssh.touched"
# For so long a change is tried again while the managers change the same entry.
BUSY_SECONDS = 2.0


def publishers(docker: Docker) -> tuple[str, ...]:
    """The names of the services that publish ports through the ingress network."""
    found = []
    for service in docker.services():
        ports = (service["Spec"].get("EndpointSpec") or {}).get("Ports") or []
        if any((port.get("PublishMode") or "ingress") == "ingress" for port in ports):
            found.append(service["Spec"]["Name"])
    return tuple(sorted(found))


def nodes_in_state(docker: Docker, state: str) -> list[Mapping[str, Any]]:
    """The swarm's nodes that the managers find in this state."""
    return [node for node in docker.nodes() if (node.get("Status") or {}).get("State") == state]


def nodes_without(docker: Docker, network_id: str) -> dict[str, str]:
    """The nodes that are up and take no part in the network: their names by ID.

    The engine lists the participants by the addresses that they gossip from.
    """
    peers = {peer.get("IP") for peer in docker.inspect_network(network_id).get("Peers") or []}
    ready = nodes_in_state(docker, "ready")
    if len(peers) >= len(ready):
        return {}
    return host_names(node for node in ready if peers.isdisjoint(addresses(node)))


def touch_nodes(docker: Docker) -> None:
    """Write every node's own values to the managers again, so that they look at each node."""
    for node in docker.nodes():
        _update(docker, node["ID"], {})


def touch_node(docker: Docker, node_id: str) -> None:
    """Change a label of the node, so that the node itself looks again; it does so only after a change."""
    _update(docker, node_id, {LABEL: "true"})
    _update(docker, node_id, {})


def _update(docker: Docker, node_id: str, labels: Mapping[str, str]) -> None:
    """Set these labels; a node that is gone or busy now is seen at the next look at the participants."""

    def labelled(spec: Spec) -> Spec:
        kept = {key: value for key, value in (spec.get("Labels") or {}).items() if key != LABEL}
        return {**spec, "Labels": {**kept, **labels}}

    with contextlib.suppress(DockerError):
        update_entry(docker, node_id, labelled, BUSY_SECONDS)
