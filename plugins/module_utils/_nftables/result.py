# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How modules return a rule and its place; pure."""

from __future__ import annotations

from typing import Any

from .firewalld import text_of
from .placement import Placement
from .rules_file import Line
from .ruleset import ChainKey


def address(key: ChainKey, handle: int | None) -> dict[str, Any]:
    """What names a rule on a host; it has no handle before it is there."""
    return {"family": key.family, "table": key.table, "chain": key.chain, "handle": handle}


def result_of(placement: Placement) -> dict[str, Any]:
    """A rule in its place, for the user."""
    decider = placement.decider
    return {
        **address(placement.key, placement.handle),
        "rule": placement.text,
        "before": placement.before,
        "decided_by": None if decider is None else {**address(decider.key, decider.handle), "rule": decider.text},
    }


def result_of_firewalld(line: Line) -> dict[str, Any]:
    """A rule that firewalld keeps, likewise: it has no handle, and nothing that it stands before."""
    return {**address(line.key, None), "rule": text_of(line), "before": None, "decided_by": None}
