# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers by which the far end puts the packets of a flow in order."""

from __future__ import annotations

from typing import Protocol

from flows import flow_of


class Way(Protocol):
    """By which packets leave; arrived: up to where the far end is known to have everything."""

    arrived: int


class Numbered:
    """The last packet of a flow: its number, its lane, and where it ends there.

    before: the same two of those before it that had not arrived for sure when it left, the last one of each other lane;
    free: whether it waits for none.
    """

    __slots__ = ("before", "free", "lane", "number", "place")

    def __init__(self, number: int, lane: Way, place: int) -> None:
        self.number, self.lane, self.place = number, lane, place
        self.before: list[tuple[Way, int]] = []
        self.free = True

    def follow(self, last: Numbered) -> None:
        """It is the next one of the same flow."""
        not_arrived = [(lane, place) for lane, place in [*last.before, (last.lane, last.place)] if lane.arrived < place]
        self.free = not not_arrived or (last.lane is self.lane and last.free)
        if not self.free:
            # What went by the same lane has arrived when this one has.
            self.before = [(lane, place) for lane, place in not_arrived if lane is not self.lane]

    @property
    def delivered(self) -> bool:
        """Whether the far end is known to have given it to its device."""
        return all(lane.arrived >= place for lane, place in [*self.before, (self.lane, self.place)])


class Numbering:
    """The numbers of packets that go by several lanes.

    A packet has to wait at the far end for the one before it in its flow, unless that has been delivered for sure, or
    went by the same lane and had to wait for none itself.
    """

    def __init__(self) -> None:
        self._number = 0
        self._last: dict[bytes, Numbered] = {}

    def number(self, packet: bytes, lane: Way, place: int) -> tuple[int, int]:
        """The number of a packet, and how far before it the one is that it has to wait for, 0 for none.

        lane, place: by which it leaves, and where it ends there.
        """
        self._number += 1
        key = flow_of(packet)
        last, found = self._last.get(key), Numbered(self._number, lane, place)
        self._last[key] = found
        if last is None:
            return self._number, 0
        found.follow(last)
        return self._number, 0 if found.free else self._number - last.number

    def forget(self) -> None:
        """What has been delivered is waited for by none."""
        self._last = {key: last for key, last in self._last.items() if not last.delivered}
