# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rules drop packets that have to pass, those of nft and those of iptables-legacy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import _nft_legacy, _nft_list
from ._command import Runner
from ._nft_owner import firewalld_owns
from ._nft_path import Reader, Walker
from ._nft_rule import accept_from


def blocks(run: Runner, rules: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each rule or policy that drops packets of these accepts; rules: as nft_rule takes them.

    Where firewalld owns the firewall, its zones decide, and only iptables-legacy is looked at.
    """
    accepts = [accept_from(rule) for rule in rules]
    if not accepts:
        return []
    found = list(_nft_legacy.notes(_nft_legacy.observe(run), accepts))
    ruleset = _nft_list.ruleset(run)
    if firewalld_owns(ruleset):
        return found
    walker = Walker(ruleset, Reader(ruleset))
    for accept in accepts:
        for base, what, surely in _nft_legacy.deciders(walker, accept):
            drops = "drops" if surely else "may drop"
            found.append(f"{what} in {base.key} {drops} packets of {accept.name}")
    # What surely drops them explains more than what may.
    return sorted(dict.fromkeys(found), key=lambda words: " may drop " in words)
