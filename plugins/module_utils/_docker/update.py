# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change what the managers keep, also while others change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._core.errors import OversshError
from .client import Docker, patiently

Spec = Mapping[str, Any]
# A version is that of one look; whoever changes something in between makes it an old one.
OUTDATED = "update out of sequence"


def is_outdated(refusal: str) -> bool:
    """Whether an engine's words say that somebody else has changed the object meanwhile."""
    return OUTDATED in refusal


def update_entry(docker: Docker, node_id: str, change: Callable[[Spec], Spec], timeout: float) -> None:
    """Change a node's entry through this manager; change: from the present specification to the desired one.

    timeout: seconds to try again while others change it too; DockerError after that, and for any other refusal.
    """

    def once() -> None:
        node = docker.inspect_node(node_id)
        docker.update_node(node_id, node["Version"]["Index"], dict(change(node["Spec"])))

    patiently(once, is_outdated, timeout)


def update_service(docker: Docker, service_id: str, change: Callable[[Spec], Spec], timeout: float) -> None:
    """Change a service's specification through this manager, likewise."""

    def once() -> None:
        service = docker.inspect_service(service_id)
        docker.post(f"/services/{service_id}/update?version={service['Version']['Index']}", change(service["Spec"]))

    patiently(once, is_outdated, timeout)


def update_swarm(docker: Docker, change: Callable[[Spec], Spec], timeout: float, rotate: Sequence[str] = ()) -> None:
    """Change the swarm's own specification through this manager, likewise; rotate: whose join tokens are made anew."""

    def once() -> None:
        # What "docker info" has of the swarm is without its join tokens.
        cluster = (docker.info().get("Swarm") or {}).get("Cluster")
        if not cluster:
            raise OversshError("this node does not know its swarm's settings at present; see 'docker info'")
        query = "".join(f"&rotate{role.capitalize()}Token=true" for role in rotate)
        docker.post(f"/swarm/update?version={cluster['Version']['Index']}{query}", change(cluster["Spec"]))

    patiently(once, is_outdated, timeout)
