# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our firewall rules, watched. On a host this file is a part of the watcher's program.

The kernel reports a message for each rule of a removed table or chain. So removed rules and new chains are all that has
to be watched. nft_rule's own script restores missing rules.
"""

from __future__ import annotations

import glob
import os
import time
from collections import Counter

from .._linux.netlink import attributes
from .fights import ROUND_SECONDS, ROUNDS, TRUCE, Fights
from .host import Run, say
from .kernel import Kernel

# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
NETLINK_NETFILTER, NFNLGRP_NFTABLES, NFNL_SUBSYS_NFTABLES = 12, 7, 10
NEW_CHAIN, DELETED_RULE, NEW_GENERATION = (NFNL_SUBSYS_NFTABLES << 8 | kind for kind in (3, 8, 15))
NFTA_GEN_PROC_NAME = 3
# What stands before the attributes of a message.
BODY = 4

SUBJECT, WHAT = "firewall", "rules"
# What the script says of something that it has done.
DEEDS = ("put back ", "placed in ")
# A change that waits to be confirmed has a folder, and in it a deadline.
CHECKPOINTS = "/var/lib/overssh/checkpoint/firewall*"


class Rules:
    """All firewall rules of ours on this host; folder: with their list and the script."""

    # A rule that could not be restored waits for its chain; the kernel reports a new chain.
    failed = False

    def __init__(self, folder: str, fights: Fights, run: Run) -> None:
        self.kernel = Kernel(NETLINK_NETFILTER, [NFNLGRP_NFTABLES])
        self._folder, self._fights, self._run = folder, fights, run
        self.waits = True
        self._begun = False
        self._removes = False
        # How often each program removed rules since they were last as they should be.
        self._removers: Counter[str] = Counter()
        self._said: set[str] = set()

    def everything(self) -> None:
        """Check all rules next."""
        self.waits = True

    def take(self) -> None:
        """Read the kernel's messages."""
        for message in self.kernel.received():
            if message is None or message.kind == NEW_CHAIN:
                self.waits = True
            elif message.kind == DELETED_RULE:
                self.waits = self._removes = True
            elif message.kind == NEW_GENERATION and self._removes:
                self._removes = False
                self._removers[_program(message.body)] += 1

    def look(self) -> None:
        """Restore missing rules, except during a truce and while a change is pending."""
        self.waits = False
        removers, self._removers = self._removers, Counter()
        now = time.monotonic()
        if not os.path.exists(f"{self._folder}/rules") or unconfirmed() or self._fights.is_left(SUBJECT, WHAT, now):
            return
        done = self._run(["sh", f"{self._folder}/restore", f"{self._folder}/rules"])
        lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
        for line in lines:
            # Some of it is as it was the time before.
            if line.startswith(DEEDS) or line not in self._said:
                say(line)
        self._said = set(lines)
        first, self._begun = not self._begun, True
        if first or not any(line.startswith(DEEDS) for line in lines):
            return
        by = removers.most_common(1)[0][0] if removers else "a program"
        if not self._fights.round(SUBJECT, WHAT, by, now):
            say(left_alone(by))


def left_alone(by: str) -> str:
    """The sentence on the program that removes rules again and again."""
    return (
        f"{by} removes firewall rules of overssh again and again, {ROUNDS + 1} times within {ROUND_SECONDS:g} s: they "
        f"are left alone for {TRUCE / 60:g} minutes; stop it, then run systemctl restart overssh-watch.service"
    )


def unconfirmed() -> bool:
    """Whether a change is pending; its missing rules must not come back."""
    return any(
        os.path.exists(f"{each}/deadline") and not os.path.exists(f"{each}/rolled_back")
        for each in glob.glob(CHECKPOINTS)
    )


def _program(body: bytes) -> str:
    """The program behind a change; each change has a process of its own, and most have ended by now."""
    name = dict(attributes(body[BODY:])).get(NFTA_GEN_PROC_NAME, b"").rstrip(b"\0").decode(errors="replace")
    return f"the program {name}" if name else "a program"
