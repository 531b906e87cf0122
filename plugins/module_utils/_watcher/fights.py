# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fights with programs that undo the same thing again and again: each has its way for a while.

On a host this file is a part of the watcher's program.
"""

from __future__ import annotations

import json
from collections import defaultdict

from .._core.files import write_text

# Putting something back so often within so many seconds is a fight; then it is left alone for so long.
ROUNDS, ROUND_SECONDS, TRUCE = 5, 60.0, 900.0


class Fights:
    """The count of restorations of each thing, and the things left alone; file: where these are written."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._rounds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._left: dict[tuple[str, str], tuple[float, str]] = {}

    def is_left(self, subject: str, what: str, now: float) -> bool:
        """Whether a thing is left alone now; now: seconds of the monotonic clock, also in the other methods."""
        if (subject, what) in self._left and now - self._left[subject, what][0] >= TRUCE:
            del self._left[subject, what]
            self._rounds.pop((subject, what), None)
            self._tell()
        return (subject, what) in self._left

    def round(self, subject: str, what: str, by: str, now: float) -> bool:
        """Count one restoration; False where there were too many, so that the thing is left alone from now on."""
        rounds = [then for then in self._rounds[subject, what] if now - then < ROUND_SECONDS]
        self._rounds[subject, what] = [*rounds, now]
        if len(rounds) < ROUNDS:
            return True
        self._left[subject, what] = (now, by)
        self._tell()
        return False

    def pause(self, now: float) -> float | None:
        """Seconds until the first truce ends; None where nothing is left alone."""
        return max(0.0, min(since for since, _by in self._left.values()) + TRUCE - now) if self._left else None

    def _tell(self) -> None:
        found = [{"subject": subject, "what": what, "by": by} for (subject, what), (_since, by) in self._left.items()]
        write_text(self._file, json.dumps(found))
