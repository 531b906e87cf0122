# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of the swarm and containers of this host on a network: found, taken off it, and put back on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._core.errors import OversshError
from .._docker.client import Docker, DockerError
from .._docker.update import Spec, is_outdated, update_service
from .model import Attached, OverlayNetwork

Entry = Mapping[str, Any]

SERVICE, CONTAINER = "service", "container"
# For so long a change is tried again while the managers change the same service.
BUSY_SECONDS = 2.0
# A container that belongs to a task of a service.
TASK_LABEL = "com.docker.swarm.task.id"
# The part of a container's connection that its owner has chosen.
CHOSEN = ("IPAMConfig", "Aliases", "Links", "DriverOpts")


def attached(docker: Docker, network: OverlayNetwork) -> tuple[Attached, ...]:
    """All services, and those containers of this host that somebody attached by hand, also where they are stopped."""
    return (*_services(docker, network), *_containers(docker, network))


def _services(docker: Docker, network: OverlayNetwork) -> list[Attached]:
    found = []
    for service in docker.services():
        for at, entry in enumerate(_entries(service["Spec"])):
            if _is_of(entry, network):
                found.append(Attached(SERVICE, service["ID"], service["Spec"]["Name"], dict(entry), at))
                break
    return sorted(found, key=lambda one: one.name)


def _containers(docker: Docker, network: OverlayNetwork) -> list[Attached]:
    found = []
    for container in docker.containers(all=True, filters={"network": [network.network_id]}):
        if TASK_LABEL in (container.get("Labels") or {}):
            continue
        inspected = docker.inspect_container(container["Id"])
        connection = (inspected["NetworkSettings"].get("Networks") or {}).get(network.name) or {}
        entry = {key: connection[key] for key in CHOSEN if connection.get(key)}
        found.append(Attached(CONTAINER, container["Id"], str(inspected["Name"]).lstrip("/"), entry))
    return sorted(found, key=lambda one: one.name)


def detach(docker: Docker, kind: str, ident: str, network: OverlayNetwork) -> None:
    """Take it off the network. The tasks of a service begin anew."""
    if kind == CONTAINER:
        docker.post(f"/networks/{network.network_id}/disconnect", {"Container": ident, "Force": False})
        return

    def without(entries: list[Entry]) -> list[Entry]:
        return [entry for entry in entries if not _is_of(entry, network)]

    _update(docker, ident, without)


def attach(docker: Docker, kind: str, ident: str, network: str, entry: Entry, at: int) -> None:
    """Put it back as it was; network: the name, which now means the network that was made anew."""
    if kind == CONTAINER:
        docker.post(f"/networks/{network}/connect", {"Container": ident, "EndpointConfig": dict(entry)})
        return

    def with_it(entries: list[Entry]) -> list[Entry]:
        return [*entries[:at], {**entry, "Target": network}, *entries[at:]]

    _update(docker, ident, with_it)


def _update(docker: Docker, service_id: str, change: Callable[[list[Entry]], list[Entry]]) -> None:
    """Change a service's networks."""

    def changed(spec: Spec) -> Spec:
        template = {**spec["TaskTemplate"], "Networks": change(_entries(spec))}
        # Older engines keep a copy outside of the template, which may not differ from it.
        return {**{key: value for key, value in spec.items() if key != "Networks"}, "TaskTemplate": template}

    try:
        update_service(docker, service_id, changed, BUSY_SECONDS)
    except DockerError as error:
        if not is_outdated(str(error)):
            raise
        raise OversshError(f"the service is changed all the time: {error}") from error


def _entries(spec: Mapping[str, Any]) -> list[Entry]:
    return list((spec.get("TaskTemplate") or {}).get("Networks") or spec.get("Networks") or [])


def _is_of(entry: Entry, network: OverlayNetwork) -> bool:
    return entry.get("Target") in (network.network_id, network.name)
