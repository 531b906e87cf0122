# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that engines raise; its text is what the operator reads."""

from __future__ import annotations

from typing import Any


class OversshError(Exception):
    """One sentence: what is wrong, where, and what to do.

    answer: return values that go with the failure, for a machine to act on.
    """

    def __init__(self, sentence: str, **answer: Any) -> None:
        super().__init__(sentence)
        self.answer = answer
