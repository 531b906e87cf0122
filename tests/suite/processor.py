# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How idle this machine's processors are over a stretch of time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
# The fields of its first line, in ticks: user nice system idle iowait irq softirq steal (proc(5)).
IDLE, COUNTED = (3, 4), 8


@dataclass(frozen=True)
class Moment:
    """A point in time; idle, total: ticks of all processors together since boot."""

    at: float
    idle: int
    total: int


def read(text: str, at: float) -> Moment:
    """A moment out of /proc/stat's text; at: monotonic seconds."""
    ticks = [int(word) for word in text.split("\n", 1)[0].split()[1:][:COUNTED]]
    return Moment(at, sum(ticks[field] for field in IDLE), sum(ticks))


def now() -> Moment:
    """This moment of this machine."""
    return read(STAT.read_text(encoding="ascii"), time.monotonic())


def between(begin: Moment, end: Moment) -> dict[str, float]:
    """`seconds` from one moment to another, and `idle`, the share of all processors that had nothing to do."""
    total = end.total - begin.total
    idle = (end.idle - begin.idle) / total if total > 0 else 0.0
    return {"seconds": round(end.at - begin.at, 2), "idle": round(idle, 2)}
