# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's ruleset, in which only what was placed here counts as ours."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from . import _nft_lines, _nft_list, _nft_record
from ._command import Runner
from ._files import read_text
from ._nft_model import ChainKey, Ruleset
from ._nft_record import Placed, Record

# iptables' own comments, which nft does not tell.
PROGRAMS = {"ip": "iptables-nft", "ip6": "ip6tables-nft"}

Respell = Callable[[Runner, Ruleset, Sequence[Placed]], Sequence[Placed]]


def record(rules_file: str | None = None) -> Record:
    """What was placed on this host; rules_file: another list for the next boot than the host's."""
    kept = read_text(_nft_lines.RULES_FILE if rules_file is None else rules_file)
    return _nft_record.read_record(read_text(_nft_record.PLACED_FILE), kept)


def ruleset(run: Runner, known: Record | None = None, respell: Respell | None = None) -> Ruleset:
    """The ruleset, with what is ours told from what only looks like it.

    known: the record, by default the host's. respell: has nft itself tell how it would write rules of the record, where
    the host has rules that may be the same in other words.
    """
    known = record() if known is None else known
    found = _nft_list.ruleset(run)
    comments = iptables_comments(run, _nft_record.chains_to_ask(found, known))
    ours = _nft_record.claimed(found, known, comments)
    if respell is not None and (left := _nft_record.doubtful(ours, known)):
        return _nft_record.claimed(found, replace(known, placed=(*known.placed, *respell(run, found, left))), comments)
    return ours


def iptables_comments(run: Runner, chains: Sequence[ChainKey]) -> Mapping[ChainKey, Sequence[str]]:
    """Each rule's comment in these chains; a chain that iptables does not list has none."""
    found = {}
    for key in chains:
        argv = [PROGRAMS.get(key.family, ""), "--table", key.table, "--list-rules", key.chain]
        answer = run(["sh", "-c", f"{_nft_list.PATH}{shlex.join(argv)}"], check=False)
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
