# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a line is what it was asked to be: its round trip, and its rate and losses in both directions."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from ..measure import median
from ..nodes import Node, Pair
from ..report import rounded
from .emulator import Emulator
from .lines import Line, Way

SECONDS = 1.5
# How long a flood goes on before and after what is measured of it, and how long its last packets may be on their way.
AROUND_SECONDS, LATE_SECONDS = 0.5, 2.0
# A line is full with a third more than it takes, and empty with half of it. Lengths are those of IP packets, in bytes.
FULL, EMPTY = 1.3, 0.5
LONG, SHORT = 1400, 100
PACKETS_PER_SECOND = 20_000
RATE_PERCENT, ROUND_TRIP_PERCENT, ROUND_TRIP_MS, DEVIATIONS = 5.0, 5.0, 2.0, 4.0


@dataclass(frozen=True)
class Check:
    """One property of a line. asked, got and tolerance: in the unit that its name ends with."""

    line: str
    what: str
    asked: float
    got: float | None
    tolerance: float

    def as_dict(self) -> dict[str, Any]:
        """With whether it agrees."""
        agrees = self.got is not None and abs(self.got - self.asked) <= self.tolerance
        figures = {name: rounded(getattr(self, name), 4) for name in ("asked", "got", "tolerance")}
        return {**asdict(self), **figures, "agrees": agrees}


def loss_tolerance(way: Way, packets: int) -> float:
    """Percent: four standard deviations of what so many packets lose; bursts make them fewer losses, and larger."""
    share = way.loss / 100
    return DEVIATIONS * math.sqrt(share * (1 - share) * (2 * way.burst - 1) / packets) * 100 if packets else 0.0


def checks(pair: Pair, wan: Emulator, line: Line) -> Iterator[Check]:
    """Measure an empty line; its ends' addresses are those of the nodes."""
    trips = pair.edge.ask("idle", "", pair.cloud.address, SECONDS)["pings"]
    asked = line.round_trip_ms
    tolerance = max(ROUND_TRIP_MS, asked * ROUND_TRIP_PERCENT / 100)
    yield Check(line.name, "round_trip_ms", asked, median(trips), tolerance)
    for name, way, source, target in (
        ("there", line.there, pair.edge, pair.cloud),
        ("back", line.back, pair.cloud, pair.edge),
    ):
        rates = line.rates or (way.mbit_s,)
        sent, missing = _losses(wan, name, source, target, min(rates) * EMPTY)
        got = missing / sent * 100 if sent else None
        yield Check(line.name, f"{name}_loss_percent", way.loss, got, loss_tolerance(way, sent))
        # This one comes last, as it leaves a full queue behind.
        asked = fmean(rates)
        rate = _rate(source, target, max(rates) * FULL, max(SECONDS, len(rates)))
        yield Check(line.name, f"{name}_mbit_s", asked, rate, asked * RATE_PERCENT / 100)


def _rate(source: Node, target: Node, mbit_s: float, seconds: float) -> float:
    """Mbit/s of IP packets that come out of a full line."""
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(target.ask, "arrivals", seconds)
        source.ask("flood", target.address, seconds + 2 * AROUND_SECONDS, mbit_s * 1e6 / 8 / LONG, LONG)
        answer = found.result()
    return float(answer["packets"] * LONG * 8 / answer["seconds"] / 1e6)


def _losses(wan: Emulator, way: str, source: Node, target: Node, mbit_s: float) -> tuple[int, int]:
    """Packets that were sent over a line that is not full, and those of them that did not arrive."""
    counted, before = sum(wan.counts()[way][1:]), target.ask("unasked")["packets"]
    pace = min(PACKETS_PER_SECOND, mbit_s * 1e6 / 8 / SHORT)
    sent = source.ask("flood", target.address, SECONDS, pace, SHORT)["packets"]
    deadline = time.monotonic() + LATE_SECONDS
    while True:
        arrived = target.ask("unasked")["packets"] - before
        # The emulator's own word about those that it lost says when all others are there.
        if arrived + sum(wan.counts()[way][1:]) - counted >= sent or time.monotonic() > deadline:
            return sent, sent - arrived
        time.sleep(0.1)
