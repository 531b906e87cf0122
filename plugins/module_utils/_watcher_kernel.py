# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel tells of its own accord, over netlink. On a host, a part of the watcher's program."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# linux/netlink.h
HEADER, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
NLA_TYPE_MASK = 0x3FFF
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Message:
    """One change; process: the number of who asked for it, as far as the kernel says, else 0."""

    kind: int
    flags: int
    process: int
    body: bytes


class Kernel:
    """A conversation in which only the kernel speaks: of everything in these multicast groups of a protocol."""

    def __init__(self, protocol: int, groups: Sequence[int]) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.socket.bind((0, 0))
        for group in groups:
            self.socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        self.socket.setblocking(False)

    def received(self) -> Iterator[Message | None]:
        """The changes that have come; None stands for those that there was no room for."""
        while True:
            try:
                yield from messages(self.socket.recv(AT_ONCE))
            except BlockingIOError:
                return
            except OSError:
                yield None


def messages(data: bytes) -> Iterator[Message]:
    """The messages in what was received at once."""
    place = 0
    while place + HEADER.size <= len(data):
        length, kind, flags, _number, process = HEADER.unpack_from(data, place)
        if length < HEADER.size:
            return
        yield Message(kind, flags, process, data[place + HEADER.size : place + length])
        place += (length + 3) & ~3


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of a message, each with its number."""
    place = 0
    while place + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, place)
        if length < ATTRIBUTE.size:
            return
        yield kind & NLA_TYPE_MASK, data[place + ATTRIBUTE.size : place + length]
        place += (length + 3) & ~3


def name_of(process: int) -> str:
    """Who asked the kernel for a change."""
    if process == 1:  # it opens the conversation and hands it on
        return "systemd-networkd (by systemd, process 1)"
    if process <= 0:
        return "the kernel"
    try:
        with open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as opened:
            return f"{opened.read().strip()} (process {process})"
    except OSError:
        return "a process that has ended"
