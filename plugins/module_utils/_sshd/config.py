# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of sshd's configuration with their places, includes followed; only looks.

sshd itself says which settings hold. This file finds the lines that set them.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass

from .._core.errors import OversshError
from .._core.files import read_text

MAIN = "/etc/ssh/sshd_config"
DEPTH = 16


@dataclass(frozen=True)
class Line:
    """A line of configuration; match: the criteria of its Match block, empty outside of one."""

    path: str
    number: int
    keyword: str
    values: tuple[str, ...]
    match: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The line's place in words."""
        return f"{self.path} line {self.number}"


def lines(path: str = MAIN, match: tuple[str, ...] = (), depth: int = 0) -> Iterator[Line]:
    """All lines of a file and of those that it includes, in the order in which sshd reads them."""
    try:
        text = read_text(path) or ""
    except OversshError:
        return
    for number, raw in enumerate(text.splitlines(), 1):
        # Between a keyword and its first value there may be one equals sign instead of a space.
        words = raw.strip().replace("=", " ", 1).split() if not raw.lstrip().startswith("#") else []
        if not words:
            continue
        keyword, values = words[0].lower(), tuple(word.strip('"') for word in words[1:])
        if keyword == "match":
            match = values
        elif keyword == "include" and depth < DEPTH:
            for pattern in values:
                for included in sorted(glob.glob(os.path.join(os.path.dirname(MAIN), pattern))):
                    yield from lines(included, match, depth + 1)
            continue
        yield Line(path, number, keyword, values, match)


def place(found: list[Line], keyword: str, value: str = "") -> str:
    """The place of the first line with this keyword, and this value where one is given; else sshd's own file."""
    small = keyword.lower()
    having = [line for line in found if line.keyword == small]
    exact = [line for line in having if not value or value in line.values]
    return next((line.place for line in (*exact, *having)), MAIN)
