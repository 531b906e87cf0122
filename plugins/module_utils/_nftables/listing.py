# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the host's ruleset from nft's two listings: JSON and text."""

from __future__ import annotations

import os

from .._core.command import Runner
from .ruleset import Ruleset, parse

JSON = ("nft", "-j", "list", "ruleset")
WORDS = ("nft", "-s", "-a", "list", "ruleset")
# Whoever became root with su may have kept a PATH without these, and a shell looks for nft there only.
PATH = "PATH=$PATH:/usr/sbin:/sbin; "
# A large ruleset takes nft a while, so both are asked for at once.
BOTH = f'{PATH}{" ".join(WORDS)} >"$1" & {" ".join(JSON)} && wait $!'


def ruleset(run: Runner) -> Ruleset:
    """The host's ruleset, with each rule's text; CommandError where nft can't list it."""
    # Memory that other processes open by this path: nothing is left of it, however this one ends.
    with open(os.memfd_create("overssh-nft"), encoding="utf-8", errors="surrogateescape") as words:
        both = run(["sh", "-c", BOTH, "sh", f"/proc/{os.getpid()}/fd/{words.fileno()}"], check=False)
        if both.rc == 0:
            return parse(both.stdout, words.read())
    # One after the other they say in their own words what is wrong.
    return parse(run(JSON).stdout, run(WORDS).stdout)
