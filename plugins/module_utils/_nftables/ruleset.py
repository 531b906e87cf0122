# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's ruleset from nft, as data: chains with their rules in order, sets and maps with their elements."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from .._core.errors import OversshError

MARK = "overssh:"
# Our own table.
OWN_TABLE = "overssh"
# firewalld's table; in our own records also what stands for a family where firewalld keeps a rule itself.
FIREWALLD = "firewalld"

Statement = Mapping[str, Any]

# What iptables calls its tables and its base chains, and the hook that each of those chains has.
IPTABLES_TABLES = frozenset({"filter", "nat", "mangle", "raw", "security"})
IPTABLES_CHAINS = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}

# The lines of `nft -a list ruleset` that begin a table or are a rule.
TEXT_LINE = re.compile(r"^(?:table (\S+) (\S+) \{|\t\t(\S.*) # handle (\d+)$)", re.MULTILINE)
# Those that begin a table with flags.
TABLE_FLAGS = re.compile(r"^table (\S+) (\S+) \{.*\n\tflags (\S+)$", re.MULTILINE)
# Those that begin a table or a chain, and the line of a base chain's devices: nft 1.0.6 leaves these out of its JSON.
DEVICES = re.compile(
    r"^(?:table (\S+) (\S+) \{.*|\tchain (\S+) \{.*"
    r"|\t\ttype \S+ hook \S+ devices? (?:= )?(\{[^}]*\}|\S+) priority .*)$",
    re.MULTILINE,
)


class ChainKey(NamedTuple):
    """The identity of a chain on a host: family, table and chain."""

    family: str
    table: str
    chain: str

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.chain}"


def name_of(comment: str) -> str | None:
    """The rule name in a comment of ours, None for other comments."""
    return comment[len(MARK) :] if comment.startswith(MARK) else None


@dataclass(frozen=True)
class Rule:
    """One rule, its text as nft prints it; handle is 0 where the rule isn't on the host yet.

    stranger: others placed it, whatever its comment says.
    """

    handle: int
    statements: tuple[Statement, ...]
    comment: str = ""
    text: str = ""
    stranger: bool = False

    @property
    def name(self) -> str | None:
        """The name of a rule of ours, None for others' rules."""
        return None if self.stranger else name_of(self.comment)


@dataclass(frozen=True)
class Chain:
    """A chain; a chain with a hook is a base chain, where packets enter."""

    key: ChainKey
    rules: tuple[Rule, ...] = ()
    hook: str | None = None
    kind: str | None = None
    priority: int = 0
    policy: str = "accept"
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedSet:
    """A named set or map; changing: packets or time change its elements, so its current content says little."""

    elements: tuple[Any, ...] = ()
    changing: bool = False


@dataclass(frozen=True)
class Ruleset:
    """All tables of a host; declared: their content besides rules, as nft lists it.

    owned: family and name of each table that only its owner, a running program, may change.
    """

    chains: Mapping[ChainKey, Chain] = field(default_factory=dict)
    sets: Mapping[ChainKey, NamedSet] = field(default_factory=dict)
    declared: Sequence[Mapping[str, Any]] = ()
    owned: frozenset[tuple[str, str]] = frozenset()

    def base_chains(self, hook: str, families: Iterable[str]) -> list[Chain]:
        """The base chains of a hook, in a packet's order."""
        wanted = set(families)
        found = [chain for chain in self.chains.values() if chain.hook == hook and chain.key.family in wanted]
        return sorted(found, key=lambda chain: (chain.priority, chain.key))

    def our_rules(self) -> Sequence[tuple[ChainKey, Rule]]:
        """Every rule of ours, with its chain."""
        return self._ours

    @functools.cached_property
    def _ours(self) -> Sequence[tuple[ChainKey, Rule]]:
        return [(key, rule) for key, chain in self.chains.items() for rule in chain.rules if rule.name is not None]

    def strangers(self) -> Iterator[tuple[ChainKey, Rule]]:
        """Every rule of others that has a comment like ours, with its chain."""
        for key, chain in self.chains.items():
            for rule in chain.rules:
                if rule.stranger and name_of(rule.comment) is not None:
                    yield key, rule

    @property
    def fingerprint(self) -> str:
        """A value that two listings share unless the ruleset changed between them; counters don't count."""
        chains = [
            (key, chain.policy, chain.hook, chain.priority, [rule.handle for rule in chain.rules])
            for key, chain in sorted(self.chains.items())
        ]
        return hashlib.sha256(repr(chains).encode()).hexdigest()

    def with_rules(self, chains: Mapping[ChainKey, Sequence[Rule]]) -> Ruleset:
        """The ruleset with the given chains' rules replaced."""
        changed = {key: replace(self.chains[key], rules=tuple(rules)) for key, rules in chains.items()}
        return replace(self, chains={**self.chains, **changed})

    def without(self, rules: Iterable[tuple[ChainKey, Rule]]) -> Ruleset:
        """The ruleset without these rules."""
        gone = {(key, rule.handle) for key, rule in rules}
        changed = {key for key, _handle in gone}
        return self.with_rules(
            {key: [rule for rule in self.chains[key].rules if (key, rule.handle) not in gone] for key in changed}
        )

    def foreign(self) -> Ruleset:
        """The ruleset without the rules of ours."""
        ours = {key for key, _rule in self.our_rules()}
        return self.with_rules({key: [rule for rule in self.chains[key].rules if rule.name is None] for key in ours})

    def words(self) -> frozenset[str]:
        """Every value that a rule or a set compares with."""
        found: set[str] = set()
        ahead: list[Any] = [rule.statements for chain in self.chains.values() for rule in chain.rules]
        ahead += [named.elements for named in self.sets.values()]
        while ahead:
            value = ahead.pop()
            if isinstance(value, str):
                found.add(value)
            elif isinstance(value, dict):
                ahead.extend(value.values())
            elif isinstance(value, (list, tuple)):
                ahead.extend(value)
        return frozenset(found)

    def iptables_tables(self) -> frozenset[tuple[str, str]]:
        """The tables that iptables reads and writes; iptables has to be able to print every rule in them."""
        return frozenset(
            key[:2]
            for key, chain in self.chains.items()
            if key.family in {"ip", "ip6"}
            and key.table in IPTABLES_TABLES
            and chain.hook is not None
            and IPTABLES_CHAINS.get(key.chain) == chain.hook
        )


