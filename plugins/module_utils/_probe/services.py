# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throwaway services, with which a verification proves service discovery, service addresses and published ports.

Their tasks are the containers of overlay_probe in all but name, so a node needs its probe to run one: the probe's image
and program are there as long as the probe is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._core.engine import Engine, performs
from .._core.errors import OversshError
from .._core.plan import Plan, Step
from .._core.wait import wait_until
from .._docker.nodes import addresses as addresses_of
from .._docker.nodes import is_manager
from .._service.info import read_services, require_manager, wait_for
from .._service.model import Service
from .agent import PORT, TASK
from .engine import FOLDER, IMAGE, INSIDE, LABEL, NOBODY, PYTHON, TAG

# The label that tells a service of an older specification, or of another network, from the one that is wanted.
SPECIFICATION = "overssh.verify.specification"
NANOSECONDS = 10**9
# After a task that failed, because its node did not know the network yet, the next one comes.
RETRY_SECONDS = 1
READ_ONLY = {"/usr": "/usr", FOLDER: INSIDE}


@dataclass(frozen=True)
class Desired:
    """What is wanted.

    name: what the services' names begin with; network: the ID of their network, None for no service at all; outside:
    IDs of nodes that get no task; replicas: of the replicated one; publish: whether they publish a port each.
    """

    name: str
    network: str | None
    outside: tuple[str, ...] = ()
    replicas: int = 1
    publish: bool = False


@dataclass(frozen=True)
class Observed:
    """The services found under the wanted names."""

    services: tuple[Service, ...] = ()


def specifications(desired: Desired) -> dict[str, dict[str, Any]]:
    """The two services as the engine's API takes them, by name.

    A global one has an address of its own, and publishes by the routing mesh. A replicated one has none: its name gives
    its tasks' addresses; it publishes on the nodes of its tasks.
    """
    if desired.network is None:
        return {}
    several, one = f"{desired.name}-global", f"{desired.name}-replicated"
    return {
        several: _specification(desired, several, {"Global": {}}, "vip", "ingress"),
        one: _specification(desired, one, {"Replicated": {"Replicas": desired.replicas}}, "dnsrr", "host"),
    }


def _specification(
    desired: Desired, name: str, mode: Mapping[str, Any], endpoint_mode: str, publish: str
) -> dict[str, Any]:
    # Docker chooses the number of a port that has none.
    ports = [{"Protocol": "tcp", "TargetPort": PORT, "PublishMode": publish}] if desired.publish else []
    body = {
        "Name": name,
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": f"{IMAGE}:{TAG}",
                "Command": [PYTHON, "-I", f"{INSIDE}/agent.py", "serve"],
                "Env": [f"{TASK}={{{{.Task.ID}}}}"],
                "Labels": {LABEL: "true"},
                "User": NOBODY,
                "ReadOnly": True,
                "CapabilityDrop": ["ALL"],
                "Privileges": {"SELinuxContext": {"Disable": True}},
                "StopSignal": "SIGKILL",
                "Mounts": [
                    {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True}
                    for source, target in READ_ONLY.items()
                ],
            },
            "Resources": {"Limits": {"Pids": 64}},
            "RestartPolicy": {"Condition": "on-failure", "Delay": RETRY_SECONDS * NANOSECONDS},
            "Placement": {"Constraints": [f"node.id!={node}" for node in desired.outside]},
            "Networks": [{"Target": desired.network}],
        },
        "Mode": dict(mode),
        "EndpointSpec": {"Mode": endpoint_mode, "Ports": ports},
    }
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
    return {**body, "Labels": {LABEL: "true", SPECIFICATION: digest}}


def names(desired: Desired) -> list[str]:
    """The names of the services, also of those that are to be gone."""
    return list(specifications(Desired(desired.name, network="any")))


def plan_services(desired: Desired, observed: Observed) -> Plan:
    """The steps to the wanted services, or to none; a stale one is replaced, a foreign one never."""
    wanted = specifications(desired)
    found = {service.name: service for service in observed.services}
    steps = []
    for name, service in sorted(found.items()):
        if LABEL not in service.labels:
            if name in wanted:
                raise OversshError(
                    f"a service named {name} exists that overssh.swarm did not make; rename it or remove it with "
                    f"'docker service rm {name}'"
                )
            continue
        if name not in wanted or service.labels.get(SPECIFICATION) != wanted[name]["Labels"][SPECIFICATION]:
            steps.append(Step("remove_service", f"remove the service {name}", args={"service_id": service.service_id}))
            del found[name]
    for name, body in wanted.items():
        if name not in found:
            steps.append(
                Step(
                    "create_service",
                    f"create the service {name}",
                    args={"body": body},
                    inverse=Step("remove_service", f"remove the service {name}", args={"service_id": name}),
                )
            )
    before = sorted(service.name for service in observed.services if LABEL in service.labels)
    return Plan({"services": before}, {"services": sorted(wanted)}, tuple(steps))


