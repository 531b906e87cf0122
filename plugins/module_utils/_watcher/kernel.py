# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications of the kernel over netlink. A part of the watcher's program."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence

from .._linux.netlink import Message, messages

# linux/netlink.h
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
AT_ONCE = 1 << 17


class Kernel:
    """A socket that receives all messages of these multicast groups of a protocol."""

    def __init__(self, protocol: int, groups: Sequence[int]) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.socket.bind((0, 0))
        for group in groups:
            self.socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        self.socket.setblocking(False)

    def received(self) -> Iterator[Message | None]:
        """The received changes; None stands for changes that were lost for lack of room."""
        while True:
            try:
                yield from messages(self.socket.recv(AT_ONCE))
            except BlockingIOError:
                return
            except OSError:
                yield None


def name_of(process: int) -> str:
    """The name of the program that asked the kernel for a change."""
    if process == 1:  # it opens the conversation and hands it on
        return "systemd-networkd (by systemd, process 1)"
    if process <= 0:
        return "the kernel"
    try:
        with open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as opened:
            return f"{opened.read().strip()} (process {process})"
    except OSError:
        return "a process that has ended"
