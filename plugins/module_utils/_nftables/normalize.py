# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The form in which nft prints a rule, from nft itself in a temporary network namespace.

A rule can be written in many ways, and nft prints it in one. So nft itself decides whether a rule stands in a chain
already, and a rule that nft would refuse is refused before any change.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from .._core.command import CommandError, Runner
from .._core.errors import OversshError
from .chain_rule import Base, ChainRule, Written, require_chain
from .listing import PATH
from .owner import shared_with_iptables
from .record import Placed
from .ruleset import ChainKey, Ruleset, parse

# What read_listing reads.
LISTING = "nft -j list ruleset && echo && nft -s -a list ruleset"
# Loads the tables, then the rules, and lists what has become of them.
SCRIPT = f'{PATH}nft -j -f "$1" && nft -f "$2" && {LISTING}'
# What nft says of a line of a file, and then the line, and carets under what it means.
REFUSAL = re.compile(r"^\S*?rules:(?P<line>[0-9]+):(?P<first>[0-9]+)-(?P<last>[0-9]+): Error: (?P<words>[^/]*)")


def written(run: Runner, ruleset: Ruleset, wanted: Sequence[ChainRule], owner: str) -> dict[str, tuple[Written, ...]]:
    """Each rule as nft prints it, by its name; ruleset: the host's; owner: see _nftables.owner."""
    if not wanted:
        return {}
    shared = shared_with_iptables(ruleset, owner)
    for fixed in wanted:
        require_chain(fixed, ruleset)
    lines = [
        (fixed.name, f'add rule {fixed.key} {text} comment "{fixed.comment}"')
        for fixed in wanted
        for text in texts(fixed, shared)
    ]
    bases = {fixed.key: fixed.base for fixed in wanted}
    try:
        answer = _loaded(run, ruleset, bases, [line for _name, line in lines])
    except CommandError as error:
        raise OversshError(_refusal(str(error), lines)) from error
    found: dict[str, list[Written]] = {fixed.name: [] for fixed in wanted}
    for _key, rule in answer.our_rules():
        found[str(rule.name)].append(Written(rule.comment, rule.statements, rule.text))
    return {name: tuple(rules) for name, rules in found.items()}


def spelled(run: Runner, ruleset: Ruleset, placed: Sequence[Placed]) -> Sequence[Placed]:
    """The record's rules as this host's nft prints them; none where nft refuses one of them."""
    bases = dict.fromkeys(each.key for each in placed)
    try:
        answer = _loaded(run, ruleset, bases, [f"add rule {each.key} {each.rule}" for each in placed])
    except CommandError:
        return ()
    return [Placed(key, rule.text, rule.statements) for key, rule in answer.our_rules()]


def _loaded(run: Runner, ruleset: Ruleset, bases: Mapping[ChainKey, Base | None], lines: Sequence[str]) -> Ruleset:
    """The lines as nft lists them after loading, in the tables of their chains; bases: of chains to make."""
    with tempfile.TemporaryDirectory(prefix="overssh-nft-") as folder:
        tables, rules = os.path.join(folder, "tables"), os.path.join(folder, "rules")
        _write(tables, json.dumps({"nftables": list(_tables(ruleset, bases))}))
        _write(rules, "".join(f"{line}\n" for line in lines))
        return read_listing(run(["unshare", "--net", "sh", "-c", SCRIPT, "sh", tables, rules]).stdout)


def read_listing(output: str) -> Ruleset:
    """The ruleset in the output of LISTING."""
    listing, _empty, text = output.partition("\n\n")
    return parse(listing, text)


def texts(fixed: ChainRule, shared: Collection[tuple[str, str]]) -> tuple[str, ...]:
    """The rule's texts for its table; OversshError where iptables owns the table and could not show the rule."""
    if fixed.key[:2] not in shared:
        return fixed.texts
    if not fixed.plain:
        raise OversshError(
            f"rule {fixed.name}: {fixed.key.family} {fixed.key.table} is iptables' table, and iptables could not show "
            "this rule, or would refuse the whole chain; put it into a chain of the table overssh, with hook and "
            "priority"
        )
    return fixed.singles


def _tables(ruleset: Ruleset, bases: Mapping[ChainKey, Base | None]) -> Iterator[dict[str, Any]]:
    """The tables that the chains stand in, with their sets and chains and nothing in these."""
    tables = {key[:2] for key in bases}
    for family, table in sorted(tables):
        yield {"add": {"table": {"family": family, "name": table}}}
    made = set()
    for entry in ruleset.declared:
        for kind in ("set", "map", "chain", "counter", "quota", "limit", "ct helper", "flowtable"):
            body = entry.get(kind)
            if isinstance(body, dict) and (body["family"], body["table"]) in tables:
                if kind == "chain":
                    made.add(ChainKey(body["family"], body["table"], body["name"]))
                yield {"add": {kind: {key: value for key, value in body.items() if key not in ("handle", "elem")}}}
    for key, base in bases.items():
        if key not in made and base is not None:
            chain = {"family": key.family, "table": key.table, "name": key.chain}
            made_by = {"type": base.kind, "hook": base.hook, "prio": base.priority}
            yield {"add": {"chain": {**chain, **made_by, "policy": base.policy}}}


def _refusal(words: str, lines: Sequence[tuple[str, str]]) -> str:
    """nft's own words, with the rule and the part of it that they are about."""
    _command, _colon, said = words.partition(": ")
    found = REFUSAL.match(said)
    if found is None:
        return words
    name, line = lines[int(found["line"]) - 1]
    part = line[int(found["first"]) - 1 : int(found["last"])]
    return f"rule {name}: nft refuses it at {part!r}: {found['words'].strip()}"


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as opened:
        opened.write(text)
