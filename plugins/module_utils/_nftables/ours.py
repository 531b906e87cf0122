# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's ruleset, where only rules from our record count as ours."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from .._core.command import Runner
from .._core.files import read_text
from . import listing
from . import record as nftables_record
from . import rules_file as nftables_rules_file
from .record import Placed, Record
from .ruleset import ChainKey, Ruleset

# iptables' own comments, which nft does not list.
PROGRAMS = {"ip": "iptables-nft", "ip6": "ip6tables-nft"}

Respell = Callable[[Runner, Ruleset, Sequence[Placed]], Sequence[Placed]]


def record(rules_file: str | None = None) -> Record:
    """The record of this host's rules; rules_file: another list for the next boot than the host's."""
    kept = read_text(nftables_rules_file.RULES_FILE if rules_file is None else rules_file)
    return nftables_record.read_record(read_text(nftables_record.PLACED_FILE), kept)


def ruleset(run: Runner, known: Record | None = None, respell: Respell | None = None) -> Ruleset:
    """The ruleset; rules of others with a comment like ours count as theirs.

    known: the record, by default the host's. respell: has nft print the record's rules, where rules on the host may
    equal them in other words.
    """
    known = record() if known is None else known
    found = listing.ruleset(run)
    comments = iptables_comments(run, nftables_record.chains_to_ask(found, known))
    ours = nftables_record.claimed(found, known, comments)
    if respell is not None and (left := nftables_record.doubtful(ours, known)):
        return nftables_record.claimed(
            found, replace(known, placed=(*known.placed, *respell(run, found, left))), comments
        )
    return ours


def iptables_comments(run: Runner, chains: Sequence[ChainKey]) -> Mapping[ChainKey, Sequence[str]]:
    """Each rule's comment in these chains; none for a chain that iptables does not list."""
    found = {}
    for key in chains:
        argv = [PROGRAMS.get(key.family, ""), "--table", key.table, "--list-rules", key.chain]
        answer = run(["sh", "-c", f"{listing.PATH}{shlex.join(argv)}"], check=False)
        if answer.rc == 0:
            found[key] = [_comment(line) for line in answer.stdout.splitlines() if line.startswith("-A ")]
    return found


def _comment(line: str) -> str:
    """The comment in a rule as iptables prints it."""
    try:
        words = shlex.split(line)
    except ValueError:
        return ""
    return next((after for word, after in zip(words, words[1:]) if word == "--comment"), "")
