# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that lists our rules for the next boot, one rule in a line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .ruleset import ChainKey, name_of

FOLDER = "/etc/overssh/nft"
RULES_FILE = f"{FOLDER}/rules"
AT_END, CHAIN = "(end)", "(chain)"

HEADER = """\
# Firewall rules of ours, put back by overssh-nft.service where they are missing.
# family, table, chain, rule, and the rule that it stands before; between them one tab each.
"""


@dataclass(frozen=True)
class Line:
    """One rule in the file; anchor: text of the rule after it, "" at the chain's end.

    A line may also be a chain of ours, without a name and with the anchor CHAIN, or a rule that firewalld keeps, with
    its interfaces.
    """

    key: ChainKey
    rule: str
    anchor: str = ""

    @property
    def comment(self) -> str:
        """The rule's comment."""
        return self.rule.rpartition(" comment ")[2].strip('"')

    @property
    def name(self) -> str:
        """The rule's name, from its comment."""
        return name_of(self.comment) or ""

    def __str__(self) -> str:
        return "\t".join((*self.key, self.rule, self.anchor or AT_END))


def chain_line(key: ChainKey, words: str) -> Line:
    """The line of a chain of ours, in nft's words; it precedes the chain's rules."""
    return Line(key, words, CHAIN)


def read_lines(text: str | None) -> tuple[Line, ...]:
    """The lines of the file's text; lines in another form are left out."""
    found = []
    for row in (text or "").splitlines():
        fields = row.split("\t", 4)
        if row.startswith("#") or len(fields) != 5:
            continue
        family, table, chain, rule, anchor = fields
        found.append(Line(ChainKey(family, table, chain), rule, "" if anchor == AT_END else anchor))
    return tuple(found)


def file_text(lines: Iterable[Line]) -> str:
    """The text of the file with these lines."""
    return HEADER + "".join(f"{line}\n" for line in lines)
