# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pending changes of this host, and those that it has rolled back; only looks."""

from __future__ import annotations

import time
from typing import Any

from . import checkpoint


def info() -> list[dict[str, Any]]:
    """The checkpoints as checkpoint_info returns them: name, pending, and the seconds until the rollback."""
    return [
        {
            "name": found.name,
            "pending": found.pending,
            "seconds": max(0, round(found.deadline - time.time())) if found.pending else 0,
        }
        for found in checkpoint.find_all()
    ]
