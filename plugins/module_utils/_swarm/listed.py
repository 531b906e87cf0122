# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Availability and labels of any node, as the managers list it; runs on a manager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._core.engine import Engine, performs
from .._core.errors import OversshError
from .._core.plan import Plan, Step
from .._docker.client import Docker
from .._docker.update import update_entry
from . import labels as node_labels
from .entry import DOWN, ObservedEntries, observe_entries
from .model import LISTED, Entry


@dataclass(frozen=True)
class DesiredEntry:
    """The entry of a node, by host name, ID or address; availability None where any will do.

    labels: those that are set, and with None those that are removed; others stay.
    """

    node: str
    availability: str | None = None
    labels: node_labels.Change = field(default_factory=dict)


def listed_of(params: Mapping[str, Any]) -> DesiredEntry:
    """The desired entry, from the module's options; OversshError for a wrong label."""
    return DesiredEntry(params["node"], params.get("availability"), node_labels.change_of(params.get("labels")))


def plan_listed(desired: DesiredEntry, observed: ObservedEntries) -> Plan:
    """Give the node's entry its availability and labels; OversshError where no entry or several are meant."""
    found = the_entry(desired.node, observed)
    named = f"{found.hostname} ({found.node_id})"
    before: dict[str, Any] = {"availability": found.availability, "labels": node_labels.shown(found.labels)}
    after = dict(before)
    steps = []
    if desired.availability and desired.availability != found.availability:
        back = Step(
            "set_availability",
            f"set the availability of {named} back to {found.availability}",
            {"node_id": found.node_id, "availability": found.availability},
        )
        label = f"set the availability of {named} to {desired.availability}"
        steps.append(Step("set_availability", label, {**back.args, "availability": desired.availability}, back))
        after["availability"] = desired.availability
    change = node_labels.needed(found.labels, desired.labels)
    if change:
        undone = node_labels.way_back(found.labels, change)
        back = Step(
            "set_labels",
            f"label {named} {node_labels.words(undone)} again",
            {"node_id": found.node_id, "labels": undone},
        )
        label = f"label {named} {node_labels.words(change)}"
        steps.append(Step("set_labels", label, {**back.args, "labels": change}, back))
        after["labels"] = node_labels.shown(node_labels.changed(found.labels, change))
    return Plan({found.hostname: before}, {found.hostname: after}, tuple(steps))


def the_entry(node: str, observed: ObservedEntries) -> Entry:
    """The one entry that is meant: entries that a host left behind are down, and don't count beside one that is not."""
    entries = observed.entries
    if len(entries) > 1:
        entries = tuple(one for one in entries if one.status != DOWN)
    if len(entries) == 1:
        return entries[0]
    if not observed.entries:
        raise OversshError(
            f"the managers list no node with the host name, the ID or the address {node}; see 'docker node ls'"
        )
    ids = ", ".join(one.node_id for one in observed.entries)
    raise OversshError(
        f"the managers list {len(observed.entries)} nodes as {node} ({ids}); name the one that is meant by its ID"
    )


class SwarmListedEngine(Engine[ObservedEntries]):
    """The entry of one node; timeout: seconds to try again while others change it too."""

    def __init__(self, docker: Docker, desired: DesiredEntry, timeout: float) -> None:
        self._docker = docker
        self._desired = desired
        self._timeout = timeout

    def observe(self) -> ObservedEntries:
        """The managers' list; OversshError on a worker."""
        return observe_entries(self._docker, self._desired.node, LISTED)

    def plan(self, observed: ObservedEntries) -> Plan:
        """The plan of plan_listed."""
        return plan_listed(self._desired, observed)

    @performs("set_availability")
    def _set_availability(self, node_id: str, availability: str) -> None:
        update_entry(self._docker, node_id, lambda spec: {**spec, "Availability": availability}, self._timeout)

    @performs("set_labels")
    def _set_labels(self, node_id: str, labels: node_labels.Change) -> None:
        def change(spec: Mapping[str, Any]) -> dict[str, Any]:
            return {**spec, "Labels": node_labels.changed(spec.get("Labels") or {}, labels)}

        update_entry(self._docker, node_id, change, self._timeout)

    def in_effect(self, observed: ObservedEntries) -> bool:
        """An entry is what the managers keep; nothing follows that could be waited for."""
        return True

    def result(self, observed: ObservedEntries) -> dict[str, Any]:
        """The entry, with its availability and all its labels."""
        found = the_entry(self._desired.node, observed)
        return {
            "node": self._desired.node,
            "entries": [found.node_id],
            "availability": found.availability,
            "labels": dict(found.labels),
        }
