# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both directions full for minutes, and whether the link stays one link."""

from __future__ import annotations

import time
from typing import Any

from .cases import Case
from .links import restarts
from .nodes import Pair
from .overlay import Overlay

STREAMS = 8
DIRECTIONS = ("sum_received", "sum_received_bidir_reverse")


def soak(pair: Pair, overlay: Overlay, case: Case, minutes: float) -> dict[str, Any]:
    """Container to container, both directions at once. disconnects: sessions that ended, as the unit's log has it.

    broken_off: transfers that did not last; each is followed by another one until the time is over.
    """
    overlay.settle(case)
    before, since = restarts(pair, case), pair.edge.sh("date +%s")
    begun, broken_off = time.monotonic(), 0
    carried = dict.fromkeys(DIRECTIONS, 0.0)
    while (left := minutes * 60 - (time.monotonic() - begun)) >= 1:
        words = (overlay.namespace, overlay.target(case), round(left), STREAMS, "--bidir")
        answer = pair.edge.ask("transfer", *words, timeout=left + 60)
        broken_off += answer["error"] is not None
        for direction in DIRECTIONS:
            carried[direction] += answer["end"].get(direction, {}).get("bytes", 0) * 8 / 1e9
    took = time.monotonic() - begun
    log = pair.edge.sh(f"journalctl --unit={case.unit} --since=@{since} --output=cat")
    there, back = (round(carried[direction] / took, 3) for direction in DIRECTIONS)
    return {
        "minutes": minutes,
        "disconnects": disconnects(log),
        "restarts": restarts(pair, case) - before,
        "gbit_s": round(there + back, 3),
        "there_gbit_s": there,
        "back_gbit_s": back,
        "streams": STREAMS,
        "broken_off": broken_off,
    }


def disconnects(log: str) -> int:
    """How many sessions the dialling end says have ended."""
    return sum(line.startswith(("overssh-stream: ended:", "overssh-stream: refused:")) for line in log.splitlines())
