# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher comes with the first thing to look after, goes with the last one, and tells what it leaves alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.program import program_files
from ansible_collections.overssh.swarm.plugins.module_utils._linux.systemd import NO_UNIT, UnitState
from ansible_collections.overssh.swarm.plugins.module_utils._watcher import unit as watcher_unit
from ansible_collections.overssh.swarm.plugins.module_utils._watcher.unit import Watch, plan_watch, unit_text

NOTHING = Watch({}, NO_UNIT)
PROGRAM = program_files(watcher_unit.PROGRAM_FOLDER, watcher_unit.PROGRAM)
FINISHED = Watch(PROGRAM, UnitState(unit_text(), True, "active"))
OTHER_PROGRAM = {**FINISHED.program, f"{watcher_unit.PROGRAM_FOLDER}/_watcher/program.py": "pass\n"}


def actions(wanted: bool, found: Watch) -> list[str]:
    """The steps, each of which is the watcher's own."""
    assert all(watcher_unit.is_own(step) for step in plan_watch(wanted, found).steps)
    return [step.action for step in plan_watch(wanted, found).steps]


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        (True, NOTHING, ["watch_program", "write_unit", "enable_unit", "restart_unit"]),
        (True, FINISHED, []),
        (True, replace(FINISHED, program=OTHER_PROGRAM), ["stop_unit", "watch_program", "restart_unit"]),
        (True, replace(FINISHED, unit=replace(FINISHED.unit, active="failed")), ["restart_unit"]),
        (False, FINISHED, ["stop_unit", "disable_unit", "delete_unit", "watch_program"]),
        (False, NOTHING, []),
    ],
)
def test_the_steps_to_a_watcher(wanted: bool, found: Watch, expected: list[str]) -> None:
    assert actions(wanted, found) == expected
    assert bool(plan_watch(wanted, found).after) is bool(expected)


def test_a_change_of_the_watcher_is_taken_back_in_the_order_that_starts_the_old_one() -> None:
    plan = plan_watch(True, replace(FINISHED, program=OTHER_PROGRAM))
    assert [step.action for step in plan.inverse] == ["stop_unit", "watch_program", "restart_unit"]
    assert plan.inverse[1].args["files"] == OTHER_PROGRAM


def test_what_it_leaves_alone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "left_alone.json"
    monkeypatch.setattr(watcher_unit, "LEFT_ALONE", str(told))
    assert (watcher_unit.devices_left_alone(), watcher_unit.rules_left_alone()) == ([], [])
    entries = [
        {"subject": "tun1001", "what": "the MTU 9000", "by": "nmcli (process 7)"},
        {"subject": "firewall", "what": "rules", "by": "the program nft"},
    ]
    told.write_text(json.dumps(entries), encoding="utf-8")
    assert watcher_unit.devices_left_alone() == [
        {"device": "tun1001", "what": "the MTU 9000", "by": "nmcli (process 7)"}
    ]
    assert watcher_unit.rules_left_alone() == ["the program nft"]
