# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An index over a chain's rules: by the fields of a packet, which rules can't match it.

The packets of many accepts differ only in a port or a network. The conditions of thousands of rules on such a field are
evaluated once for each of its values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .conditions import Condition, Holds, Packet, Predicate


class Index:
    """The conditions of rules, by the field of the packet that decides."""

    def __init__(self, rules: Iterable[tuple[int, Sequence[Condition]]]) -> None:
        """rules: each rule's handle, and its necessary conditions."""
        self._asked: dict[str, list[tuple[int, Predicate]]] = {}
        self._known: dict[tuple[Any, ...], frozenset[int]] = {}
        for handle, conditions in rules:
            for condition in conditions:
                if condition.field:
                    self._asked.setdefault(condition.field, []).append((handle, condition.holds))

    def excluded(self, packet: Packet) -> set[int]:
        """The handles of rules that surely don't match this packet."""
        found: set[int] = set()
        for field, asked in self._asked.items():
            value = (field, packet.family, packet.protocol, getattr(packet, field))
            excluded = self._known.get(value)
            if excluded is None:
                excluded = frozenset(handle for handle, holds in asked if holds(packet) is Holds.NO)
                self._known[value] = excluded
            found |= excluded
        return found
