# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that came, in the order of each flow again."""

from __future__ import annotations

from words import EndedError

# So many bytes may wait for the packets before them, and so many packets come after one that is missing.
ARRIVALS_MOST, MISSING_MOST = 16 * 1024 * 1024, 1 << 17


class Arrivals:
    """Packets that came by several lanes, in the order of each flow."""

    def __init__(self) -> None:
        # All up to the floor have been delivered, or are no longer waited for, and these above it.
        self._floor = self._highest = 0
        self._above: set[int] = set()
        # By the number of the one that each waits for: when it came, its own number, and the packet.
        self._waiting: dict[int, tuple[float, int, bytes]] = {}
        self._size = 0

    def take(self, number: int, distance: int, packet: memoryview, now: float) -> list[memoryview | bytes]:
        """What may be delivered now (seconds) that this packet has come, which follows the one so far before it."""
        self._highest = max(self._highest, number)
        before = number - distance
        if distance and before > self._floor and before not in self._above:
            if before in self._waiting:
                raise EndedError("the far end sent two packets that follow the same one")
            self._waiting[before] = (now, number, bytes(packet))
            self._size += len(packet)
            return self.give_up() if self._size > ARRIVALS_MOST else []
        found: list[memoryview | bytes] = [packet]
        self._came(number)
        while number in self._waiting:
            _came, number, follower = self._waiting.pop(number)
            self._size -= len(follower)
            found.append(follower)
            self._came(number)
        # Where many are missing, they are not coming.
        return found + self.give_up() if len(self._above) > MISSING_MOST else found

    def _came(self, number: int) -> None:
        if number != self._floor + 1:
            if number > self._floor:
                self._above.add(number)
            return
        self._floor = number
        while self._floor + 1 in self._above:
            self._floor += 1
            self._above.remove(self._floor)

    def late(self, now: float, patience: float) -> list[memoryview | bytes]:
        """What has to be delivered without those before it, where one has been waiting for so long (seconds)."""
        came = next(iter(self._waiting.values()), (now,))[0]
        return self.give_up() if now - came > patience else []

    def give_up(self) -> list[memoryview | bytes]:
        """All that waits, in order: what is missing went with its lane."""
        found: list[memoryview | bytes] = [
            packet for _came, _number, packet in sorted(self._waiting.values(), key=_number_of)
        ]
        self._waiting.clear()
        self._above.clear()
        self._size, self._floor = 0, self._highest
        return found


def _number_of(waiting: tuple[float, int, bytes]) -> int:
    return waiting[1]