class ServiceProbeEngine(Engine[Observed]):
    """The throwaway services of a swarm; this host is a manager of it."""

    def __init__(
        self, docker: Any, desired: Desired, timeout: float | None, nodes: Mapping[str, str] | None = None
    ) -> None:
        """timeout: seconds to wait for all tasks to run, or to be gone; None: don't wait.

        nodes: the swarm addresses by node ID of those that take part.
        """
        self._nodes = dict(nodes or {})
        self._docker = docker
        self._desired = desired
        self._timeout = timeout
        self._removed: set[str] = set()

    def observe(self) -> Observed:
        """The services as they stand; what is to be gone is gone where the host is no manager, or in no swarm."""
        if self._desired.network is None and not is_manager(self._docker):
            return Observed()
        require_manager(self._docker)
        return Observed(tuple(self._read()))

    def _read(self) -> list[Service]:
        return read_services(self._docker, names(self._desired))

    def plan(self, observed: Observed) -> Plan:
        """See plan_services."""
        return plan_services(self._desired, observed)

    @performs("create_service")
    def _create(self, body: Mapping[str, Any]) -> None:
        self._docker.post("/services/create", body)

    @performs("remove_service")
    def _remove(self, service_id: str) -> None:
        # The inverse of a step knows the service by its name.
        self._removed.add(str(self._docker.inspect_service(service_id)["ID"]))
        self._docker.remove_service(service_id)

    def wait(self) -> None:
        """Until all tasks run that are wanted, and those of removed services are gone from all nodes."""
        if self._timeout is None:
            return
        if self._removed:
            wait_until(self._gone, self._timeout, f"the tasks of {self._desired.name} having ended")
        if self._desired.network is not None:
            wait_for(self._read, self._timeout)

    def _gone(self) -> bool:
        return not any(task.get("ServiceID") in self._removed for task in self._docker.tasks())

    def in_effect(self, observed: Observed) -> bool:
        """Whether nothing has to be waited for."""
        return self._desired.network is None or self._timeout is None

    def result(self, observed: Observed) -> dict[str, Any]:
        """The services as overlay_probe measures them."""
        network = self._desired.network
        found = [measurable(service, network, self._nodes) for service in observed.services] if network else []
        return {"services": found}


def measurable(service: Service, network: str, nodes: Mapping[str, str]) -> dict[str, Any]:
    """A service as overlay_probe measures it; network: its ID; nodes: swarm addresses by node ID."""
    return {
        "name": service.name,
        "endpoint_mode": service.endpoint_mode,
        "address": service.vips.get(network, ""),
        "tasks": [
            {"id": task.task_id, "node": task.node, "address": task.addresses.get(network, "")}
            for task in service.running
        ],
        "published": list(_published(service, nodes)),
    }


def _published(service: Service, nodes: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Where the service's port answers, and which of its tasks answer there."""
    everyone = [task.task_id for task in service.running]
    for port in service.ports:
        if port.get("PublishMode", "ingress") == "ingress":
            for address in nodes.values():
                yield {"address": address, "port": port["PublishedPort"], "mode": "ingress", "tasks": everyone}
    for task in service.running:
        for port in task.ports:
            if task.node_id in nodes:
                place = {"address": nodes[task.node_id], "port": port["PublishedPort"]}
                yield {**place, "mode": "host", "tasks": [task.task_id]}


def taking_part(nodes: Iterable[Mapping[str, Any]], addresses: Sequence[str] | None) -> dict[str, str]:
    """The swarm addresses by ID of the nodes that take part; addresses: theirs, None for all nodes."""
    found = {}
    for node in nodes:
        known = addresses_of(node)
        wanted = known if addresses is None else [address for address in known if address in addresses]
        if wanted:
            found[str(node["ID"])] = wanted[-1]
    return found
