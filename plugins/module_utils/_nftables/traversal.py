# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walk a kind of packet through a base chain: where it may be dropped, and by which rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .conditions import Condition, Conditions, Holds, Packet, Predicate
from .index import Index
from .ruleset import Chain, ChainKey, Rule, Ruleset, Statement

# Statements that neither choose packets nor decide about them.
NEUTRAL = frozenset(
    {
        "counter",
        "log",
        "mangle",
        "notrack",
        "ct helper",
        "ct timeout",
        "ct expectation",
        "secmark",
        "flow",
        "dup",
        "last",
        "tproxy",
    }
)
# Statements that let some packets pass and end the rule for others, by something that isn't in the packet.
UNCERTAIN = frozenset({"limit", "quota", "ct count", "set", "map", "meter"})
CALLING = frozenset({"jump", "goto", "vmap"})
VERDICTS = frozenset({"accept", "drop", "reject", "continue", "return", "jump", "goto", "queue"})
# What sends packets elsewhere, and what only changes whom they come from; both end their chain.
TRANSLATIONS = {"dnat": "translate", "redirect": "translate", "snat": "accept", "masquerade": "accept"}
# Targets of iptables that end nothing.
PASSING_TARGETS = frozenset(
    {
        "AUDIT",
        "CHECKSUM",
        "CLASSIFY",
        "CONNMARK",
        "CONNSECMARK",
        "CT",
        "DSCP",
        "ECN",
        "HL",
        "HMARK",
        "IDLETIMER",
        "LED",
        "LOG",
        "MARK",
        "NFLOG",
        "NOTRACK",
        "SECMARK",
        "SET",
        "TCPMSS",
        "TCPOPTSTRIP",
        "TEE",
        "TOS",
        "TRACE",
        "TTL",
        "ULOG",
    }
)
TRANSLATING_TARGETS = {
    "DNAT": "translate",
    "NETMAP": "translate",
    "REDIRECT": "translate",
    "SNAT": "accept",
    "MASQUERADE": "accept",
}
DEPTH = 16


@dataclass(frozen=True)
class Site:
    """A place in a chain: before the rule at index; index == number of rules is the end."""

    key: ChainKey
    index: int


@dataclass(frozen=True)
class Event:
    """A place where the packet may leave the walk.

    kind: "drop", by the rule at deciding; "exit", where the walk leaves the chain and the caller or the policy goes on;
    "queue" and "translate", for information only. site: where an accept prevents it; entry: index of the base chain's
    rule that led here; certain: each condition up to the rule, and its own, surely holds.
    """

    kind: str
    site: Site
    deciding: Site
    entry: int = 0
    certain: bool = False


def drops(event: Event, base: Chain) -> bool:
    """Whether the event ends the packet, by a rule or by the base chain's policy."""
    return event.kind == "drop" or (event.kind == "exit" and base.policy == "drop")


def deciding_rule(ruleset: Ruleset, event: Event) -> Rule | None:
    """The rule of an event; None at a chain's end, where the policy decides."""
    rules = ruleset.chains[event.deciding.key].rules
    return rules[event.deciding.index] if event.deciding.index < len(rules) else None


@dataclass(frozen=True)
class Outcome:
    """A verdict of a rule, and its condition."""

    holds: Predicate
    verdict: str
    target: str = ""


@dataclass(frozen=True)
class Reading:
    """A rule's outcomes, and its necessary conditions."""

    outcomes: Sequence[Outcome] = ()
    conditions: Sequence[Condition] = ()


