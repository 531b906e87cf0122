# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links whose largest packets delay all others, by the measured speed of the line; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# What a packet of 65000 bytes takes at 20 Mbit/s.
BEARABLE_MS = 26.0
# A larger packet than this is the user's choice, or ours for the sake of throughput.
USUAL_MTU = 1500


def slow(measured: Iterable[Mapping[str, Any]], node: str, planned: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each link whose largest packets occupy its line for long.

    measured: peer and mbit_s of links, as ssh_tunnel and host_info return them; planned: peer and mtu of the links that
    the node dials.
    """
    mtus = {link["peer"]: link["mtu"] for link in planned}
    for link in measured:
        peer, mtu, rate = link["peer"], mtus.get(link["peer"], 0), link.get("mbit_s")
        takes_ms = mtu * 8 / rate / 1000 if rate else 0.0
        if mtu > USUAL_MTU and takes_ms > BEARABLE_MS:
            yield (
                f"{node}: the line to {peer} is slow: it carried about {rate:.2g} Mbit/s when it was measured, so a "
                f"packet of {mtu} bytes occupies it for {takes_ms:.0f} ms, and all others wait for it; set "
                f"overssh_mtu: {USUAL_MTU} for {node}, unless throughput counts more."
            )
