# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher: restores our devices and firewall rules soon after others have changed them; one process for a host.

The watcher sleeps until the kernel reports a change. A program that undoes the same thing again and again is named in
the journal, and has its way for a while. A module of ours holds the lock while it works, so its own changes are
complete when the watcher looks.

On a host this is a program that needs nothing but the standard library.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import time
from collections.abc import Sequence
from typing import Protocol

from .._core.errors import OversshError
from .devices import Devices
from .fights import Fights
from .host import run, say
from .kernel import Kernel
from .rules import Rules

# What belongs together comes within this time, and is waited for so long at most, in seconds.
QUIET, LONGEST = 0.3, 1.0
# What could not be put back is tried again after this time, in seconds.
AGAIN = 2.0


class Subject(Protocol):
    """One kind of watched things."""

    kernel: Kernel

    @property
    def waits(self) -> bool:
        """Whether a thing has to be checked."""

    @property
    def failed(self) -> bool:
        """Whether a thing could not be restored."""

    def everything(self) -> None:
        """Check all things next."""

    def take(self) -> None:
        """Read the kernel's messages, and note which things they are about."""

    def look(self) -> None:
        """Restore what is missing of the things to check."""


def main(units: str, runtime: str, rules: str) -> None:
    """Check everything once, then after each change.

    units: the folder of units, which is also the lock; runtime: the folder for the file of things left alone; rules:
    the folder of the firewall rules.
    """
    fights = Fights(f"{runtime}/left_alone.json")
    subjects = (Devices(units, fights, run), Rules(rules, fights, run))
    poll = select.poll()
    for subject in subjects:
        poll.register(subject.kernel.socket, select.POLLIN)
    while True:
        look([subject for subject in subjects if subject.waits], units)
        gather(subjects, poll, AGAIN if any(subject.failed for subject in subjects) else fights.pause(time.monotonic()))


def look(subjects: Sequence[Subject], lock: str) -> None:
    """Restore what is missing, while holding the host's lock."""
    folder = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        for subject in subjects:
            try:
                subject.look()
            except (OversshError, OSError, ValueError, subprocess.SubprocessError) as error:
                say(f"could not look after all {type(subject).__name__.lower()}: {error}")
    finally:
        os.close(folder)


def gather(subjects: Sequence[Subject], poll: select.poll, pause: float | None) -> None:
    """Wait for a change of ours, and for the changes right after it; after pause seconds everything is checked."""
    due = None if pause is None else time.monotonic() + pause
    while not any(subject.waits for subject in subjects):
        rest = None if due is None else max(0.0, due - time.monotonic())
        if rest == 0 or not poll.poll(None if rest is None else rest * 1000):
            for subject in subjects:
                subject.everything()
            return
        for subject in subjects:
            subject.take()
    deadline = time.monotonic() + LONGEST
    while (rest := min(QUIET, deadline - time.monotonic())) > 0 and poll.poll(rest * 1000):
        for subject in subjects:
            subject.take()
