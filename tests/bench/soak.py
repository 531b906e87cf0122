# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both directions full for minutes, and whether the link stays one link."""

from __future__ import annotations

from typing import Any

from .cases import Case
from .links import restarts
from .measure import received
from .nodes import BenchError, Pair
from .overlay import Overlay

STREAMS = 8


def soak(pair: Pair, overlay: Overlay, case: Case, minutes: float) -> dict[str, Any]:
    """Container to container, both directions at once. disconnects: sessions that ended, as the unit's log has it."""
    overlay.settle(case)
    before, since = restarts(pair, case), pair.edge.sh("date +%s")
    seconds = minutes * 60
    answer = pair.edge.ask(
        "transfer", overlay.namespace, overlay.target(case), seconds, STREAMS, "--bidir", timeout=seconds + 60
    )
    log = pair.edge.sh(f"journalctl --unit={case.unit} --since=@{since} --output=cat")
    result: dict[str, Any] = {
        "minutes": minutes,
        "disconnects": sum("ended: " in line or "refused: " in line for line in log.splitlines()),
        "restarts": restarts(pair, case) - before,
        "gbit_s": None,
        "streams": STREAMS,
    }
    try:
        count, took = received(answer)
    except BenchError as error:
        return {**result, "error": str(error)}
    there, back = (
        round(answer["end"][end]["bytes"] * 8 / took / 1e9, 3) for end in ("sum_received", "sum_received_bidir_reverse")
    )
    return {**result, "gbit_s": round(count * 8 / took / 1e9, 3), "there_gbit_s": there, "back_gbit_s": back}
