# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the lab runs programs, waits, and says what it does."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


class LabError(Exception):
    """One sentence for the user: what is wrong, where, and what to do."""


def last_line(text: str) -> str:
    """The line in which most programs name their reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def run(
    *command: str, stdin: bytes | None = None, timeout: float = 120, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end; a failure that `check` asks about becomes a sentence with the program's own words."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is not installed here") from error
    except subprocess.TimeoutExpired as error:
        if check:
            raise LabError(f"`{' '.join(command[:4])} …` gave no answer in {timeout:.0f} s") from error
        return subprocess.CompletedProcess(command, 124, b"", b"no answer in time")
    if check and done.returncode:
        reason = last_line(done.stderr.decode(errors="replace"))
        raise LabError(f"`{' '.join(command[:4])} …` failed: {reason}")
    return done


def pipe(source: Sequence[str], sink: Sequence[str], timeout: float = 300) -> None:
    """Run two programs, the second of which reads what the first prints; both must succeed."""
    with subprocess.Popen(source, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as writer:
        try:
            done = subprocess.run(sink, stdin=writer.stdout, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            writer.kill()
            raise LabError(f"`{' '.join(sink[:4])} …` did not end in {timeout:.0f} s") from error
        if writer.stdout is not None:
            writer.stdout.close()
    if done.returncode or writer.returncode:
        raise LabError(f"`{' '.join(sink[:4])} …` failed: {last_line(done.stderr.decode(errors='replace'))}")


def output(*command: str, timeout: float = 120) -> str:
    """What a program that must succeed prints."""
    return run(*command, timeout=timeout).stdout.decode().strip()


def wait_until(what: str, probe: Callable[[], str | None], seconds: float, stop: threading.Event | None = None) -> None:
    """Ask `probe` until it has nothing to complain about; its last complaint is the error after `seconds`."""
    deadline = time.monotonic() + seconds
    while (missing := probe()) is not None:
        if stop is not None and stop.is_set():
            raise LabError(f"{what}: interrupted")
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not ready after {seconds:.0f} s: {missing}")
        time.sleep(0.2)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what is being done, and when it is done the seconds it took."""
    print(f"lab: {what} ", end="", flush=True)
    start = time.monotonic()
    try:
        yield
    except BaseException:
        print("- not done", flush=True)
        raise
    print(f"({time.monotonic() - start:.1f} s)", flush=True)


def say(what: str) -> None:
    """Print one line of progress that takes no time."""
    print(f"lab: {what}", flush=True)


def complain(what: str) -> None:
    """Print one line for the user's attention."""
    print(f"lab: {what}", file=sys.stderr, flush=True)


def joined(words: Sequence[str]) -> str:
    """A list as a person writes it."""
    return ", ".join(words) if words else "none"
