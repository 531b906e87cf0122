# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans as data: check mode, diff and changed all come from one plan, so they can't disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import diff as core_diff
from .errors import OversshError


@dataclass(frozen=True)
class Step:
    """One change of the host.

    action: the name that an engine's method is registered for, see performs.
    args: the arguments of that method, by name; plain data.
    label: the step in words, for the operator ("set the MTU of tun1001 to 1500").
    inverse: the step that undoes this one; None where nothing has to be undone.
    """

    action: str
    label: str
    args: Mapping[str, Any] = field(default_factory=dict)
    inverse: Step | None = None


@dataclass(frozen=True)
class Plan:
    """The state before, the state after, and the steps between them; without steps the host is as desired."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    steps: tuple[Step, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the plan has any step."""
        return bool(self.steps)

    @property
    def labels(self) -> list[str]:
        """The labels of the steps."""
        return [step.label for step in self.steps]

    @property
    def inverse(self) -> tuple[Step, ...]:
        """The steps that undo the whole plan, last one first."""
        return inverse_of(self.steps)

    def diff(self) -> dict[str, str]:
        """The difference of before and after, in the form that Ansible shows under --diff."""
        return core_diff.texts(self.before, self.after)


def inverse_of(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The inverses of the given steps, last one first."""
    return tuple(step.inverse for step in reversed(steps) if step.inverse is not None)


def apply(plan: Plan, perform: Callable[[Step], None]) -> None:
    """Do the plan's steps in order; where one fails, undo the ones before it and raise OversshError.

    A failing step must leave nothing behind itself: perform() does one thing or raises.
    """
    done: list[Step] = []
    for step in plan.steps:
        try:
            perform(step)
        except OversshError as error:
            raise OversshError(f"could not {step.label}: {error}{undo(done, perform)}") from error
        done.append(step)


def undo(done: Sequence[Step], perform: Callable[[Step], None]) -> str:
    """Undo steps that were done; return in words what was undone and what could not be."""
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
