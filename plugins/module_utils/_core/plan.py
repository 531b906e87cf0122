# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module is going to do: computed first, as data, so that check mode, diff and changed can't disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import diff as core_diff
from .errors import OversshError


@dataclass(frozen=True)
class Step:
    """One change of the host.

    action: the name that a method of the engine is registered for, see performs.
    args: what that method takes, by name; plain data.
    label: the step in words, for the operator ("set the MTU of tun1001 to 1500").
    inverse: the step that takes it back; None where there is nothing to take back.
    """

    action: str
    label: str
    args: Mapping[str, Any] = field(default_factory=dict)
    inverse: Step | None = None


@dataclass(frozen=True)
class Plan:
    """Before, after, and the steps between them. No steps: the host is as desired."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    steps: tuple[Step, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything has to be done."""
        return bool(self.steps)

    @property
    def labels(self) -> list[str]:
        """The steps in words."""
        return [step.label for step in self.steps]

    @property
    def inverse(self) -> tuple[Step, ...]:
        """The steps that take the whole plan back, last one first."""
        return inverse_of(self.steps)

    def diff(self) -> dict[str, str]:
        """What changes of before and after, in the form that Ansible shows under --diff."""
        return core_diff.texts(self.before, self.after)


def inverse_of(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The inverses of the given steps, last one first."""
    return tuple(step.inverse for step in reversed(steps) if step.inverse is not None)


def apply(plan: Plan, perform: Callable[[Step], None]) -> None:
    """Do the plan's steps in order; a step that fails takes back the ones before it and raises OversshError.

    A step that fails must itself leave nothing: perform() is told to do one thing, or to raise.
    """
    done: list[Step] = []
    for step in plan.steps:
        try:
            perform(step)
        except OversshError as error:
            raise OversshError(f"could not {step.label}: {error}{undo(done, perform)}") from error
        done.append(step)


def undo(done: Sequence[Step], perform: Callable[[Step], None]) -> str:
    """Take back steps that were done, and say in words what was, or could not be, taken back."""
    if not done:
        return ""
    left = []
    for step in inverse_of(done):
        try:
            perform(step)
        except OversshError as error:
            left.append(f"could not {step.label}: {error}")
    if left:
        return f" (left behind: {'; '.join(left)})"
    return " (everything done before was rolled back)"
