# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the bench runs programs, keeps others of its kind away, and writes files; whatever fails is one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))
# A name without a file: the kernel frees it with the process, however that ends.
LOCK = "\0overssh-bench"
END_SECONDS = 60


class BenchError(Exception):
    """Why there is no figure, in one sentence."""


def say(words: str) -> None:
    """One line of progress."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One bench at a time on a machine: a second one would take away its labs and spoil its figures."""
    with socket.socket(socket.AF_UNIX) as held:
        try:
            held.bind(LOCK)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise BenchError("another bench runs on this machine: wait for it to end") from error
        yield


def run(
    argv: Sequence[str],
    seconds: float,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    data: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with more environment; what interrupts the bench ends all that the program started."""
    try:
        with subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as program:
            try:
                out, err = program.communicate(data, seconds)
            except BaseException:
                _end(program)
                raise
    except FileNotFoundError as error:
        raise BenchError(f"{argv[0]} is not installed here") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"`{' '.join(argv[:4])} …` did not end within {seconds:.0f} s") from error
    return subprocess.CompletedProcess(argv, program.returncode, out, err)


def _end(program: subprocess.Popen[str]) -> None:
    """End a program and what it started; one that clears up gets the time for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGTERM)
        try:
            program.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)


def put(path: Path, text: str) -> None:
    """Replace a file in one go, so that a full disk leaves the old one."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise BenchError(f"{path} can't be written: {error.strerror}") from error
