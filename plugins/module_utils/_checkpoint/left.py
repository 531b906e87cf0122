# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checkpoint that an interrupted run left: its timer would roll back the change during the next run."""

from __future__ import annotations

from collections.abc import Iterator

from .._core.engine import performs
from .._core.plan import Step
from .._linux.systemd import Systemd
from . import checkpoint


def taken_back(name: str) -> Iterator[Step]:
    """The step that rolls back the change of that name, or forgets it where the host did so; none without a change."""
    found = checkpoint.find(name)
    if found is not None:
        words = f"roll back the change {name}" if found.pending else f"forget the change {name}"
        yield Step("take_back_left", f"{words} that an earlier run has left", {"name": name})


def forgotten(name: str) -> Iterator[Step]:
    """The step that removes the checkpoint of that name without a rollback; none where nothing is left of it."""
    if checkpoint.remains(name):
        yield Step("forget_left", f"forget the change {name} that an earlier run has left", {"name": name})


class LeftSteps:
    """The methods for these steps, for engines whose recovery includes them; they need a systemd."""

    _systemd: Systemd

    @performs("take_back_left")
    def _take_back_left(self, name: str) -> None:
        checkpoint.roll_back(self._systemd, name)

    @performs("forget_left")
    def _forget_left(self, name: str) -> None:
        checkpoint.discard(self._systemd, name)
