# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans, how they are applied and taken back; and waiting."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer, CommandError, checked
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.files import read_text, remove, write_text
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import Plan, Step, apply, undo
from ansible_collections.overssh.swarm.plugins.module_utils._core.wait import WaitError, wait_until


def step(name: str, invertible: bool = True) -> Step:
    return Step(name, f"do {name}", inverse=Step(f"un{name}", f"undo {name}") if invertible else None)


class Host:
    """Remembers what was done; refuses what it is told to refuse."""

    def __init__(self, *refused: str) -> None:
        self.done: list[str] = []
        self._refused = refused

    def perform(self, each: Step) -> None:
        if each.action in self._refused:
            raise OversshError(f"{each.action} is refused")
        self.done.append(each.action)


def test_steps_are_done_in_order() -> None:
    host = Host()
    apply(Plan({}, {}, (step("a"), step("b"))), host.perform)
    assert host.done == ["a", "b"]


def test_a_step_that_fails_takes_back_those_before_it_last_one_first() -> None:
    host = Host("c")
    with pytest.raises(OversshError, match=r"could not do c: c is refused \(everything done before was rolled back\)"):
        apply(Plan({}, {}, (step("a"), step("b"), step("c"))), host.perform)
    assert host.done == ["a", "b", "unb", "una"]


def test_what_can_not_be_taken_back_is_said() -> None:
    host = Host("b", "una")
    with pytest.raises(OversshError, match=r"\(left behind: could not undo a: una is refused\)"):
        apply(Plan({}, {}, (step("a"), step("b"))), host.perform)


def test_steps_without_an_inverse_are_passed_over() -> None:
    host = Host()
    assert undo([step("a"), step("b", invertible=False)], host.perform) == " (everything done before was rolled back)"
    assert host.done == ["una"]


def test_a_plan_without_steps_changes_nothing() -> None:
    assert not Plan({"x": 1}, {"x": 1}).changed
    assert Plan({"x": 1}, {"x": 2}, (step("a"),)).diff() == {"before": "x: 1\n", "after": "x: 2\n"}


def test_waiting_ends_when_the_condition_holds() -> None:
    answers = iter([None, None, "there"])
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert wait_until(lambda: next(answers), 5, "it", clock=lambda: now[0], sleep=sleep) == "there"
    assert now[0] == pytest.approx(0.4)


def test_waiting_ends_at_its_deadline_after_a_last_look() -> None:
    now = [0.0]
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def look() -> bool:
        looks.append(now[0])
        return False

    with pytest.raises(WaitError, match="the tunnel did not happen within 1 s"):
        wait_until(look, 1, "the tunnel", pause=0.4, clock=lambda: now[0], sleep=sleep)
    assert looks == pytest.approx([0, 0.4, 0.8, 1.0])


def test_files_are_replaced_whole_with_their_mode(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "file")
    assert read_text(path) is None
    write_text(path, "one\n")
    write_text(path, "two\n", mode=0o600)
    assert read_text(path) == "two\n"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(os.path.dirname(path)) == ["file"]
    remove(path)
    remove(path)
    assert read_text(path) is None


def test_a_file_that_can_not_be_written_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OversshError, match="can't write"):
        write_text(str(tmp_path / "file"), "text")
    assert os.listdir(tmp_path) == ["file"]


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(CommandError, match=r"nft -f x: bad rule / line 1"):
        checked(Answer(1, "", "bad rule\nline 1\n"), ["nft", "-f", "x"], check=True)
    assert checked(Answer(1, "", "bad"), ["nft"], check=False).rc == 1
