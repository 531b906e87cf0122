# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints: files come back as they were unless somebody confirms; systemd alone is played by a test."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint import checkpoint
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint.checkpoint import Checkpoint, Desired, Proof
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint.engine import (
    CheckpointEngine,
    Observed,
    plan_checkpoint,
)
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint.info import info
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import carry_through
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._linux import systemd as linux_systemd
from ansible_collections.overssh.swarm.plugins.module_utils._linux import way_in
from ansible_collections.overssh.swarm.plugins.module_utils._linux.systemd import Systemd
from ansible_collections.overssh.swarm.plugins.module_utils._linux.way_in import Way


class Host:
    """systemd as far as a checkpoint needs it: a started service runs its script, which has a systemctl, too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.file = folder / "sshd_config"
        self.file.write_text("before\n")
        self.file.chmod(0o640)
        (folder / "bin").mkdir()
        (folder / "bin" / "systemctl").write_text('#!/bin/sh\necho "$@" >>"$0.calls"\n')
        (folder / "bin" / "systemctl").chmod(0o755)

    def __call__(self, argv: Sequence[str], data: str | None = None, check: bool = True) -> Answer:
        words = [word for word in argv[1:] if not word.startswith("--")]
        self.calls.append(" ".join(words))
        if words[0] == "start" and words[1].endswith(".service"):
            self.run_off(words[1].removeprefix("overssh-checkpoint-").removesuffix(".service"))
        return Answer(0, f"Id={words[1] if len(words) > 1 else ''}\nActiveState={self.answers()}\n", "")

    def answers(self) -> str:
        """The state of each of its units."""
        return "inactive"

    def run_off(self, name: str = "sshd") -> None:
        """What the timer does once its time is over."""
        script = f"{checkpoint.FOLDER}/{name}/rollback"
        subprocess.run(["sh", script], check=True, env={"PATH": f"{self.folder}/bin:/usr/bin:/bin"})

    def told(self) -> list[str]:
        """What the script had systemctl do."""
        return (self.folder / "bin" / "systemctl.calls").read_text().splitlines()

    def left(self) -> list[str]:
        """What there is of checkpoints."""
        return [path.name for name in ("units", "var") for path in (self.folder / name).rglob("*") if path.is_file()]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    (tmp_path / "units").mkdir()
    monkeypatch.setattr(linux_systemd, "UNIT_FOLDER", str(tmp_path / "units"))
    monkeypatch.setattr(checkpoint, "FOLDER", str(tmp_path / "var" / "overssh" / "checkpoint"))
    monkeypatch.setattr(way_in, "found", lambda: Way(way_in.now() + 1, connected=True))
    return Host(tmp_path)


def bring(host: Host, state: str, *, force: bool = False, **desired: object) -> dict[str, object]:
    """What the module does, and returns."""
    engine = CheckpointEngine(Systemd(host), "sshd", state, Desired(**desired), force)
    try:
        plan = engine.plan(engine.observe())
        observed = carry_through(engine, plan) if plan.changed else engine.observe()
        return {"changed": plan.changed, "steps": plan.labels, **engine.result(observed)}
    finally:
        engine.close()


def created(host: Host, *more: Path) -> dict[str, object]:
    return bring(host, "created", files=(str(host.file), *map(str, more)), reload=("ssh.service",), seconds=30)


def test_a_file_comes_back_as_it_was_and_its_unit_reads_it(host: Host) -> None:
    before = host.file.stat()
    answer = created(host)
    assert (answer["changed"], answer["pending"]) == (True, True)
    assert answer["steps"] == [f"have {host.file} put back in 30 s unless it is confirmed"]
    host.file.write_text("after\n")
    host.file.chmod(0o600)
    host.run_off()
    assert host.file.read_text() == "before\n"
    assert stat.S_IMODE(host.file.stat().st_mode) == 0o640
    assert (host.file.stat().st_uid, host.file.stat().st_mtime_ns) == (before.st_uid, before.st_mtime_ns)
    assert host.told() == ["--no-block try-reload-or-restart ssh.service", "daemon-reload"]


def test_a_file_that_was_not_there_goes_again(host: Host) -> None:
    new = host.folder / "new.conf"
    created(host, new)
    new.write_text("new\n")
    host.run_off()
    assert not new.exists()


def test_nobody_else_may_read_the_copy(host: Host) -> None:
    created(host)
    folder = Path(checkpoint.FOLDER) / "sshd" / "files"
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in (folder, folder / "0")] == [0o700, 0o640]


def test_it_waits_on_the_host_for_its_time_and_the_next_boot(host: Host) -> None:
    created(host)
    assert host.calls[-3:] == [
        "enable overssh-checkpoint-sshd.service",
        "daemon-reload",
        "restart overssh-checkpoint-sshd.timer",
    ]
    assert "OnActiveSec=30\n" in (host.folder / "units" / "overssh-checkpoint-sshd.timer").read_text()
    (found,) = info()
    assert (found["name"], found["pending"], 25 <= found["seconds"] <= 30) == ("sshd", True, True)


def test_what_is_confirmed_stays_and_leaves_nothing(host: Host) -> None:
    created(host)
    host.file.write_text("after\n")
    answer = bring(host, "confirmed")
    assert (answer["changed"], answer["pending"]) == (True, False)
    assert host.file.read_text() == "after\n"
    assert "stop overssh-checkpoint-sshd.timer" in host.calls
    assert host.left() == []
    assert not bring(host, "confirmed")["changed"]


def test_what_was_rolled_back_before_is_an_error_once(host: Host) -> None:
    created(host)
    host.run_off()
    assert info() == [{"name": "sshd", "pending": False, "seconds": 0}]
    with pytest.raises(OversshError, match=r"the change sshd was rolled back at \d\d:\d\d:\d\d \(UTC\)"):
        bring(host, "confirmed")
    assert host.left() == []
    assert not bring(host, "confirmed")["changed"]


def test_check_mode_tells_so_too_and_forgets_nothing(host: Host) -> None:
    created(host)
    host.run_off()
    left = host.left()
    engine = CheckpointEngine(Systemd(host), "sshd", "confirmed", Desired(), check=True)
    with pytest.raises(OversshError, match="was rolled back at"):
        engine.plan(engine.observe())
    engine.close()
    assert host.left() == left != []


def test_an_old_connection_confirms_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    created(host)
    monkeypatch.setattr(way_in, "found", lambda: Way(0.0, connected=True))
    with pytest.raises(OversshError, match="by a connection that had begun") as told:
        bring(host, "confirmed")
    assert told.value.answer == {"unproved": True}
    assert info()[0]["pending"]
    assert bring(host, "confirmed", force=True)["changed"]
    assert host.left() == []


def test_a_second_one_of_its_name_waits_for_the_first(host: Host) -> None:
    created(host)
    with pytest.raises(OversshError, match="the change sshd before this one is not confirmed yet"):
        created(host)
    bring(host, "absent")
    created(host)


def test_one_that_was_rolled_back_makes_room(host: Host) -> None:
    created(host)
    host.run_off()
    host.file.write_text("later\n")
    created(host)
    host.file.write_text("after\n")
    host.run_off()
    assert host.file.read_text() == "later\n"


def test_it_is_rolled_back_at_once_or_forgotten(host: Host) -> None:
    for state, text in (("rolled_back", "before\n"), ("absent", "after\n")):
        created(host)
        host.file.write_text("after\n")
        assert bring(host, state)["changed"]
        assert (host.file.read_text(), host.left()) == (text, [])
        assert not bring(host, state)["changed"]


def test_a_change_that_another_module_keeps_is_handed_on_and_not_confirmed_yet(host: Host) -> None:
    systemd, commit = Systemd(host), {"rules": [{"name": "x"}], "confirm": "manual"}
    checkpoint.create(systemd, "sshd", "true", 30, commit)
    answer = bring(host, "confirmed")
    assert (answer["changed"], answer["pending"], answer["commit"]) == (True, True, commit)
    # What keeps it comes by the same connection or another, and need not prove it again.
    checkpoint.confirm(systemd, "sshd")
    assert host.left() == []


def test_a_proof_is_of_one_change(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.create(Systemd(host), "sshd", "true", 30)
    checkpoint.prove("sshd")
    monkeypatch.setattr(way_in, "found", lambda: None)
    checkpoint.require_proof("sshd")
    checkpoint.changed("sshd")
    with pytest.raises(OversshError, match="by no connection that the host can see"):
        checkpoint.require_proof("sshd")


def test_one_that_has_little_time_left_gets_more(host: Host) -> None:
    systemd = Systemd(host)
    checkpoint.create(systemd, "sshd", "true", 30)
    checkpoint.prolong(systemd, "sshd", enough=20, seconds=120)
    assert info()[0]["seconds"] <= 30
    checkpoint.prolong(systemd, "sshd", enough=40, seconds=120)
    assert 115 <= info()[0]["seconds"] <= 120


def test_nothing_is_left_of_one_that_systemd_does_not_take(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_self: Systemd, unit: str) -> None:
        raise OversshError(f"can't start {unit}")

    monkeypatch.setattr(Systemd, "restart", refused)
    with pytest.raises(OversshError, match=r"can't start overssh-checkpoint-sshd\.timer"):
        created(host)
    assert host.left() == []


@pytest.mark.parametrize(
    ("name", "seconds", "words"),
    [
        ("Sshd", 60, "'Sshd' can't name a checkpoint: use small letters, digits and -, up to 31 of them"),
        ("../x", 60, "'../x' can't name a checkpoint"),
        ("sshd", 4, "a checkpoint waits for 5 to 86400 seconds, not for 4"),
        ("sshd", 86401, "a checkpoint waits for 5 to 86400 seconds, not for 86401"),
    ],
)
def test_what_can_not_be_one_is_told(host: Host, name: str, seconds: int, words: str) -> None:
    with pytest.raises(OversshError, match=re.escape(words)):
        CheckpointEngine(Systemd(host), name, "created", Desired(seconds=seconds))


WAITS, GONE = Checkpoint("sshd", 1e9, None), Checkpoint("sshd", 1e9, 1e9)


@pytest.mark.parametrize(
    ("state", "found", "label", "before", "after"),
    [
        ("created", None, "have /x put back in 60 s unless it is confirmed", "absent", "pending"),
        ("confirmed", WAITS, "have the change sshd stay", "pending", "absent"),
        ("rolled_back", WAITS, "roll back the change sshd", "pending", "absent"),
        ("rolled_back", GONE, "forget the change sshd", "rolled back", "absent"),
        ("absent", WAITS, "forget the change sshd", "pending", "absent"),
    ],
)
def test_plan_and_diff(state: str, found: Checkpoint | None, label: str, before: str, after: str) -> None:
    plan = plan_checkpoint("sshd", state, Desired(("/x",)), Observed(found))
    assert plan.labels == [label]
    assert (plan.before["sshd"]["state"], plan.after["sshd"]["state"]) == (before, after)
    shown = {"absent": "", "pending": "sshd: state pending", "rolled back": "sshd: state rolled back"}
    assert plan.diff()["before"].startswith(shown[before])
    assert plan.diff()["after"].startswith(shown[after])
    assert plan.diff()["before"] != plan.diff()["after"]


@pytest.mark.parametrize(
    ("state", "observed", "words"),
    [
        ("created", Observed(WAITS), "the change sshd before this one is not confirmed yet, and is rolled back at"),
        (
            "created",
            Observed(None, unkept={"/etc": "[Errno 21] Is a directory: '/etc'"}),
            "can't keep a copy of /etc: ",
        ),
        ("confirmed", Observed(GONE), "the change sshd was rolled back at"),
        ("confirmed", Observed(WAITS, proof=Proof(9.0, None)), "by no connection that the host can see"),
        (
            "confirmed",
            Observed(WAITS, proof=Proof(9.0, Way(4.0, connected=True))),
            "that had begun 5 s before the change",
        ),
    ],
)
def test_what_will_be_refused_stands_in_the_plan(state: str, observed: Observed, words: str) -> None:
    with pytest.raises(OversshError, match=re.escape(words)):
        plan_checkpoint("sshd", state, Desired(("/etc",)), observed)


def test_what_is_proved_is_confirmed() -> None:
    for proof in (Proof(given=True), Proof(9.0, Way(10.0, connected=True))):
        assert plan_checkpoint("sshd", "confirmed", Desired(), Observed(WAITS, proof=proof)).changed


def test_to_observe_changes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a look while a rollback runs, which it waits for."""
    created(host)
    states = ["activating", "activating", "inactive"]
    monkeypatch.setattr(host, "answers", lambda: states.pop(0))
    host.calls.clear()
    engine = CheckpointEngine(Systemd(host), "sshd", "confirmed", Desired())
    left = {path: path.stat().st_mtime_ns for path in host.folder.rglob("*")}
    assert engine.observe().found is not None
    assert {path: path.stat().st_mtime_ns for path in host.folder.rglob("*")} == left
    assert {call.split()[0] for call in host.calls} == {"show"}
    assert states == []


def test_a_folder_can_not_be_put_back(host: Host) -> None:
    """Known before anything of the checkpoint is there."""
    with pytest.raises(OversshError) as told:
        bring(host, "created", files=(str(host.folder),))
    assert str(told.value) == f"can't keep a copy of {host.folder}: [Errno 21] Is a directory: '{host.folder}'"
    assert host.left() == []


@pytest.mark.parametrize("state", ["confirmed", "rolled_back", "absent"])
def test_where_there_is_none_nothing_is_done(state: str) -> None:
    assert not plan_checkpoint("sshd", state, Desired(), Observed(None)).changed
