# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drain a node that is about to leave: its tasks move to other nodes; runs on a manager."""

from __future__ import annotations

from typing import Any

from .._core.engine import Engine, performs
from .._core.errors import OversshError
from .._core.plan import Plan, Step
from .._core.wait import WaitError, wait_until
from .._docker.client import Docker
from .._docker.update import update_entry
from .entry import DOWN, ObservedEntries, observe_entries

DRAIN = "drain"
# What a task on its way to its end is called; "running" alone would miss one that is starting.
ALIVE = frozenset({"assigned", "accepted", "preparing", "ready", "starting", "running"})


def plan_drain(node: str, observed: ObservedEntries) -> Plan:
    """Drain every entry of that name; nodes that are down run no tasks."""
    steps = []
    for found in observed.entries:
        if found.availability == DRAIN or found.status == DOWN:
            continue
        named = f"{found.hostname} ({found.node_id})"
        args = {"node_id": found.node_id, "availability": DRAIN}
        back = Step(
            "set_availability",
            f"make {named} {found.availability} again",
            {**args, "availability": found.availability},
        )
        steps.append(Step("set_availability", f"drain {named}", args, back))
    before = {one.node_id: one.availability for one in observed.entries}
    after = {one.node_id: one.availability if one.status == DOWN else DRAIN for one in observed.entries}
    return Plan(before, after, tuple(steps))


class SwarmDrainEngine(Engine[ObservedEntries]):
    """All entries of one node, by host name or ID; timeout: seconds for its tasks to end, None to not wait."""

    def __init__(self, docker: Docker, node: str, timeout: float | None) -> None:
        self._docker = docker
        self._node = node
        self._timeout = timeout

    def observe(self) -> ObservedEntries:
        """The managers' list; OversshError on a worker."""
        return observe_entries(self._docker, self._node, "drained")

    def plan(self, observed: ObservedEntries) -> Plan:
        """The plan of plan_drain."""
        return plan_drain(self._node, observed)

    @performs("set_availability")
    def _set_availability(self, node_id: str, availability: str) -> None:
        update_entry(self._docker, node_id, lambda spec: {**spec, "Availability": availability}, self._timeout or 0)

    def wait(self) -> None:
        """Wait until no task of a service runs on the node."""
        if self._timeout is None:
            return
        ids = {one.node_id for one in self.observe().entries if one.status != DOWN}
        try:
            wait_until(lambda: not self._tasks(ids), self._timeout, "the end of its tasks")
        except WaitError as error:
            raise OversshError(
                f"{self._node} still has {len(self._tasks(ids))} tasks after {self._timeout:g} s; see 'docker node ps "
                f"{self._node}' for what keeps them, or allow more time with wait_timeout"
            ) from error

    def result(self, observed: ObservedEntries) -> dict[str, Any]:
        """The entries of that name."""
        return {"node": self._node, "entries": [one.node_id for one in observed.entries]}

    def _tasks(self, ids: set[str]) -> list[str]:
        found = [task for one in sorted(ids) for task in self._docker.tasks(filters={"node": one})]
        # Containers that were attached by hand are tasks without a service, and end with their container.
        return [task["ID"] for task in found if task.get("ServiceID") and task["Status"]["State"] in ALIVE]
