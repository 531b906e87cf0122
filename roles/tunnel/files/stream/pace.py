# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many bytes TCP can do with until the next look at it."""

from __future__ import annotations

from carrier import Carrier, Seen

# The least that is handed over, and after which the far end is asked again.
ASK_LEAST = 16 * 1024
# What TCP can't send yet waits in its socket, where nothing passes it. It is to last for so many seconds: enough until
# the next look. Where it did not, it is more for a while.
AHEAD_SECONDS, AHEAD_LONGEST, LOOK_SECONDS = 0.01, 0.08, 0.004
AHEAD_SHRINKS = 0.99
# TCP's way has to be most of the whole one; the rest may be a second leg, which it does not know.
WHOLE_WAY, WHOLE_WAY_SLACK = 0.8, 2_000


class Pace:
    """How many bytes may be handed to ssh, going by what its TCP connection holds.

    What TCP can't send yet waits in its socket, and nothing passes it there; where nothing waits, TCP is idle. So a
    little more is handed over than it sends until the next look. No more than a window is to be on its way, as TCP
    itself may fill the queues of a whole path.
    """

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        # Whether TCP knows the whole way, and not the first of two legs.
        self.knows = False
        # Whether it was the window that held packets back.
        self.limited = False
        self._seen: Seen | None = None
        self._looked = 0.0
        self._since = 0
        self._ahead, self._held = AHEAD_SECONDS, False

    @property
    def under_way(self) -> int:
        """Bytes between this end's program and the far end's kernel, as of the last look."""
        return self._since + (self._seen.in_flight + self._seen.unsent if self._seen else 0)

    def wrote(self, count: int) -> None:
        """So many bytes were handed over."""
        self._since += count

    def round_trip(self, least: float) -> float | None:
        """TCP's own one of late, None where it does not know the whole way; least: the shortest of a question's."""
        seen = self._carrier.look()
        self.knows = seen is not None and seen.least + WHOLE_WAY_SLACK >= WHOLE_WAY * least
        return seen.round_trip if seen is not None and self.knows else None

    def look(self) -> Seen | None:
        """TCP's present figures."""
        return self._carrier.look()

    def room(self, now: float, rate: float, window: int) -> int:
        """How many bytes may be handed over now (seconds) at a rate in bytes per second."""
        if now - self._looked >= LOOK_SECONDS:
            self._look(now)
        seen = self._seen
        if seen is None:
            return 0
        rate = max(rate, seen.rate)
        waiting = max(0, seen.unsent + self._since - int(rate * (now - self._looked)))
        ahead, rest = max(int(rate * self._ahead), ASK_LEAST) - waiting, window - self.under_way
        self._held, self.limited = ahead <= 0, rest <= 0 < ahead
        return min(ahead, rest)

    def _look(self, now: float) -> None:
        self._seen = self._carrier.look()
        self._looked, self._since = now, 0
        if self._seen is None:
            self.knows = False
        elif self._held and not self._seen.unsent:
            self._ahead = min(2 * self._ahead, AHEAD_LONGEST)
        else:
            self._ahead = max(AHEAD_SECONDS, AHEAD_SHRINKS * self._ahead)
