# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Debian the lab `older` of the tests has: the one before today's, or the one after it."""

from __future__ import annotations

from collections.abc import Callable

# `make test` has time for one of them. Days are counted from 1 January 1970.
TURNS = ("bookworm", "forky")
ALWAYS = TURNS[0]
_SECONDS = 86400


def choose(said: str, now: float, obstacle: Callable[[str], str | None]) -> tuple[str, str]:
    """The release, and a sentence that says why it is this one.

    said: the release that OLDER_RELEASE names, or nothing.
    now: seconds since 1 January 1970.
    obstacle: why a release can't be had on this machine, or None; asked only for one that has its turn.
    """
    if said:
        return said, f"the lab older has Debian {said}, as OLDER_RELEASE says"
    release = TURNS[int(now // _SECONDS) % len(TURNS)]
    if release != ALWAYS and (reason := obstacle(release)) is not None:
        why = f"it is the turn of {release}, which this machine can't have ({reason})"
        return ALWAYS, f"the lab older has Debian {ALWAYS}: {why}"
    rule = f"{' and '.join(TURNS)} take turns by the day; OLDER_RELEASE names one"
    return release, f"the lab older has Debian {release}: {rule}"
