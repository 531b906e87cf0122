# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove a node's entry from the managers' list after the node has left; runs on a manager."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._core.engine import Engine, performs
from .._core.errors import OversshError
from .._core.plan import Plan, Step
from .._core.wait import WaitError, wait_until
from .._docker.client import NOT_FOUND, Docker, DockerError
from .._docker.update import update_entry
from .model import Entry
from .observe import entry

DOWN = "down"


@dataclass(frozen=True)
class ObservedEntries:
    """The entries with the name or ID, and this node's own ID."""

    entries: tuple[Entry, ...]
    own_id: str


def observe_entries(docker: Docker, node: str, state: str) -> ObservedEntries:
    """The managers' entries with a host name, an ID or an address; state: the desired one.

    OversshError on a worker.
    """
    swarm = docker.info().get("Swarm") or {}
    if not swarm.get("ControlAvailable"):
        raise OversshError(f"state: {state} works on the list that managers keep; run it on a manager of the swarm")
    found = [entry(each) for each in docker.nodes()]
    named = tuple(one for one in found if node in (one.node_id, one.hostname, one.address))
    return ObservedEntries(named, swarm.get("NodeID") or "")


def plan_removal(node: str, force: bool, observed: ObservedEntries) -> Plan:
    """Remove every entry of that name, a manager's after its demotion; a live node's only with force."""
    steps: list[Step] = []
    for found in observed.entries:
        named = f"{found.hostname} ({found.node_id})"
        if found.node_id == observed.own_id:
            raise OversshError(f"{named} is the node this runs on; have it leave with state: left instead")
        args = {"node_id": found.node_id, "named": named}
        lost = Step("restore", f"put the entry of {named} back")
        if found.role == "manager":
            back = Step("set_role", f"make {named} a manager again", {**args, "role": "manager"})
            steps.append(Step("set_role", f"make the manager {named} a worker", {**args, "role": "worker"}, back))
        steps.append(Step("remove", f"remove the entry of {named} from the swarm", args, lost))
    before = [{"node_id": one.node_id, "hostname": one.hostname, "role": one.role} for one in observed.entries]
    return Plan({node: before}, {node: []}, tuple(steps))


class SwarmEntryEngine(Engine[ObservedEntries]):
    """All entries of one node, by host name or ID; timeout: seconds for a leaving node to be down."""

    def __init__(self, docker: Docker, node: str, force: bool, timeout: float) -> None:
        self._docker = docker
        self._node = node
        self._force = force
        self._timeout = timeout

    def observe(self) -> ObservedEntries:
        """The managers' list; OversshError on a worker."""
        return observe_entries(self._docker, self._node, "removed")

    def plan(self, observed: ObservedEntries) -> Plan:
        """The plan of plan_removal."""
        return plan_removal(self._node, self._force, observed)

    @performs("restore")
    def _restore(self) -> None:
        raise OversshError("it comes back only when the node joins again")

    def result(self, observed: ObservedEntries) -> dict[str, Any]:
        """The remaining entries of that name."""
        return {"node": self._node, "entries": [one.node_id for one in observed.entries]}

    def _await_down(self, node_id: str, named: str) -> None:
        """A node that has just left counts as ready for some seconds; with force nobody waits for that."""
        if self._force:
            return
        try:
            wait_until(lambda: self._is_down(node_id), self._timeout, f"the end of {named}")
        except WaitError as error:
            raise OversshError(
                f"{named} is still up after {self._timeout:g} s; take it out on its own host first, with state: left, "
                "name another entry of that host by its ID, or set force: true"
            ) from error

    def _is_down(self, node_id: str) -> bool:
        try:
            return entry(self._docker.inspect_node(node_id)).status == DOWN
        except DockerError as error:
            if error.status == NOT_FOUND:
                return True
            raise

    @performs("set_role")
    def _set_role(self, node_id: str, named: str, role: str) -> None:
        self._await_down(node_id, named)
        update_entry(self._docker, node_id, lambda spec: {**spec, "Role": role}, self._timeout)
        if role == "worker":
            wait_until(
                lambda: not self._docker.inspect_node(node_id).get("ManagerStatus"),
                self._timeout,
                "the managers' agreement without it",
            )

    @performs("remove")
    def _remove(self, node_id: str, named: str) -> None:
        self._await_down(node_id, named)
        try:
            self._docker.remove_node(node_id, force=self._force)
        except DockerError as error:
            if error.status != NOT_FOUND:
                raise
