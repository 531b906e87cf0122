# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Netlink messages and their attributes, from bytes of a socket and to bytes. Source: linux/netlink.h.

Programs of ours on a host include this file, so it needs nothing but the standard library.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

HEADER, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
TYPE_MASK = 0x3FFF


@dataclass(frozen=True)
class Message:
    """One change; process: the id of the process that asked for it, 0 where the kernel does not say."""

    kind: int
    flags: int
    process: int
    body: bytes


def messages(data: bytes) -> Iterator[Message]:
    """The messages in the bytes of one read."""
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
        yield kind & TYPE_MASK, data[place + ATTRIBUTE.size : place + length]
        place += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute of a message that is sent."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)
