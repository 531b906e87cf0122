# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the published ports of throwaway services answer, tried from a host itself at every node."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping
from typing import Any

from . import agent


def measure(published: Iterable[Mapping[str, Any]], mesh: bool, timeout: float) -> dict[str, Any]:
    """The check "ports", none where there is nothing to try.

    published: address, port, mode and the IDs of the tasks that answer there. mesh: whether this host's kernel has the
    routing mesh; without it only ports of mode host are tried. timeout: seconds for which it is tried again.
    """
    places = [place for place in published if mesh or place["mode"] == "host"]
    if not places:
        return {}
    deadline = time.monotonic() + timeout
    slowest = 0.0
    for place in places:
        found = agent.attempt(functools.partial(_try, place), max(0.0, deadline - time.monotonic()))
        if not found["ok"]:
            return {"ports": {**found, "reason": f"{place['address']}:{place['port']}: {found['reason']}"}}
        slowest = max(slowest, found["rtt_ms"])
    return {"ports": {"ok": True, "rtt_ms": slowest}}


def _try(place: Mapping[str, Any], patience: float) -> dict[str, Any]:
    address, port = str(place["address"]), int(place["port"])
    return agent.in_turn(set(place["tasks"]), lambda: agent.which_tcp(address, port, patience))