class Reader:
    """A ruleset's rules as outcomes, each read once, when the first packet reaches its chain."""

    def __init__(self, ruleset: Ruleset) -> None:
        self.calls = tuple(called_chains(ruleset))
        self.references = Counter(target for _caller, target in self.calls)
        self._ruleset = ruleset
        self._conditions: dict[tuple[str, str], Conditions] = {}
        self._readings: dict[tuple[ChainKey, int], Reading] = {}
        self._indexes: dict[ChainKey, Index] = {}

    def read(self, key: ChainKey, rule: Rule) -> Sequence[Outcome]:
        """The outcomes of a rule in this chain."""
        return self._reading(key, rule).outcomes

    def passed_by(self, key: ChainKey, packet: Packet) -> set[int]:
        """The handles of rules of this chain that surely don't match the packet."""
        index = self._indexes.get(key)
        if index is None:
            chain = self._ruleset.chains.get(key)
            rules = chain.rules if chain else ()
            index = Index((rule.handle, self._reading(key, rule).conditions) for rule in rules if rule.handle)
            self._indexes[key] = index
        return index.excluded(packet)

    def _reading(self, key: ChainKey, rule: Rule) -> Reading:
        found = self._readings.get((key, rule.handle))
        if found is None:
            table = (key.family, key.table)
            conditions = self._conditions.get(table)
            if conditions is None:
                conditions = self._conditions[table] = Conditions(self._ruleset, *table)
            found = reading(rule, conditions)
            if rule.handle:
                self._readings[key, rule.handle] = found
        return found


class Walker:
    """Walks kinds of packets through a ruleset."""

    def __init__(self, ruleset: Ruleset, reader: Reader) -> None:
        self.ruleset = ruleset
        self._reader = reader

    def walk(self, key: ChainKey, packet: Packet, depth: int = 0) -> Iterator[Event]:
        """All events that may happen to the packet from the chain's head on, in order."""
        chain = self.ruleset.chains.get(key)
        if chain is None or depth > DEPTH:
            return
        for index, rule in self._concerned(chain, packet):
            here = Site(key, index)
            ended = False
            for outcome in self._reader.read(key, rule):
                holds = outcome.holds(packet)
                if holds is Holds.NO:
                    continue
                goes_on = False
                if outcome.verdict in {"jump", "goto"}:
                    target = ChainKey(key.family, key.table, outcome.target)
                    for event in self.walk(target, packet, depth + 1):
                        if event.kind == "exit" and outcome.verdict == "jump":
                            goes_on = True
                        else:
                            yield self._seen_from(here, event, target, holds)
                elif outcome.verdict == "continue":
                    goes_on = True
                elif outcome.verdict != "accept":
                    yield Event(outcome.verdict, here, here, index, holds is Holds.YES)
                if holds is Holds.YES:
                    # The elements of a verdict map exclude each other: one that surely holds is the only one.
                    ended = not goes_on
                    break
            if ended:
                return
        end = Site(key, len(chain.rules))
        yield Event("exit", end, end, len(chain.rules), True)

    def first_drop(self, base: Chain, packet: Packet) -> Event | None:
        """The first event that may drop the packet in a base chain, by a rule or by the policy."""
        return next((event for event in self.walk(base.key, packet) if drops(event, base)), None)

    def _concerned(self, chain: Chain, packet: Packet) -> Iterator[tuple[int, Rule]]:
        """The chain's rules that may do anything with the packet, each with its index."""
        passed_by = self._reader.passed_by(chain.key, packet)
        return ((index, rule) for index, rule in enumerate(chain.rules) if rule.handle not in passed_by)

    def sure_calls(self, key: ChainKey, packet: Packet, before: int) -> set[ChainKey]:
        """The chains that rules before the index given surely call for the packet."""
        return {
            ChainKey(key.family, key.table, outcome.target)
            for rule in self.ruleset.chains[key].rules[:before]
            for outcome in self._reader.read(key, rule)
            if outcome.verdict == "jump" and outcome.holds(packet) is Holds.YES
        }

    def _seen_from(self, here: Site, event: Event, target: ChainKey, holds: Holds) -> Event:
        """The event of a called chain as seen by the caller.

        A chain that several rules lead to serves others too, who send there what has to be dropped; an accept in it
        would let that through as well. Then the place is before the call.
        """
        site = here if self._reader.references[target] > 1 else event.site
        return replace(event, site=site, entry=here.index, certain=event.certain and holds is Holds.YES)


