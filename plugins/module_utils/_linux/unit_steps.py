# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on our units, for several plans, and the methods for these steps.

A plan for several units writes all files before it enables a unit, and enables all units before it starts one. So
systemd reads the files once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .._core.engine import performs
from .._core.plan import Step
from .systemd import Systemd


def written(unit: str, text: str | None, old: str | None, shown: str = "") -> Iterator[Step]:
    """The step that gives a unit's file this text, None for no file; no step for the same text. shown: for labels."""
    if text == old:
        return
    verb, back = ("remove" if text is None else "write"), ("remove" if old is None else "restore")
    yield replace(_file(unit, text, f"{verb} {shown or unit}"), inverse=_file(unit, old, f"{back} {shown or unit}"))


def _file(unit: str, text: str | None, label: str) -> Step:
    if text is None:
        return Step("delete_unit", label, {"unit": unit})
    return Step("write_unit", label, {"unit": unit, "text": text})


def enabled(unit: str) -> Step:
    """The step that has the unit start at boot."""
    return Step(
        "enable_unit", f"enable {unit}", {"unit": unit}, Step("disable_unit", f"disable {unit}", {"unit": unit})
    )


def disabled(unit: str) -> Step:
    """The step that has the unit not start at boot."""
    back = Step("enable_unit", f"enable {unit} again", {"unit": unit})
    return Step("disable_unit", f"disable {unit}", {"unit": unit}, back)


def started(unit: str) -> Step:
    """The step that starts the unit; a unit that is starting already goes on."""
    return Step("start_unit", f"start {unit}", {"unit": unit}, Step("stop_unit", f"stop {unit}", {"unit": unit}))


def restarted(unit: str, runs: bool = False) -> Step:
    """The step that starts the unit anew; runs: it runs already, so the inverse must not stop it."""
    back = None if runs else Step("stop_unit", f"stop {unit}", {"unit": unit})
    return Step("restart_unit", f"start {unit}", {"unit": unit}, back)


def stopped(unit: str) -> Step:
    """The step that stops the unit."""
    back = Step("restart_unit", f"start {unit} again", {"unit": unit})
    return Step("stop_unit", f"stop {unit}", {"unit": unit}, back)


class UnitSteps:
    """The methods for these steps, for engines whose plans include them; they need a systemd."""

    _systemd: Systemd

    @performs("write_unit")
    def _write_unit(self, unit: str, text: str) -> None:
        self._systemd.write(unit, text)

    @performs("delete_unit")
    def _delete_unit(self, unit: str) -> None:
        self._systemd.delete(unit)

    @performs("enable_unit")
    def _enable_unit(self, unit: str) -> None:
        self._systemd.enable(unit)

    @performs("disable_unit")
    def _disable_unit(self, unit: str) -> None:
        self._systemd.disable(unit)

    @performs("start_unit")
    def _start_unit(self, unit: str) -> None:
        self._systemd.start(unit)

    @performs("restart_unit")
    def _restart_unit(self, unit: str) -> None:
        self._systemd.restart(unit)

    @performs("stop_unit")
    def _stop_unit(self, unit: str) -> None:
        self._systemd.stop(unit)
