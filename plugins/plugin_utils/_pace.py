# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a link's largest packets hold up all the others: told by how much longer such a packet takes; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# What a packet of 65000 bytes takes at 20 Mbit/s.
BEARABLE_MS = 26.0
# A larger packet than this is the user's choice, or ours for the sake of throughput.
USUAL_MTU = 1500


def slow(dialled: Iterable[Mapping[str, Any]], node: str, planned: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each link where a full packet takes much longer than a small one.

    dialled: the links as ssh_tunnel returns them, which has timed both where it started the link; planned: those of the
    fleet's plan, with their MTUs.
    """
    mtus = {link["peer"]: link["mtu"] for link in planned}
    for link in dialled:
        peer, mtu = link["peer"], mtus.get(link["peer"], 0)
        small, full = link.get("rtt_ms"), link.get("full_rtt_ms")
        if mtu <= USUAL_MTU or small is None or full is None or full - small <= BEARABLE_MS:
            continue
        yield (
            f"{node}: the line to {peer} is slow: a packet of {mtu} bytes takes {full - small:.0f} ms longer there and "
            f"back than a small one, and all others wait for it; set overssh_mtu: {USUAL_MTU} for {node}, unless "
            "throughput counts more."
        )
