# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on units: each says what it does, and what takes it back."""

from __future__ import annotations

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import Step
from ansible_collections.overssh.swarm.plugins.module_utils._linux import unit_steps

UNIT = "overssh-tun1001.service"


def described(step: Step | None) -> tuple[str, str] | None:
    return None if step is None else (step.action, step.label)


@pytest.mark.parametrize(
    ("text", "old", "there", "back"),
    [
        ("new", None, ("write_unit", f"write {UNIT}"), ("delete_unit", f"remove {UNIT}")),
        ("new", "old", ("write_unit", f"write {UNIT}"), ("write_unit", f"restore {UNIT}")),
        (None, "old", ("delete_unit", f"remove {UNIT}"), ("write_unit", f"restore {UNIT}")),
    ],
)
def test_a_units_file(text: str | None, old: str | None, there: tuple[str, str], back: tuple[str, str]) -> None:
    (step,) = unit_steps.written(UNIT, text, old)
    assert step.inverse is not None
    assert (described(step), described(step.inverse)) == (there, back)
    assert (step.args.get("text"), step.inverse.args.get("text")) == (text, old)
    assert list(unit_steps.written(UNIT, old, old)) == []
    (named,) = unit_steps.written(UNIT, text, old, "/etc/systemd/system/x")
    assert named.label == f"{there[1].split()[0]} /etc/systemd/system/x"


@pytest.mark.parametrize(
    ("step", "there", "back"),
    [
        (unit_steps.enabled(UNIT), ("enable_unit", f"enable {UNIT}"), ("disable_unit", f"disable {UNIT}")),
        (unit_steps.disabled(UNIT), ("disable_unit", f"disable {UNIT}"), ("enable_unit", f"enable {UNIT} again")),
        (unit_steps.started(UNIT), ("start_unit", f"start {UNIT}"), ("stop_unit", f"stop {UNIT}")),
        (unit_steps.restarted(UNIT), ("restart_unit", f"start {UNIT}"), ("stop_unit", f"stop {UNIT}")),
        (unit_steps.restarted(UNIT, runs=True), ("restart_unit", f"start {UNIT}"), None),
        (unit_steps.stopped(UNIT), ("stop_unit", f"stop {UNIT}"), ("restart_unit", f"start {UNIT} again")),
    ],
)
def test_a_units_state(step: Step, there: tuple[str, str], back: tuple[str, str] | None) -> None:
    assert (described(step), described(step.inverse)) == (there, back)
    assert all(each.args == {"unit": UNIT} for each in (step, step.inverse) if each is not None)
