# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The path of a traced packet, built from the kernel's messages; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .._nftables.ruleset import ChainKey
from .netlink import Header, Message
from .table import ENTRIES, IN, OUT, TABLE_PREFIX

# Behind these a packet has come through: to a program of this host, or out of it.
ENDS = ("input", "postrouting")
# Verdicts after which somebody else has the packet, who may give it back.
GIVEN_AWAY = ("queue", "stolen")


@dataclass(frozen=True)
class Hop:
    """A rule or a base chain's policy that the packet met; header: the packet as that base chain first saw it."""

    key: ChainKey
    kind: str
    verdict: str
    handle: int
    header: Header | None


@dataclass(frozen=True)
class TracePath:
    """The path of one packet.

    hops: through the host's own chains, in order; entered, left: the last hook that it entered and the last that it
    left; path: the last one of input, forward and output that it entered, "" for none; first, last: the packet as first
    and as last seen.
    """

    hops: tuple[Hop, ...] = ()
    entered: str = ""
    left: str = ""
    path: str = ""
    first: Header | None = None
    last: Header | None = None

    @property
    def passed(self) -> bool:
        """Whether the packet passed every chain."""
        return self.left in ENDS

    @property
    def dropped(self) -> bool:
        """Whether the last hop ended the packet."""
        return bool(self.hops) and self.hops[-1].verdict == "drop"

    @property
    def decided(self) -> bool:
        """Whether the last hop ended the packet or handed it to another program."""
        return self.dropped or (not self.passed and bool(self.hops) and self.hops[-1].verdict in GIVEN_AWAY)

    @property
    def ended(self) -> bool:
        """Whether no more messages about the packet can come."""
        return self.passed or self.dropped


class TracePaths:
    """The packets marked by our own table of this name; other traces are ignored."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._seen: dict[int, list[Message]] = {}
        self._over: set[int] = set()

    def add(self, messages: Iterable[Message]) -> None:
        """Add the kernel's messages."""
        for message in messages:
            known = self._seen.get(message.packet)
            if known is None:
                # Our chains report packets that others trace, too. The only rule of ours is the one that marks packets.
                if message.key.table == self._table and message.handle:
                    self._seen[message.packet] = [message]
            # The kernel may number a later packet of the same connection like this one.
            elif (message.key, message.handle) == (known[0].key, known[0].handle):
                self._over.add(message.packet)
            elif message.packet not in self._over:
                known.append(message)

    def forget(self) -> None:
        """Forget these packets; after an overrun their paths have gaps."""
        self._seen.clear()
        self._over.clear()

    def __bool__(self) -> bool:
        return bool(self._seen)

    def best(self) -> TracePath:
        """The first packet whose path has ended; else the first packet."""
        ways = [trace_path_of(messages, self._table) for messages in self._seen.values()]
        return next((way for way in ways if way.ended), ways[0] if ways else TracePath())


def trace_path_of(messages: Iterable[Message], table: str) -> TracePath:
    """The path in the messages about one packet."""
    hops: list[Hop] = []
    entered = left = path = ""
    first = last = None
    for message in messages:
        if message.header is not None:
            first, last = first or message.header, message.header
        if message.key.table == table:
            # Each base chain of ours ends with its policy, once.
            if message.kind == "policy":
                name = message.key.chain
                entered = name[: -len(IN)] if name.endswith(IN) else entered
                path = entered if entered in ENTRIES else path
                left = name[: -len(OUT)] if name.endswith(OUT) else left
        elif not message.key.table.startswith(TABLE_PREFIX) and (message.kind == "policy" or message.handle):
            hops.append(Hop(message.key, message.kind, message.verdict, message.handle, last))
    return TracePath(tuple(hops), entered, left, path, first, last)
