# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection by which the running command reached this host, and the time since when it has been open.

The controller's own view does not count: a wrapper around ssh, a jump host or a multiplexer may keep a connection open
that the controller takes for closed. The host's processes show the truth. The server that holds the connection stands
between this process and the system's first one, and it has run since the connection began.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import proc

# What a namespace shows as the parent of a process that was put into it from outside.
OUTSIDE = 0


@dataclass(frozen=True)
class Above:
    """This process, or a parent of it. since: its start in seconds since the boot.

    inbound: whether the process holds a TCP connection to a listening port of this host.
    """

    pid: int
    parent: int
    since: float
    inbound: bool = False


@dataclass(frozen=True)
class Way:
    """A connection; since: its start in seconds since the boot.

    connected: over the network; False where the command was put into this container from outside.
    """

    since: float
    connected: bool


def way_in(processes: Sequence[Above]) -> Way | None:
    """The connection that these processes show, from this one outwards; None where they show none; pure.

    The outermost process with a connection counts: programs below a login may have connections of their own. A server
    that carries all its clients in one process is no younger than the first of them, so it proves nothing.
    """
    for process in reversed(processes):
        if process.inbound:
            return Way(process.since, connected=True)
    if processes and processes[-1].parent == OUTSIDE and processes[-1].pid != 1:
        return Way(processes[-1].since, connected=False)
    return None


def found() -> Way | None:
    """The connection of this run."""
    return way_in(list(_above(os.getpid())))


def now() -> float:
    """Seconds since the boot, on the clock of the processes' start times."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _above(pid: int) -> Iterator[Above]:
    for process in proc.above(pid):
        yield Above(process.pid, process.parent, process.since, bool(proc.held(process.pid).inbound))
