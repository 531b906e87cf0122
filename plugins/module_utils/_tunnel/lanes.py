# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The number of a link's ssh sessions: a number, or auto."""

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
    """The lanes in a word, None for another word."""
    if word == AUTO:
        return AUTO
    number = int(word) if NUMBER.fullmatch(word) else 0
    return number if 1 <= number <= LANES_MAX else None


def lanes_at_start(lanes: Lanes) -> int:
    """The number of sessions at a link's start; its device has a queue for each."""
    return lanes if isinstance(lanes, int) else 1
