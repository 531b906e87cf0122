# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules and their places as return values; pure."""

from __future__ import annotations

from typing import Any

from .firewalld import text_of
from .placement import Placement
from .rules_file import Line
from .ruleset import ChainKey


def address(key: ChainKey, handle: int | None) -> dict[str, Any]:
    """The identity of a rule on a host; a rule that is not there yet has no handle."""
    return {"family": key.family, "table": key.table, "chain": key.chain, "handle": handle}


def result_of(placement: Placement) -> dict[str, Any]:
    """A rule in its place, as return values."""
    decider = placement.decider
    return {
        **address(placement.key, placement.handle),
        "rule": placement.text,
        "before": placement.before,
        "decided_by": None if decider is None else {**address(decider.key, decider.handle), "rule": decider.text},
    }


def result_of_firewalld(line: Line) -> dict[str, Any]:
    """A rule that firewalld keeps, as return values; it has no handle and no rule after it."""
    return {**address(line.key, None), "rule": text_of(line), "before": None, "decided_by": None}
