# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""By which way the command that runs now reached this host, and since when that way has been open.

What the controller believes of its connection does not count: a wrapper around ssh, a jump host or a multiplexer may
keep one open that the controller takes for closed. This host's own processes show it: between this one and the system's
first one stands the server that holds the connection, and it has run since the connection began.
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
    """This process, or one above it. since: seconds since the boot.

    inbound: whether it holds a TCP connection to a port that this host listens on.
    """

    pid: int
    parent: int
    since: float
    inbound: bool = False


@dataclass(frozen=True)
class Way:
    """since: seconds since the boot; connected: over the network, or else put into this container from outside."""

    since: float
    connected: bool


def way_in(processes: Sequence[Above]) -> Way | None:
    """The way that these show, from this process outwards; None where they show none; pure.

    The outermost one that holds a connection counts: what a login started may have connections of its own. Servers that
    carry all their clients in one process are no younger than the first of them, and so prove nothing.
    """
    for process in reversed(processes):
        if process.inbound:
            return Way(process.since, connected=True)
    if processes and processes[-1].parent == OUTSIDE and processes[-1].pid != 1:
        return Way(processes[-1].since, connected=False)
    return None


def found() -> Way | None:
    """The way by which this very run came."""
    return way_in(list(_above(os.getpid())))


def now() -> float:
    """Seconds since the boot, on the clock that processes' ages are told by."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _above(pid: int) -> Iterator[Above]:
    for process in proc.above(pid):
        yield Above(process.pid, process.parent, process.since, bool(proc.held(process.pid).inbound))
