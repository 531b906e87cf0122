# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a chain's rules are out of the question for a packet, looked up by its fields.

A list of accepts is many packets that differ in a port or a network only. What the thousands of rules of a chain ask of
such a field is worked out once for each of its values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .conditions import Condition, Holds, Packet, Predicate


class Index:
    """What rules ask of packets, by the field that they ask of."""

    def __init__(self, rules: Iterable[tuple[int, Sequence[Condition]]]) -> None:
        """rules: each one's handle, and conditions that it surely needs."""
        self._asked: dict[str, list[tuple[int, Predicate]]] = {}
        self._known: dict[tuple[Any, ...], frozenset[int]] = {}
        for handle, conditions in rules:
            for condition in conditions:
                if condition.field:
                    self._asked.setdefault(condition.field, []).append((handle, condition.holds))

    def excluded(self, packet: Packet) -> set[int]:
        """The handles of rules that surely are not for this packet."""
        found: set[int] = set()
        for field, asked in self._asked.items():
            value = (field, packet.family, packet.protocol, getattr(packet, field))
            excluded = self._known.get(value)
            if excluded is None:
                excluded = frozenset(handle for handle, holds in asked if holds(packet) is Holds.NO)
                self._known[value] = excluded
            found |= excluded
        return found
