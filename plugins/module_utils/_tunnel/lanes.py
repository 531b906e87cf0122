# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many ssh sessions a link has: a number of them, or auto."""

from __future__ import annotations

import re
from typing import Union

AUTO = "auto"
LANES_MAX = 16
TAKES = f"{AUTO}, or a whole number from 1 to {LANES_MAX}"
NUMBER = re.compile(r"[0-9]{1,2}")

# A number, or AUTO for as many as are of use.
Lanes = Union[int, str]


def lanes_of(word: str) -> Lanes | None:
    """The lanes that a word says, None where it says none."""
    if word == AUTO:
        return AUTO
    number = int(word) if NUMBER.fullmatch(word) else 0
    return number if 1 <= number <= LANES_MAX else None


def lanes_at_start(lanes: Lanes) -> int:
    """How many sessions a link begins with; its device has a queue for each of these."""
    return lanes if isinstance(lanes, int) else 1
