# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a link: its round trip, and its speed where large packets occupy the line for long.

One full packet alone says little. An idle TCP connection sends only a few segments at once and spreads them over its
round trip: 57 ms for 65000 bytes over 1 Gbit/s and 100 ms, as measured. So several packets are in flight, until they
arrive as fast as on a line that is not slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .._linux.icmp import Answer

# Of so many small packets the fastest counts: any one of them may have had to wait behind others.
PACKETS = 3
# For one packet, and for all the full ones.
SECONDS, RATE_SECONDS = 2.0, 2.0
# A full packet that occupies the line for less than this, in seconds, is in nobody's way: one of 65000 bytes does so at
# 40 Mbit/s and more.
UNNOTICED = 0.013
# The rate is taken over at least so many seconds, or a round trip: what was lost and sent again comes all at once.
LEAST_SPAN = 0.02


class Ping(Protocol):
    """The signature of _linux.icmp.ping."""

    def __call__(self, address: str, device: str, timeout: float, size: int = 0) -> Answer | None:
        """Send one echo, and wait for an answer."""


class Volley(Protocol):
    """The signature of _linux.icmp.volley."""

    def __call__(
        self, address: str, device: str, size: int, ahead: int, seconds: float, enough: Callable[[list[float]], bool]
    ) -> list[float]:
        """Keep echoes under way, and return when the replies came."""


@dataclass(frozen=True)
class LineSpeed:
    """The measured link: small_ms, the fastest small packet's round trip; mbit_s, the speed, at least, of full ones.

    A value is None where nothing came back.
    """

    small_ms: float | None = None
    mbit_s: float | None = None


def measure(ping: Ping, volley: Volley, address: str, device: str, mtu: int) -> LineSpeed:
    """Send a few small packets over the device, then full ones; mtu: of the device, in bytes."""
    small_ms = _fastest(ping, address, device)
    if small_ms is None:
        return LineSpeed()
    span = max(LEAST_SPAN, small_ms / 1000)
    # As many as come within the span on a line that is not slow, and two more; of more a stream drops some.
    ahead = int(span / UNNOTICED) + 3
    most = mtu * 8 / UNNOTICED / 1e6
    times = volley(address, device, mtu, ahead, RATE_SECONDS, lambda times: (rate(times, mtu, span) or 0.0) >= most)
    found = rate(times, mtu, span) or rate(times, mtu, 0.0)
    return LineSpeed(small_ms, None if found is None else round(found, 1))


def rate(times: Sequence[float], size: int, span: float) -> float | None:
    """The highest speed in Mbit/s that packets of size bytes kept for so many seconds; None for a shorter time.

    times: the arrivals, in seconds, in order.
    """
    best: float | None = None
    first = 0
    for last, came in enumerate(times):
        while first + 1 < last and came - times[first + 1] >= span:
            first += 1
        took = came - times[first]
        if took > 0 and took >= span:
            best = max(best or 0.0, (last - first) * size * 8 / took / 1e6)
    return best


def _fastest(ping: Ping, address: str, device: str) -> float | None:
    times = []
    for _packet in range(PACKETS):
        answer = ping(address, device, SECONDS)
        if answer is None or not answer.reply:
            break  # what does not come back is not asked for again, as that would take as long each time
        times.append(answer.rtt_ms)
    return min(times, default=None)
