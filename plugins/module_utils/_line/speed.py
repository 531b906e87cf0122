# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far away the other end of a link is, and whether the line is slow: a large packet occupies a slow one for long.

That one full packet takes longer than a small one says little. A TCP connection that was idle sends no more than a few
segments at once, and spreads them over its round trip: 57 ms for 65000 bytes over 1 Gbit/s and 100 ms, as measured. So
several packets are under way here, until they come as fast as they would on a line that is not slow.
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
    """As _linux.icmp.ping is."""

    def __call__(self, address: str, device: str, timeout: float, size: int = 0) -> Answer | None:
        """Send one echo, and wait for an answer."""


class Volley(Protocol):
    """As _linux.icmp.volley is."""

    def __call__(
        self, address: str, device: str, size: int, ahead: int, seconds: float, enough: Callable[[list[float]], bool]
    ) -> list[float]:
        """Keep echoes under way, and return when the replies came."""


@dataclass(frozen=True)
class Pace:
    """small_ms: the round trip of the fastest small packet; mbit_s: what full ones came to, at least on a fast line.

    None where nothing came back.
    """

    small_ms: float | None = None
    mbit_s: float | None = None


def measure(ping: Ping, volley: Volley, address: str, device: str, mtu: int) -> Pace:
    """Send a few small packets over the device, then full ones; mtu: of the device, in bytes."""
    small_ms = _fastest(ping, address, device)
    if small_ms is None:
        return Pace()
    span = max(LEAST_SPAN, small_ms / 1000)
    # As many as come within the span on a line that is not slow, and two more; of more a stream drops some.
    ahead = int(span / UNNOTICED) + 3
    most = mtu * 8 / UNNOTICED / 1e6
    times = volley(address, device, mtu, ahead, RATE_SECONDS, lambda times: (rate(times, mtu, span) or 0.0) >= most)
    found = rate(times, mtu, span) or rate(times, mtu, 0.0)
    return Pace(small_ms, None if found is None else round(found, 1))


def rate(times: Sequence[float], size: int, span: float) -> float | None:
    """The most Mbit/s that packets of size bytes came to for so many seconds; None where they came for less long.

    times: when each came, in seconds, in order.
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
