# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the host's processes and their TCP sockets from /proc.

Sources: proc(5) for the fields of stat; the kernel's Documentation/networking/proc_net_tcp.rst for those of net/tcp.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from .._core.errors import OversshError
from .._core.files import read_text

ESTABLISHED, LISTENING = "01", "0A"
# The kernel's name for what runs since the last boot.
BOOT_ID = "/proc/sys/kernel/random/boot_id"
# In /proc/PID/stat, counted from what follows the name.
PARENT, STARTED = 1, 19


@dataclass(frozen=True)
class Process:
    """A process; since: its start in seconds since the boot."""

    pid: int
    name: str
    parent: int
    since: float


@dataclass(frozen=True)
class Sockets:
    """TCP sockets by number: listening ones, and connections to a listening port."""

    listening: frozenset[str]
    inbound: frozenset[str]


def process(pid: int) -> Process | None:
    """The process of that number, None where it has ended."""
    try:
        # The name stands in parentheses, and may have spaces and parentheses itself.
        before, _last, after = (read_text(f"/proc/{pid}/stat") or "").rpartition(")")
        fields = after.split()
        since = int(fields[STARTED]) / os.sysconf("SC_CLK_TCK")
        return Process(pid, before.partition("(")[2], int(fields[PARENT]), since)
    except (OversshError, ValueError, IndexError):
        return None


def above(pid: int) -> Iterator[Process]:
    """The process and its parents, up to but not including the system's first process."""
    while pid > 1:
        found = process(pid)
        if found is None:
            return
        yield found
        pid = found.parent


def processes() -> Iterator[Process]:
    """All processes of the host."""
    for entry in os.listdir("/proc"):
        found = process(int(entry)) if entry.isdecimal() else None
        if found is not None:
            yield found


def held(pid: int) -> Sockets:
    """The TCP sockets that a process holds; none where it ends meanwhile."""
    mine = socket_numbers(pid)
    if not mine:  # the tables of a busy host are long
        return Sockets(frozenset(), frozenset())
    try:
        there = sockets("\n".join(read_text(f"/proc/{pid}/net/{name}") or "" for name in ("tcp", "tcp6")))
    except OversshError:
        return Sockets(frozenset(), frozenset())
    return Sockets(there.listening & mine, there.inbound & mine)


def sockets(tables: str) -> Sockets:
    """The TCP sockets in the kernel's tables of a network; pure."""
    rows = [row.split() for row in tables.splitlines()]
    entries = [(row[1].rpartition(":")[2], row[3], row[9]) for row in rows if len(row) > 9 and row[0] != "sl"]
    ports = {port for port, state, _number in entries if state == LISTENING}
    return Sockets(
        frozenset(number for _port, state, number in entries if state == LISTENING),
        frozenset(number for port, state, number in entries if state == ESTABLISHED and port in ports),
    )


def unit(pid: int) -> str:
    """The systemd service that a process belongs to, empty for none."""
    try:
        lines = (read_text(f"/proc/{pid}/cgroup") or "").splitlines()
    except OversshError:
        return ""
    names = [line.rpartition("/")[2] for line in lines]
    return next((name for name in names if name.endswith(".service")), "")


def command_line(pid: int) -> list[str]:
    """A process's argv, empty where it has ended."""
    try:
        return (read_text(f"/proc/{pid}/cmdline") or "").rstrip("\0").split("\0")
    except OversshError:
        return []


def socket_numbers(pid: int) -> frozenset[str]:
    """The numbers of all sockets of a process."""
    return frozenset(_numbers(pid))


def _numbers(pid: int) -> Iterator[str]:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            links = [os.readlink(entry.path) for entry in entries]
    except OSError:
        return
    yield from (link[len("socket:[") : -1] for link in links if link.startswith("socket:["))
