# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has devices and firewall rules of ours put back soon after somebody else has changed them; one process for a host.

It sleeps until the kernel tells of a change. Whoever undoes the same thing again and again is named, and has his way
for a while. A module of ours holds the lock while it works, so its own changes are over when this looks.

On a host it is a program with nothing but the standard library.
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
    """A kind of things that are watched."""

    kernel: Kernel

    @property
    def waits(self) -> bool:
        """Whether any of them is to be looked after."""

    @property
    def failed(self) -> bool:
        """Whether one could not be put back."""

    def everything(self) -> None:
        """All of them are to be looked after."""

    def take(self) -> None:
        """What the kernel tells has come: note whom it is about."""

    def look(self) -> None:
        """Put back what is missing of those that wait."""


def main(units: str, runtime: str, rules: str) -> None:
    """Look once, then after each change.

    units: the folder of units, which is the lock as well; runtime: for what is told meanwhile; rules: the folder of the
    firewall rules.
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
    """Put back what is missing, one run at a time on this host."""
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
    """Wait for a change of ours, and for what follows at once; pause: in seconds, then everything is looked after."""
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
