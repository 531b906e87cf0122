# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One engine for several subjects of one kind: one plan covers all of them, and all of it is done or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from .engine import Engine
from .errors import OversshError
from .plan import Plan, Step

Observed = TypeVar("Observed")


class HasName(Protocol):
    """The desired state of one subject."""

    @property
    def name(self) -> str:
        """The subject's name."""


Named = TypeVar("Named", bound=HasName)
# Which steps come first, across all subjects; within one of them it has to keep their order.
Stage = Callable[[Step], int]


class Several(Engine[tuple[Observed, ...]], Generic[Observed]):
    """The engines of the subjects, by name."""

    def __init__(self, parts: Mapping[str, Engine[Observed]], stage: Stage = lambda _step: 0) -> None:
        self._parts = parts
        self._stage = stage
        self._found: tuple[Observed, ...] | None = None

    def observe(self) -> tuple[Observed, ...]:
        """Observe every subject; a subject is observed again only after a step was done."""
        if self._found is None:
            self._found = self._look()
        return self._found

    def _look(self) -> tuple[Observed, ...]:
        return tuple(part.observe() for part in self._parts.values())

    def plan(self, observed: tuple[Observed, ...]) -> Plan:
        """The plans of all subjects, joined."""
        plans = {name: part.plan(found) for (name, part), found in zip(self._parts.items(), observed)}
        steps = [step_of(name, step) for name, plan in plans.items() for step in plan.steps]
        return Plan(
            {name: plan.before for name, plan in plans.items()},
            {name: plan.after for name, plan in plans.items()},
            tuple(sorted(steps, key=lambda step: self._stage(step.args["step"]))),
        )

    def perform(self, step: Step) -> None:
        """Do one step of one subject."""
        self._found = None
        self._parts[step.args["of"]].perform(step.args["step"])

    def result(self, observed: tuple[Observed, ...]) -> dict[str, Any]:
        """The results of all subjects, as the list "of_each"."""
        return {
            "of_each": [part.result(found) for part, found in zip(self._parts.values(), observed)],
        }

    def wait(self) -> None:
        """Wait until the change is in effect for every subject."""
        for part in self._parts.values():
            part.wait()

    def close(self) -> None:
        """Close the engine of every subject."""
        for part in self._parts.values():
            part.close()


def checked(
    entries: Iterable[Mapping[str, Any]], options: Mapping[str, Mapping[str, Any]], option: str
) -> list[dict[str, Any]]:
    """The entries of a module's list, checked as Ansible checks options: types, choices and defaults.

    Each entry has a name. The module's own specification leaves entries open, so its documentation describes each
    option once. option: the list's name. OversshError names the wrong entry.
    """
    checker = ArgumentSpecValidator({"name": {"type": "str", "required": True}, **options})
    found = []
    for number, entry in enumerate(entries, start=1):
        result = checker.validate(dict(entry))
        if result.error_messages:
            name = entry.get("name") or f"entry {number}"
            raise OversshError(f"{option}: {name}: {'; '.join(result.error_messages)}")
        found.append(dict(result.validated_parameters))
    return found


def named_once(wanted: Iterable[Named], option: str) -> dict[str, Named]:
    """The desired states by name; OversshError where two have the same name."""
    found: dict[str, Named] = {}
    for each in wanted:
        if each.name in found:
            raise OversshError(f"{option} has {each.name} twice; name each once")
        found[each.name] = each
    return found


def step_of(name: str, step: Step) -> Step:
    """The step as a step of the subject with that name."""
    inverse = None if step.inverse is None else step_of(name, step.inverse)
    return replace(step, args={"of": name, "step": step}, inverse=inverse)