def parse(listing: str, text: str = "") -> Ruleset:
    """The ruleset in `nft -j list ruleset`; text: `nft -s -a list ruleset`, for the rules' texts."""
    try:
        objects = json.loads(listing)["nftables"]
    except (ValueError, KeyError, TypeError) as error:
        raise OversshError(f"nft's list of the ruleset is not the JSON that was asked for: {error}") from error
    texts = rule_texts(text)
    devices = chain_devices(text)
    chains: dict[ChainKey, Chain] = {}
    rules: dict[ChainKey, list[Rule]] = {}
    sets: dict[ChainKey, NamedSet] = {}
    for entry in objects:
        if "chain" in entry:
            chain = _chain(entry["chain"])
            chains[chain.key] = replace(chain, devices=chain.devices or devices.get(chain.key, ()))
        elif "rule" in entry:
            found = entry["rule"]
            key = ChainKey(found["family"], found["table"], found["chain"])
            rule = Rule(
                handle=found["handle"],
                statements=tuple(found.get("expr", ())),
                comment=found.get("comment", ""),
                text=texts.get((key.family, key.table, found["handle"]), ""),
            )
            rules.setdefault(key, []).append(rule)
        elif "set" in entry or "map" in entry:
            found = entry.get("set") or entry["map"]
            changing = not {"dynamic", "timeout"}.isdisjoint(several(found.get("flags")))
            sets[ChainKey(found["family"], found["table"], found["name"])] = NamedSet(
                tuple(found.get("elem", ())), changing
            )
    filled = {key: replace(chain, rules=tuple(rules.get(key, ()))) for key, chain in chains.items()}
    declared = [entry for entry in objects if "rule" not in entry]
    return Ruleset(filled, _with_updates(sets, filled.values()), declared, owned_tables(text))


def rule_texts(text: str) -> dict[tuple[str, str, int], str]:
    """Each rule's text in `nft -s -a list ruleset`, by family, table and handle."""
    texts: dict[tuple[str, str, int], str] = {}
    table = ("", "")
    for family, name, rule, handle in TEXT_LINE.findall(text):
        if family:
            table = (family, name)
        else:
            texts[(*table, int(handle))] = rule
    return texts


def owned_tables(text: str) -> frozenset[tuple[str, str]]:
    """The tables with the flag owner in `nft list ruleset`; the JSON of nft 1.0.6 has the table's name in its place."""
    return frozenset((family, name) for family, name, flags in TABLE_FLAGS.findall(text) if "owner" in flags.split(","))


def chain_devices(text: str) -> dict[ChainKey, tuple[str, ...]]:
    """The devices of each base chain that has any, in `nft list ruleset`."""
    found: dict[ChainKey, tuple[str, ...]] = {}
    table, chain = ("", ""), ""
    for family, name, begun, devices in DEVICES.findall(text):
        if family:
            table = (family, name)
        elif begun:
            chain = begun
        else:
            found[ChainKey(*table, chain)] = tuple(word.strip('"') for word in re.findall(r"[^\s{},]+", devices))
    return found


def several(value: Any) -> tuple[Any, ...]:
    """The values of a list; nft writes a single value without the list (from 1.1.4 on more often)."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _chain(found: Mapping[str, Any]) -> Chain:
    return Chain(
        key=ChainKey(found["family"], found["table"], found["name"]),
        hook=found.get("hook"),
        kind=found.get("type"),
        priority=int(found.get("prio", 0)),
        policy=found.get("policy", "accept"),
        devices=several(found.get("dev")),
    )


def _with_updates(sets: dict[ChainKey, NamedSet], chains: Iterable[Chain]) -> dict[ChainKey, NamedSet]:
    """The sets, those marked as changing that a rule adds elements to (nft 1.0.6 doesn't list the flag)."""
    updated = dict(sets)
    for chain in chains:
        for rule in chain.rules:
            for statement in rule.statements:
                change = statement.get("set") or statement.get("map")
                if not isinstance(change, dict):
                    continue
                name = change.get("set") or change.get("map") or ""
                key = ChainKey(chain.key.family, chain.key.table, str(name).lstrip("@"))
                if key in updated:
                    updated[key] = replace(updated[key], changing=True)
    return updated
