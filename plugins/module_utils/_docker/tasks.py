# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of a swarm for the states of tasks."""

from __future__ import annotations

RUNNING = "running"
# States in which a task has come to its end.
ENDED = frozenset({"complete", "shutdown", "failed", "rejected", "remove", "orphaned"})
