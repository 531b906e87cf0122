# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way to wait: for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from .errors import OversshError

T = TypeVar("T")

WAIT_OPTIONS: dict[str, dict[str, Any]] = {
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 60},
}


class WaitError(OversshError):
    """A condition was still false at its deadline."""


def wait_until(
    condition: Callable[[], T | None],
    timeout: float,
    what: str,
    pause: float = 0.2,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call condition() until it returns something true, and return that.

    timeout and pause are seconds. The condition is tried once more at the deadline, so a slow host gets a last
    look. Raises WaitError with "WHAT did not happen within N s"; an OversshError from the condition ends the wait.
    """
    deadline = clock() + timeout
    while True:
        found = condition()
        if found:
            return found
        left = deadline - clock()
        if left <= 0:
            raise WaitError(f"{what} did not happen within {timeout:g} s")
        sleep(min(pause, left))
