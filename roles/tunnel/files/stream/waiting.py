# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits for the lanes of a link, and for which of them."""

from __future__ import annotations

from flows import Flows, flow_of

# A queue holds no more than this: a full one delays everything that comes after it.
QUEUE_MOST = 2 * 1024 * 1024
# What a flow may have sent of late, in bytes, to be one that sends little: about a fifth of what it sends in a second.
LITTLE = 32 * 1024


class Waiting:
    """What waits for the lanes of a link.

    Where there are several, the first one is for flows that send little: all that the others have under way, or lost,
    does not delay those.
    """

    def __init__(self) -> None:
        self._little, self._much = Flows(), Flows()
        self._several = False
        # Bytes that wait.
        self.size = 0
        # What each flow sent of late, in bytes.
        self._sent: dict[bytes, int] = {}

    @property
    def dropped(self) -> int:
        """Packets that were."""
        return self._little.dropped + self._much.dropped

    def size_for(self, first: bool) -> int:
        """How many bytes wait for the first lane, or for any other one."""
        return self._little.size if first and self._several else self.size

    def put(self, packet: bytes, now: float) -> None:
        """A packet, behind its virtio-net header, came now (seconds)."""
        key, flows = flow_of(packet), self._little
        if self._several:
            sent = self._sent[key] = self._sent.get(key, 0) + len(packet)
            # Packets of a flow all wait in one place, or they would pass each other.
            if key in self._much or (sent > LITTLE and key not in self._little):
                flows = self._much
        elif key in self._much:
            flows = self._much
        flows.put(key, packet, now)
        self.size += len(packet)
        if self.size > QUEUE_MOST:
            less, more = sorted((self._little, self._much), key=lambda flows: flows.size)
            more.shorten(QUEUE_MOST - less.size)
            self.size = self._little.size + self._much.size

    def take(self, first: bool, now: float, target: float, interval: float) -> bytes | None:
        """The packet that leaves next by the first lane, or by any other one, None where there is none for it."""
        one, other = (self._little, self._much) if first else (self._much, self._little)
        packet = one.take(now, target, interval)
        if packet is None and not (first and self._several):
            packet = other.take(now, target, interval)
        self.size = self._little.size + self._much.size
        return packet

    def tick(self, several: bool) -> None:
        """Called ten times a second; several: whether packets may leave by several lanes."""
        self._several = several
        self._sent = {key: sent // 2 for key, sent in self._sent.items() if sent > 1}
