# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that engines raise; the operator reads its text."""

from __future__ import annotations

from typing import Any


class OversshError(Exception):
    """One sentence: what is wrong, where, and what to do.

    answer: return values of the failed task, for programs that read them.
    """

    def __init__(self, sentence: str, **answer: Any) -> None:
        super().__init__(sentence)
        self.answer = answer
