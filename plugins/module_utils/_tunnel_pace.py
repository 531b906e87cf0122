# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long small and full packets take over a link: a large packet occupies a slow line for long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ._icmp import Answer

# Of so many packets the fastest counts: any one of them may have had to wait behind others.
PACKETS = 3
# For one packet; one that takes longer occupies its line for longer than anybody would bear.
SECONDS = 2.0


class Ping(Protocol):
    """As _icmp.ping is."""

    def __call__(self, address: str, device: str, timeout: float, size: int = 0) -> Answer | None:
        """Send one echo, and wait for an answer."""


@dataclass(frozen=True)
class Pace:
    """Round trips of the fastest small and the fastest full packet in ms; None where none came back."""

    small_ms: float | None = None
    full_ms: float | None = None


def measure(ping: Ping, address: str, device: str, mtu: int) -> Pace:
    """Send a few of both over the device; mtu: of the device, in bytes."""
    return Pace(_fastest(ping, address, device, 0), _fastest(ping, address, device, mtu))


def _fastest(ping: Ping, address: str, device: str, size: int) -> float | None:
    times = []
    for _packet in range(PACKETS):
        answer = ping(address, device, SECONDS, size)
        if answer is None or not answer.reply:
            break  # what does not come back is not asked for again, as that would take as long each time
        times.append(answer.rtt_ms)
    return min(times, default=None)
