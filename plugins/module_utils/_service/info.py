# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services as a manager of the swarm knows them; only looks, and waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .._core.errors import OversshError
from .._core.wait import WaitError, wait_until
from .._docker.nodes import host_names, is_manager
from .._docker.tasks import ENDED
from .model import Service, Task, is_final, lacking, service_of


def require_manager(docker: Any) -> None:
    """OversshError where the engine is no manager; once, and not at each look of a wait."""
    if not is_manager(docker):
        raise OversshError("this host is no manager of a swarm, and only managers know of services; ask a manager")


def read_services(docker: Any, names: Sequence[str] | None = None) -> list[Service]:
    """The services of these names, or all, with their tasks, by name; only a manager can be asked.

    A task of the past that has ended is left out unless it is the last one of its slot.
    """
    nodes = host_names(docker.nodes())
    found = [one for one in docker.services() if names is None or one["Spec"]["Name"] in names]
    wanted = {one["ID"] for one in found}
    tasks: dict[str, list[Mapping[str, Any]]] = {identity: [] for identity in wanted}
    for task in docker.tasks():
        if task.get("ServiceID") in wanted:
            tasks[task["ServiceID"]].append(task)
    services = [service_of(one, _latest(tasks[one["ID"]]), nodes) for one in found]
    return sorted(services, key=lambda service: service.name)


def _latest(tasks: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tasks that go on, and of each slot, or node of a global service, the last one that ended where none does."""
    places: dict[Any, list[Mapping[str, Any]]] = {}
    for task in tasks:
        places.setdefault(task.get("Slot") or task.get("NodeID"), []).append(task)
    kept = []
    for listed in places.values():
        going = [task for task in listed if (task.get("Status") or {}).get("State") not in ENDED]
        kept += going or [max(listed, key=lambda task: str(task.get("CreatedAt") or ""))]
    return kept


def wait_for(
    read: Callable[[], Sequence[Service]],
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Sequence[Service]:
    """Read until every service has converged, at most timeout seconds, and return them as they are then.

    Raises OversshError with what is lacking; at once where no waiting helps.
    """
    last: list[Service] = []

    def converged() -> bool:
        last[:] = read()
        for service in last:
            if is_final(service):
                raise OversshError(f"the service {service.name} has not converged: {lacking(service)}")
        return not any(map(lacking, last))

    try:
        wait_until(converged, timeout, "all services having converged", clock=clock, sleep=sleep)
    except WaitError as error:
        raise OversshError(
            f"{error}; {'; '.join(f'{one.name}: {lacking(one)}' for one in last if lacking(one))}"
        ) from error
    return last


def result(service: Service, networks: Mapping[str, str]) -> dict[str, Any]:
    """A service as return values; networks: names by network ID."""
    return {
        "id": service.service_id,
        "name": service.name,
        "mode": service.mode,
        "replicas": service.replicas,
        "image": service.image,
        "endpoint_mode": service.endpoint_mode,
        "vips": {networks.get(identity, identity): address for identity, address in service.vips.items()},
        "ports": _ports(service.ports),
        "labels": dict(service.labels),
        "running": len(service.running),
        "update": service.update,
        "converged": not lacking(service),
        "lacking": lacking(service),
        "tasks": [_task_result(task, networks) for task in service.tasks],
    }


def _ports(ports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "protocol": port.get("Protocol", "tcp"),
            "target": port.get("TargetPort"),
            "published": port.get("PublishedPort"),
            "mode": port.get("PublishMode", "ingress"),
        }
        for port in ports
    ]


def _task_result(task: Task, networks: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": task.task_id,
        "slot": task.slot,
        "node": task.node,
        "node_id": task.node_id,
        "state": task.state,
        "desired_state": task.desired_state,
        "current": task.current,
        "error": task.error,
        "container": task.container[:12],
        "ports": _ports(task.ports),
        "addresses": {networks.get(identity, identity): address for identity, address in task.addresses.items()},
    }


def info(docker: Any, names: Sequence[str] | None, wait: bool, timeout: float) -> dict[str, Any]:
    """The services, as return values; wait: until they have converged, at most timeout seconds.

    Raises OversshError for a name that no service has.
    """

    def read() -> list[Service]:
        found = read_services(docker, names)
        missing = sorted(set(names or ()) - {service.name for service in found})
        if missing:
            raise OversshError(f"the swarm has no service named {', '.join(missing)}; see 'docker service ls'")
        return found

    require_manager(docker)
    services = wait_for(read, timeout) if wait else read()
    networks = {network["Id"]: network["Name"] for network in docker.networks()}
    return {"services": [result(service, networks) for service in services]}
