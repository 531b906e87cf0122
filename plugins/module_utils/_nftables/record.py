# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of rules placed on a host; it decides which rules with our comment are ours; pure.

Anybody can write a comment. So a rule is ours only where the record has it, in that chain and with that content.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .accept import read_piece
from .chain_rule import comparable
from .rules_file import CHAIN, FOLDER, read_lines
from .ruleset import FIREWALLD, MARK, ChainKey, Rule, Ruleset, Statement, name_of, several

PLACED_FILE = f"{FOLDER}/placed"
HEADER = """\
# Firewall rules that overssh.swarm placed on this host, and the accepts that they stand for.
# A rule that has our comment and is not listed here is taken for somebody else's, and left.
"""
# nft's form of a comment by iptables; nft does not list its text.
XT_COMMENT = {"xt": {"type": "match", "name": "comment"}}


@dataclass(frozen=True)
class Placed:
    """A placed rule, its text with the comment.

    statements: nft's JSON of it; none where an older build recorded the text only. interim: the watcher placed it,
    because a recorded place takes no effect.
    """

    key: ChainKey
    rule: str
    statements: tuple[Statement, ...] = ()
    interim: bool = False

    @property
    def name(self) -> str:
        """The rule's name, from its comment."""
        return name_of(self.rule.rpartition(" comment ")[2].strip('"')) or ""


@dataclass(frozen=True)
class Record:
    """placed: the rules; accepts: by name, the options of accepts for which the watcher may find new places."""

    placed: tuple[Placed, ...] = ()
    accepts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def with_placed(self, coming: Iterable[Placed]) -> Record:
        """The record with these rules added."""
        known = {(each.key, each.rule): each for each in self.placed}
        return replace(self, placed=tuple({**known, **{(each.key, each.rule): each for each in coming}}.values()))

    @property
    def text(self) -> str:
        """The text of the record's file; "" for an empty record."""
        if not self.placed:
            return ""
        rows: list[dict[str, Any]] = [{"accept": dict(self.accepts[name])} for name in sorted(self.accepts)]
        for each in sorted(self.placed, key=lambda each: (each.key, each.rule)):
            row = {**each.key._asdict(), "rule": each.rule, "expr": list(each.statements)}
            rows.append({**row, "interim": True} if each.interim else row)
        return HEADER + "".join(f"{json.dumps(row)}\n" for row in rows)


def read_record(text: str | None, kept_text: str | None) -> Record:
    """The record in the file's text, plus rules in the next boot's list that older builds did not record."""
    placed: list[Placed] = []
    accepts: dict[str, Mapping[str, Any]] = {}
    for row in (text or "").splitlines():
        try:
            found = json.loads(row)
            if "accept" in found:
                accepts[found["accept"]["name"]] = found["accept"]
            else:
                key = ChainKey(found["family"], found["table"], found["chain"])
                placed.append(Placed(key, found["rule"], tuple(found["expr"]), bool(found.get("interim"))))
        except (ValueError, KeyError, TypeError):
            continue
    known = {(each.key, each.rule) for each in placed}
    for line in read_lines(kept_text):
        if line.anchor != CHAIN and line.key.family != FIREWALLD and (line.key, line.rule) not in known:
            placed.append(Placed(line.key, line.rule))
    return Record(tuple(placed), accepts)


def claimed(ruleset: Ruleset, record: Record, comments: Mapping[ChainKey, Sequence[str]] | None = None) -> Ruleset:
    """The ruleset in which only rules of the record count as ours.

    comments: for chains that iptables has rewritten, each rule's comment as iptables prints it.
    """
    entries = _by_place(record)
    changed: dict[ChainKey, list[Rule]] = {}
    for key, index, rule in _commented(ruleset, comments or {}):
        entry = next((each for each in entries.get((key, rule.comment), ()) if same(rule, each)), None)
        rules = changed.setdefault(key, list(ruleset.chains[key].rules))
        if entry is None:
            rules[index] = replace(rule, stranger=True)
        elif is_restored(rule):
            # As it was before somebody saved it and put it back.
            rules[index] = replace(rule, text=entry.rule, stranger=False)
        else:
            rules[index] = replace(rule, stranger=False)
    return ruleset.with_rules(changed)


def doubtful(ruleset: Ruleset, record: Record) -> list[Placed]:
    """Rules of the record that the claimed ruleset may have in other words."""
    strange = {(key, rule.comment) for key, rule in ruleset.strangers()}
    ours = ruleset.our_rules()
    return [
        each
        for each in record.placed
        if (each.key, MARK + each.name) in strange
        and not any(key == each.key and same(rule, each) for key, rule in ours)
    ]


def interim(ruleset: Ruleset, record: Record) -> list[tuple[ChainKey, Rule]]:
    """The rules that the watcher placed."""
    entries = [each for each in record.placed if each.interim]
    return [
        (key, rule)
        for key, rule in ruleset.our_rules()
        if any(key == each.key and same(rule, each) for each in entries)
    ]


def same(rule: Rule, entry: Placed) -> bool:
    """Whether a rule on the host has the recorded rule's name and content."""
    if name_of(rule.comment) != entry.name:
        return False
    if rule.text and rule.text == entry.rule:
        return True
    if not entry.statements:
        return False
    restored = is_restored(rule)
    return bool(_form(rule.statements, restored) == _form(entry.statements, restored))


def is_restored(rule: Rule) -> bool:
    """Whether iptables wrote the rule, with a comment in its own form."""
    return XT_COMMENT in rule.statements


def chains_to_ask(ruleset: Ruleset, record: Record) -> list[ChainKey]:
    """Chains whose comments iptables has to print: those with rules of ours, and base chains."""
    known = {each.key for each in record.placed}
    return [
        key
        for key, chain in ruleset.chains.items()
        if (key in known or chain.hook is not None) and any(is_restored(rule) for rule in chain.rules)
    ]


def _by_place(record: Record) -> dict[tuple[ChainKey, str], list[Placed]]:
    found: dict[tuple[ChainKey, str], list[Placed]] = {}
    for each in record.placed:
        found.setdefault((each.key, MARK + each.name), []).append(each)
    return found


def _commented(ruleset: Ruleset, comments: Mapping[ChainKey, Sequence[str]]) -> Iterator[tuple[ChainKey, int, Rule]]:
    """Each rule that has a comment of ours, in whichever way, with its chain and its place there."""
    for key, chain in ruleset.chains.items():
        printed = comments.get(key, ())
        for index, rule in enumerate(chain.rules):
            asked = is_restored(rule) and not rule.comment and len(printed) == len(chain.rules)
            known = replace(rule, comment=printed[index]) if asked else rule
            if name_of(known.comment) is not None:
                yield key, index, known


def _form(statements: Sequence[Statement], restored: bool) -> Any:
    """A form that rules of equal content share; restored: without iptables' additions."""
    bare = statements
    if restored:
        bare = [each for each in statements if each != XT_COMMENT and "counter" not in each]
    piece = read_piece("", bare)
    if piece is not None:
        return piece
    forms = [comparable(_single(each)) for each in bare]
    return sorted(forms, key=repr) if restored else forms


def _single(statement: Statement) -> Statement:
    """The statement, a set of one value as the value itself."""
    match = statement.get("match")
    right = match.get("right") if isinstance(match, Mapping) else None
    if isinstance(right, Mapping) and len(several(right.get("set"))) == 1:
        return {"match": {**statement["match"], "right": several(right["set"])[0]}}
    return statement
