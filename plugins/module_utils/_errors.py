# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that engines raise; its text is what the operator reads."""

from __future__ import annotations


class OversshError(Exception):
    """One sentence: what is wrong, where, and what to do."""
