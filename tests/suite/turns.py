# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever measures seconds has the machine to itself meanwhile; all other tests run side by side.

Locks of files: whoever wants to be alone keeps the gate shut while waiting for the room to empty, so that it comes to
its turn although others always have something to do.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "turns"
# Set for what runs while one above it has the turn already, and would wait for itself.
HELD = "SUITE_TURN_HELD"


@contextmanager
def turn(alone: bool, folder: Path = FOLDER) -> Iterator[None]:
    """Wait until it is one's turn, and keep it meanwhile."""
    if os.environ.get(HELD):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "room").open("w") as room:
        with (folder / "gate").open("w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