def reading(rule: Rule, conditions: Conditions) -> Reading:
    """The outcomes of the rule. A statement unknown here may drop."""
    found: list[Condition] = []
    for statement in rule.statements:
        kind, body = next(iter(statement.items()))
        role = _role(kind, body)
        if role == "match":
            found.append(conditions.match(body))
        elif role == "uncertain":
            found.append(_UNCERTAIN)
        elif role == "vmap":
            return Reading(_map_outcomes(conditions.verdicts(body), _predicates(found)), found)
        elif role == "unknown":
            return Reading([Outcome(_all([*_predicates(found), _maybe]), "drop")], found)
        elif role != "neutral":
            return Reading([_outcome(_all(_predicates(found)), role, body)], found)
    return Reading()


def _predicates(conditions: Iterable[Condition]) -> list[Predicate]:
    return [condition.holds for condition in conditions]


def _role(kind: str, body: Any) -> str:
    """The role of a statement: a condition, a verdict, or neither."""
    if kind == "xt":
        return _xt_role(body.get("type"), body.get("name"))
    if kind in NEUTRAL:
        return "neutral"
    if kind in UNCERTAIN:
        return "uncertain"
    if kind in TRANSLATIONS:
        return TRANSLATIONS[kind]
    return kind if kind in {"match", "vmap", *VERDICTS} else "unknown"


def _xt_role(kind: Any, name: Any) -> str:
    """The role of an extension of iptables, of which nft lists only the name."""
    if kind == "match":
        return "neutral" if name == "comment" else "uncertain"
    if kind != "target" or name in PASSING_TARGETS:
        return "neutral"
    if name == "REJECT":
        return "reject"
    return TRANSLATING_TARGETS.get(name, "unknown")


def _outcome(holds: Predicate, verdict: str, body: Any) -> Outcome:
    if verdict in {"jump", "goto"}:
        return Outcome(holds, verdict, body["target"])
    return Outcome(holds, {"reject": "drop", "return": "exit"}.get(verdict, verdict))


def _map_outcomes(elements: list[tuple[Predicate, Any]] | None, predicates: list[Predicate]) -> list[Outcome]:
    if elements is None:
        return [Outcome(_all([*predicates, _maybe]), "drop")]
    found = []
    for holds, verdict in elements:
        ((kind, body),) = verdict.items()
        found.append(_outcome(_all([*predicates, holds]), kind, body))
    return found


def _all(predicates: list[Predicate]) -> Predicate:
    chosen = tuple(predicates)

    def holds(packet: Packet) -> Holds:
        answer = Holds.YES
        for predicate in chosen:
            answer = min(answer, predicate(packet))
            if answer is Holds.NO:
                break
        return answer

    return holds


def _maybe(packet: Packet) -> Holds:
    return Holds.MAYBE


_UNCERTAIN = Condition(_maybe)


def called_chains(ruleset: Ruleset) -> Iterator[tuple[ChainKey, ChainKey]]:
    """Each jump or goto of a rule, in its verdict maps too: the calling chain and the called one."""
    for key, chain in ruleset.chains.items():
        for rule in chain.rules:
            for statement in rule.statements:
                # Rules that call nothing are most of a large ruleset, so their kind alone identifies them.
                if CALLING.isdisjoint(statement):
                    continue
                data = statement["vmap"].get("data") if "vmap" in statement else None
                value: Any = statement
                if isinstance(data, str):
                    named = ruleset.sets.get(ChainKey(key.family, key.table, data.lstrip("@")))
                    value = named.elements if named is not None else ()
                for target in _targets(value):
                    yield key, ChainKey(key.family, key.table, target)


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for kind, body in value.items():
            if kind in {"jump", "goto"} and isinstance(body, dict):
                yield body["target"]
            else:
                yield from _targets(body)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _targets(part)


def is_logging(statements: tuple[Statement, ...]) -> bool:
    """Whether a rule only logs and counts."""
    kinds = {kind for statement in statements for kind in statement}
    targets = {statement["xt"].get("name") for statement in statements if "xt" in statement}
    logs = "log" in kinds or bool(targets & {"LOG", "NFLOG", "ULOG"})
    return logs and kinds <= {"match", "log", "counter", "limit", "xt"} and targets <= {"LOG", "NFLOG", "ULOG", "limit"}
