# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines that links are measured on."""

from __future__ import annotations

from dataclasses import dataclass, replace

# A transfer counts what has arrived at its end. What still waits in a link then, megabits, is to be little of it.
SLOW_MBIT_S, SLOW_TIMES = 20.0, 3


@dataclass(frozen=True)
class Way:
    """One direction of a line.

    delay_ms: from end to end; queue_ms: how much may wait for the line; loss: percent of the packets; burst: how many
    are lost in a row on average.
    """

    mbit_s: float
    delay_ms: float
    queue_ms: float
    loss: float = 0.0
    burst: float = 1.0


@dataclass(frozen=True)
class Line:
    """A line; there: from the node that dials to the one that is dialled; rates: what it changes to every second."""

    name: str
    there: Way
    back: Way
    rates: tuple[float, ...] = ()

    @property
    def round_trip_ms(self) -> float:
        """That of an empty line."""
        return self.there.delay_ms + self.back.delay_ms

    @property
    def times(self) -> int:
        """How many times longer a transfer runs over this one than over a fast one."""
        return SLOW_TIMES if self.there.mbit_s <= SLOW_MBIT_S else 1

    @property
    def label(self) -> str:
        """For a table."""
        rate = f"{self.there.mbit_s:g}"
        if self.back.mbit_s != self.there.mbit_s:
            rate = f"{self.there.mbit_s:g} up, {self.back.mbit_s:g} down"
        if self.rates:
            rate = f"{min(self.rates):g} to {max(self.rates):g}"
        words = f"{rate} Mbit/s, {self.round_trip_ms:g} ms"
        if self.there.loss:
            words += f", {self.there.loss:g} % lost" + (" in bursts" if self.there.burst > 1 else "")
        return words


def line(name: str, mbit_s: float, round_trip_ms: float, loss: float = 0.0, burst: float = 1.0) -> Line:
    """One that is the same both ways; its queue holds a round trip, at least 50 ms."""
    way = Way(mbit_s, round_trip_ms / 2, max(50.0, round_trip_ms), loss, burst)
    return Line(name, way, way)


_ADSL = line("asymmetric", 10, 30)
LINES = (
    line("100-20", 100, 20),
    line("100-50-0.1", 100, 50, 0.1),
    line("100-50-1", 100, 50, 1),
    line("20-80-0.5", 20, 80, 0.5),
    line("1000-100", 1000, 100),
    line("1000-100-0.01", 1000, 100, 0.01),
    line("50-150-bursts", 50, 150, 0.3, 8),
    replace(_ADSL, back=replace(_ADSL.back, mbit_s=100)),
    replace(line("mobile", 20, 60), rates=(20, 5, 12, 40, 3, 25, 8, 30)),
)
