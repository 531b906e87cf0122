# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of nft and iptables-legacy that drop packets which have to pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._core.command import Runner
from . import legacy, listing
from .accept import accept_from
from .owner import firewalld_owns
from .traversal import Reader, Walker


def blocks(run: Runner, rules: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each rule or policy that drops packets of these accepts; rules: as nft_rule takes them.

    Where firewalld owns the firewall, its zones decide, so only iptables-legacy is looked at.
    """
    accepts = [accept_from(rule) for rule in rules]
    if not accepts:
        return []
    found = list(legacy.notes(legacy.observe(run), accepts))
    ruleset = listing.ruleset(run)
    if firewalld_owns(ruleset):
        return found
    walker = Walker(ruleset, Reader(ruleset))
    for accept in accepts:
        for base, what, surely in legacy.deciders(walker, accept):
            drops = "drops" if surely else "may drop"
            found.append(f"{what} in {base.key} {drops} packets of {accept.name}")
    # What surely drops them explains more than what may.
    return sorted(dict.fromkeys(found), key=lambda words: " may drop " in words)
