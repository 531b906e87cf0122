# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One job of the suite: its output goes to a file, its progress to the terminal, its figures to reports/suite."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import processor
from .progress import Event, counts, event
from .turns import HELD, turn

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "reports" / "suite"
LOCKS = ROOT / "build" / "locks"
# Lines of a failed job that are shown; the whole is in its log.
SHOWN = 2000


class SuiteError(Exception):
    """One sentence: what is in the way, and what to do."""


@contextlib.contextmanager
def only_one(name: str) -> Iterator[None]:
    """One that is at work in this checkout already would find its lab taken from under it by another one."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    with (LOCKS / f"{name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SuiteError(f"another run is at work on {name} in this checkout: wait for it to end") from error
        yield


class Job:
    """Follows one command."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun = processor.now()
        self._step: tuple[str, processor.Moment] | None = None
        self._steps: list[dict[str, Any]] = []
        self._words = ""
        self._tests = {"passed": 0, "failed": 0, "skipped": 0}
        self._not_run: list[str] = []

    def take(self, found: Event) -> None:
        """An event of its output."""
        if found.kind == "begins":
            self._step, self._words = (found.name, processor.now()), ""
        elif found.kind == "note":
            sys.stdout.write(f"{self._name:18} {found.words}\n")
            sys.stdout.flush()
        elif found.kind == "not run":
            self._not_run.append(found.words)
            self._words = f"not run: {found.words}"
        elif found.kind == "tests":
            self._words = found.words
            for outcome, number in counts(found.words).items():
                self._tests[outcome] += number
        elif self._step is not None:
            figures = processor.between(self._step[1], processor.now())
            self._steps.append({"name": found.name, "outcome": found.words, **figures})
            self._say(" ".join(word for word in (found.name, self._words or found.words) if word), figures)
            self._step = None

    def result(self, status: int) -> dict[str, Any]:
        """All figures, as they are kept."""
        figures = processor.between(self._begun, processor.now())
        self._say(self._words or "done" if status == 0 else f"FAILED with status {status}", figures)
        kept = {"tests": self._tests, "steps": self._steps, "not_run": self._not_run}
        return {"name": self._name, "status": status, **figures, **kept}

    def _say(self, words: str, figures: dict[str, float]) -> None:
        sys.stdout.write(f"{self._name:18} {words} ({figures['seconds']:.0f} s, {figures['idle']:.0%} idle)\n")
        sys.stdout.flush()


def run(name: str, command: Sequence[str], alongside: bool = False) -> int:
    """The command's exit status. alongside: nothing that wants to be alone runs meanwhile, from beginning to end."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with only_one(name):
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with contextlib.ExitStack() as stack:
            if alongside:
                stack.enter_context(turn(alone=False))
                environment[HELD] = "1"
            return _follow(name, command, environment)


def run_all(command: Sequence[str]) -> int:
    """The exit status of a command that runs jobs; what the last such command left is gone."""
    with only_one("the tests"):
        shutil.rmtree(FOLDER, ignore_errors=True)
        return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode


def _follow(name: str, command: Sequence[str], environment: dict[str, str]) -> int:
    log, job = FOLDER / f"{name}.log", Job(name)
    sys.stdout.write(f"{name:18} begins; its output goes to {log.relative_to(ROOT)}\n")
    sys.stdout.flush()
    with log.open("w", encoding="utf-8") as kept:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        # Whoever interrupts us has interrupted the command too, and its end is waited for.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _frame: process.send_signal(received))
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            kept.flush()
            if (found := event(line)) is not None:
                job.take(found)
        status = process.wait()
    (FOLDER / f"{name}.json").write_text(json.dumps(job.result(status), indent=1) + "\n", encoding="utf-8")
    if status:
        _show(name, log)
    return status


def _show(name: str, log: Path) -> None:
    lines = log.read_text(encoding="utf-8").splitlines()
    left_out = f" (the last {SHOWN} lines of it; the whole is {log})" if len(lines) > SHOWN else ""
    shown = "\n".join(lines[-SHOWN:])
    # In one piece, as other jobs write too.
    sys.stdout.write(f"== what {name} printed{left_out} ==\n{shown}\n== end of what {name} printed ==\n")
    sys.stdout.flush()
