# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd is asked and told about units of ours, and how often it reads its files for that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer
from ansible_collections.overssh.swarm.plugins.module_utils._linux import systemd as linux_systemd
from ansible_collections.overssh.swarm.plugins.module_utils._linux.systemd import Systemd, program_word

from tests.unit.plugins.module_utils._linux.unit_programs import programs_of

TWO = """\
Id=overssh-tun1.service
ActiveState=active
UnitFileState=enabled
MainPID=7

Id=overssh-tun2.service
ActiveState=inactive
UnitFileState=
MainPID=0
"""


class Told:
    """Takes down what systemctl was told."""

    def __init__(self, answer: str = "") -> None:
        self.calls: list[str] = []
        self._answer = answer

    def __call__(self, argv: Sequence[str], data: str | None = None, check: bool = True) -> Answer:
        self.calls.append(" ".join(word for word in argv[1:] if not word.startswith("--")))
        return Answer(0, self._answer, "")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(linux_systemd, "UNIT_FOLDER", str(tmp_path))
    return tmp_path


def test_several_units_are_asked_for_at_once(folder: Path) -> None:
    (folder / "overssh-tun1.service").write_text("text")
    told = Told(TWO)
    one, two, three = Systemd(told).observe_all(
        ["overssh-tun1.service", "overssh-tun2.service", "overssh-tun3.service"]
    )
    assert (one.text, one.enabled, one.active, one.main_pid) == ("text", True, "active", 7)
    assert (two.text, two.enabled, two.active) == (None, False, "inactive")
    assert (three.text, three.enabled, three.active) == (None, False, "inactive")
    assert len(told.calls) == 1


def test_new_units_are_read_once_before_the_first_is_started() -> None:
    told = Told()
    systemd = Systemd(told)
    for unit in ("a.service", "b.service"):
        systemd.write(unit, "text")
    for unit in ("a.service", "b.service"):
        systemd.enable(unit)
    for unit in ("a.service", "b.service"):
        systemd.restart(unit)
    assert told.calls == [
        "enable a.service",
        "enable b.service",
        "daemon-reload",
        "restart a.service",
        "restart b.service",
    ]


def test_a_unit_that_was_there_is_read_at_once_as_nothing_may_follow(folder: Path) -> None:
    (folder / "a.service").write_text("old")
    told = Told()
    Systemd(told).write("a.service", "new")
    assert told.calls == ["daemon-reload"]


def test_a_unit_that_goes_is_forgotten_at_once(folder: Path) -> None:
    (folder / "a.service").write_text("old")
    told = Told()
    Systemd(told).delete("a.service")
    assert told.calls == ["daemon-reload", "reset-failed a.service"]


def test_several_units_go_with_one_reading(folder: Path) -> None:
    units = ["a.service", "a.timer"]
    for unit in units:
        (folder / unit).write_text("old")
    told = Told()
    Systemd(told).remove(units)
    assert told.calls == ["disable a.service a.timer", "daemon-reload", "reset-failed a.service a.timer"]
    assert list(folder.iterdir()) == []


def test_a_program_in_a_unit_reaches_the_shell_as_it_is_but_for_comments() -> None:
    program = '# a comment\ncase "$1" in\n    # another\n    a | \\\n    b) printf "%s\\n" $((7 % 4)) $$ ;;\nesac\n'
    ((directive, found),) = programs_of(f"[Service]\nExecStart=/bin/sh -c {program_word(program)} sh cloud1\n")
    assert directive == "ExecStart"
    kept = [line for line in program.splitlines() if "#" not in line]
    assert [line.removeprefix(" ") for line in found.strip().split("\n")] == kept


def test_no_line_of_a_program_in_a_unit_is_taken_for_a_comment_or_ends_its_word() -> None:
    assert not any(line.lstrip().startswith("#") for line in program_word("# one\ntrue\n").splitlines())
    with pytest.raises(ValueError, match="no single quote"):
        program_word("echo 'x'")
