# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a link's largest packets hold up all the others: told by how much longer such a packet takes."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What a packet of 65000 bytes takes at 20 Mbit/s.
BEARABLE_MS = 26.0
# A larger packet than this is the user's choice, or ours for the sake of throughput.
USUAL_MTU = 1500
# "rtt min/avg/max/mdev = 0.334/0.391/..." of iputils, "round-trip min/avg/max = ..." of others.
SHORTEST = re.compile(r"min/avg/max\S* = ([0-9.]+)/")


def shortest_ms(text: str) -> float | None:
    """The shortest round trip that ping tells at its end; None where nothing came back."""
    found = SHORTEST.search(text)
    return float(found.group(1)) if found else None


def slow(pings: Sequence[str], node: str, peer: str, mtu: int) -> str:
    """A sentence where a full packet takes much longer than a small one, otherwise nothing.

    pings: what ping said of small packets, and of full ones.
    """
    times = [shortest_ms(text) for text in pings]
    if mtu <= USUAL_MTU or len(times) != 2 or times[0] is None or times[1] is None:
        return ""
    longer = times[1] - times[0]
    if longer <= BEARABLE_MS:
        return ""
    return (
        f"{node}: the line to {peer} is slow: a packet of {mtu} bytes takes {longer:.0f} ms longer there and back than "
        f"a small one, and all others wait for it; set overssh_mtu: {USUAL_MTU} for {node}, unless throughput counts "
        "more."
    )
