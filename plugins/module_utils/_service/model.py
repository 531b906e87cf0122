# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of a swarm and their tasks, and whether a service has converged; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._docker.tasks import RUNNING

# An update that ended this way did not come about, although all tasks may run: those of before.
NOT_DONE = {
    "paused": "its update is paused",
    "rollback_started": "its update failed and is being rolled back",
    "rollback_paused": "its update failed, and so did the rollback, which is paused",
    "rollback_completed": "its update failed and was rolled back",
}


@dataclass(frozen=True)
class Task:
    """One task of a service.

    node: the host name of its node, empty where it has none yet; current: it runs the service's present specification;
    addresses: by the ID of the network, without prefix length; error: the engine's words; ports: those published on
    its node alone.
    """

    task_id: str
    slot: int | None
    node: str
    node_id: str
    state: str
    desired_state: str
    current: bool = True
    error: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    container: str = ""
    ports: tuple[Mapping[str, Any], ...] = ()

    @property
    def runs(self) -> bool:
        """Whether it runs, is to go on, and is of the present specification."""
        return self.state == RUNNING and self.desired_state == RUNNING and self.current


@dataclass(frozen=True)
class Service:
    """One service.

    mode: replicated, global, replicated-job or global-job; replicas: how many tasks it shall have, None for a global
    one, whose number the nodes decide; vips: its addresses by the ID of the network; update: the state of its last
    update, empty where there was none.
    """

    service_id: str
    name: str
    mode: str
    replicas: int | None
    endpoint_mode: str
    vips: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Mapping[str, Any], ...] = ()
    update: str = ""
    update_message: str = ""
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ()

    @property
    def running(self) -> tuple[Task, ...]:
        """Its tasks that run and are to go on."""
        return tuple(task for task in self.tasks if task.runs)


def service_of(found: Mapping[str, Any], tasks: Iterable[Mapping[str, Any]], nodes: Mapping[str, str]) -> Service:
    """A service out of the API's answers; nodes: host names by node ID."""
    spec = found.get("Spec") or {}
    mode = spec.get("Mode") or {}
    kind = next((word for word in mode if mode[word] is not None), "Replicated")
    template = spec.get("TaskTemplate") or {}
    endpoint = found.get("Endpoint") or {}
    update = found.get("UpdateStatus") or {}
    return Service(
        service_id=str(found["ID"]),
        name=str(spec.get("Name") or ""),
        mode={"Replicated": "replicated", "Global": "global", "ReplicatedJob": "replicated-job"}.get(
            kind, "global-job"
        ),
        replicas=_replicas(kind, mode.get(kind) or {}),
        endpoint_mode=str((endpoint.get("Spec") or spec.get("EndpointSpec") or {}).get("Mode") or "vip"),
        vips={str(one["NetworkID"]): _bare(one.get("Addr")) for one in endpoint.get("VirtualIPs") or []},
        ports=tuple(endpoint.get("Ports") or ()),
        update=str(update.get("State") or ""),
        update_message=str(update.get("Message") or ""),
        image=str((template.get("ContainerSpec") or {}).get("Image") or ""),
        labels=dict(spec.get("Labels") or {}),
        tasks=tuple(sorted((_task(task, template, nodes) for task in tasks), key=lambda one: (one.node, one.task_id))),
    )


def _replicas(kind: str, settings: Mapping[str, Any]) -> int | None:
    if kind == "Replicated":
        return int(settings.get("Replicas", 1))
    return int(settings.get("TotalCompletions") or 1) if kind == "ReplicatedJob" else None


def _task(found: Mapping[str, Any], template: Mapping[str, Any], nodes: Mapping[str, str]) -> Task:
    status = found.get("Status") or {}
    node_id = str(found.get("NodeID") or "")
    return Task(
        task_id=str(found["ID"]),
        slot=found.get("Slot"),
        node=nodes.get(node_id, node_id),
        node_id=node_id,
        state=str(status.get("State") or ""),
        desired_state=str(found.get("DesiredState") or ""),
        # The swarm replaces a task whose container or number of forced updates is not the service's, and no other.
        current=all(
            (found.get("Spec") or {}).get(key) == template.get(key) for key in ("ContainerSpec", "ForceUpdate")
        ),
        error=str(status.get("Err") or ""),
        addresses={
            str((one.get("Network") or {}).get("ID")): _bare((one.get("Addresses") or [""])[0])
            for one in found.get("NetworksAttachments") or []
        },
        container=str((status.get("ContainerStatus") or {}).get("ContainerID") or ""),
        ports=tuple((status.get("PortStatus") or {}).get("Ports") or ()),
    )


def _bare(address: Any) -> str:
    return str(address or "").partition("/")[0]


def lacking(service: Service) -> str:
    """What keeps the service from having converged, as half a sentence; empty where it has.

    A paused or rolled back update has not: its tasks run, and are those of before.
    """
    if service.mode.endswith("-job"):
        return _lacking_job(service)
    if service.update in NOT_DONE:
        words = f" ({service.update_message})" if service.update_message else ""
        return f"{NOT_DONE[service.update]}{words}"
    number = len(service.running)
    wanted = service.replicas if service.replicas is not None else _wanted(service)
    troubles = sorted({f"on {task.node or 'no node'}, {task.error}" for task in service.tasks if task.error})
    words = f": {'; '.join(troubles)}" if troubles else ""
    if service.replicas is None and not wanted:
        return f"no node runs it{words}"
    if number < wanted:
        return f"{number} of {wanted} tasks run{words}"
    if any(task.desired_state == RUNNING and not task.runs for task in service.tasks):
        return f"tasks of before run still{words}"
    return "its update is not finished" if service.update == "updating" else ""


def _wanted(service: Service) -> int:
    return len({task.node_id for task in service.tasks if task.desired_state == RUNNING})


def _lacking_job(service: Service) -> str:
    done = sum(task.state == "complete" for task in service.tasks)
    wanted = service.replicas if service.replicas is not None else len({task.node_id for task in service.tasks})
    return "" if wanted and done >= wanted else f"{done} of {wanted} tasks are complete"


def is_final(service: Service) -> bool:
    """Whether no waiting helps: an update that is paused, or was rolled back, needs a person."""
    return service.update in NOT_DONE and service.update != "rollback_started"
