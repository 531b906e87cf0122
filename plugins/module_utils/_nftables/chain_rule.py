# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rule in a chain that the user names: its text in nft's language, and its position; pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from .._core.errors import OversshError
from .accept import braces, family_of, interfaces_from, network_text, networks_from, ports_from, rule_name, span_text
from .conditions import Network, Span
from .ruleset import MARK, OWN_TABLE, Chain, ChainKey, Rule, Ruleset, Statement

# What goes with a chain that is named, besides what every rule has.
OPTIONS: dict[str, dict[str, Any]] = {
    "position": {"type": "str", "choices": ["first", "last", "before", "after"], "default": "last"},
    "anchor": {"type": "str"},
    "target": {"type": "str"},
    "reject_with": {"type": "str"},
    "source_ports": {"type": "list", "elements": "str", "default": []},
    "ct_state": {
        "type": "list",
        "elements": "str",
        "choices": ["new", "established", "related", "invalid", "untracked"],
        "default": [],
    },
    "limit": {"type": "str"},
    "limit_burst": {"type": "int"},
    "counter": {"type": "bool", "default": False},
    "log_prefix": {"type": "str"},
    "expression": {"type": "str"},
    "hook": {"type": "str", "choices": ["prerouting", "input", "forward", "output", "postrouting"]},
    "type": {"type": "str", "choices": ["filter", "nat", "route"], "default": "filter"},
    "priority": {"type": "int", "default": 0},
    "policy": {"type": "str", "choices": ["accept", "drop"], "default": "accept"},
}
FAMILIES = ("ip", "ip6", "inet", "arp", "bridge", "netdev")
WITH_TARGET = ("jump", "goto")
VERDICTS = ("accept", "drop", "reject", "return", "continue", "masquerade", *WITH_TARGET)
LIMIT = re.compile(r"(over )?[1-9][0-9]*( [kmg]?bytes)?/(second|minute|hour|day)\Z")
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
# A native match of these in a table of iptables makes iptables refuse the whole chain, or show something else.
NOT_FOR_IPTABLES = ("ct_state", "limit", "log_prefix", "expression", "source_ports")
# They would end a rule in the middle, or hide its comment.
UNFIT = frozenset(";#")
# nft counts on from what a rule has counted; everything else of a statement is the rule itself.
COUNTED = "counter"

# The handle of a rule, or its comment.
Anchor = Optional[str]
# What a rule compares, and with which values.
Part = tuple[str, Sequence[str]]
# All that it compares, and the rest of it in words.
Wording = tuple[Sequence[Part], str]


@dataclass(frozen=True)
class Base:
    """The hook, type and priority that make a chain of ours a base chain."""

    hook: str
    kind: str
    priority: int
    policy: str

    @property
    def words(self) -> str:
        """The base in nft's words."""
        return f"{{ type {self.kind} hook {self.hook} priority {self.priority}; policy {self.policy}; }}"


@dataclass(frozen=True)
class ChainRule:
    """A desired rule, its texts without the comment; some rules need several texts.

    singles: the texts for a table of iptables; plain: whether iptables can show the rule.
    """

    name: str
    key: ChainKey
    texts: tuple[str, ...]
    singles: tuple[str, ...]
    position: str = "last"
    anchor: Anchor = None
    base: Base | None = None
    plain: bool = True

    @property
    def comment(self) -> str:
        """The comment of its rules."""
        return f"{MARK}{self.name}"


@dataclass(frozen=True)
class Written:
    """A rule as nft prints it, in JSON and in words; the words include the comment."""

    comment: str
    statements: tuple[Statement, ...]
    text: str


def chain_rule_from(options: Mapping[str, Any]) -> ChainRule:
    """The rule that a task's options describe; OversshError names the wrong option."""
    name = rule_name(options.get("name"))
    key = _key(str(options["chain"]), name)
    base = _base(options, key, name)
    wordings = _wordings(options, key, name)
    position, anchor = options.get("position") or "last", options.get("anchor")
    if (position in ("before", "after")) != bool(anchor):
        raise OversshError(f"rule {name}: anchor names the rule to stand before or after; it goes with those positions")
    return ChainRule(
        name=name,
        key=key,
        texts=_texts(wordings, single=False),
        singles=_texts(wordings, single=True),
        position=position,
        anchor=None if anchor is None else str(anchor),
        base=base,
        plain=not any(options.get(option) for option in NOT_FOR_IPTABLES)
        and options.get("verdict", "accept") in ("accept", "drop", "return", "jump", "goto"),
    )


def _key(text: str, name: str) -> ChainKey:
    words = text.split()
    if len(words) != 3 or words[0] not in FAMILIES or not all(WORD.match(word) for word in words):
        raise OversshError(
            f"rule {name}: chain is {text!r}; it takes a family, a table and a chain, such as inet filter input"
        )
    return ChainKey(*words)


def _base(options: Mapping[str, Any], key: ChainKey, name: str) -> Base | None:
    hook = options.get("hook")
    if not hook:
        return None
    if key.table != OWN_TABLE:
        raise OversshError(
            f"rule {name}: hook makes a chain, and this makes them in the table {OWN_TABLE} only; name the chain "
            f"{key.family} {OWN_TABLE} {key.chain}, or leave hook out"
        )
    return Base(
        hook, options.get("type") or "filter", int(options.get("priority") or 0), options.get("policy") or "accept"
    )


def _wordings(options: Mapping[str, Any], key: ChainKey, name: str) -> list[Wording]:
    """The comparisons and the verdict of the rule, once for each family of its networks."""
    sources = networks_from(options.get("source") or (), name, "source")
    destinations = networks_from(options.get("destination") or (), name, "destination")
    end = " ".join([*_conditions(options, name), *_verdict(options, name)])
    return [
        ([*_places(options, name, sources, destinations, family), *_ports(options, name)], end)
        for family in _families(options, key, (sources, destinations), name)
    ]


def _texts(wordings: Iterable[Wording], single: bool) -> tuple[str, ...]:
    """The rule's texts; single: each with one interface, network and port, as tables of iptables need it."""
    found = []
    for parts, end in wordings:
        choices = [
            [f"{word} {value}" for value in (values if single else [braces(list(values))])] for word, values in parts
        ]
        found += [" ".join([*chosen, end]).strip() for chosen in itertools.product(*choices)]
    return tuple(found)


def _families(
    options: Mapping[str, Any], key: ChainKey, networks: Iterable[Sequence[Network]], name: str
) -> Sequence[str | None]:
    """A rule for each family of its networks; one for all, where it has none."""
    named = [{family_of(network) for network in found} for found in networks if found]
    named += [{family} for family in [{"icmp": "ip", "icmpv6": "ip6"}.get(str(options.get("protocol")))] if family]
    if key.family in ("ip", "ip6"):
        named.append({key.family})
    if not named:
        return (None,)
    common = set.intersection(*named)
    if not common:
        raise OversshError(
            f"rule {name}: the chain {key}, protocol, source and destination have no address family in common"
        )
    return sorted(common)


def _places(
    options: Mapping[str, Any],
    name: str,
    sources: Sequence[Network],
    destinations: Sequence[Network],
    family: str | None,
) -> Iterator[Part]:
    for option, word in (("in_interfaces", "iifname"), ("out_interfaces", "oifname")):
        found = interfaces_from(options.get(option) or (), name, option, wildcards=True)
        if found:
            yield word, [f'"{interface}"' for interface in found]
    for networks, word in ((sources, "saddr"), (destinations, "daddr")):
        chosen = [network_text(network) for network in networks if family_of(network) == family]
        if chosen:
            yield f"{family} {word}", chosen


def _ports(options: Mapping[str, Any], name: str) -> list[Part]:
    protocol = str(options.get("protocol") or "any")
    parts: list[Part] = []
    for option, field in (("source_ports", "sport"), ("ports", "dport")):
        spans: tuple[Span, ...] = ports_from(options.get(option) or (), name)
        if spans and protocol not in ("tcp", "udp"):
            raise OversshError(f"rule {name}: {option} belong to the protocols tcp and udp, not to {protocol}")
        if spans:
            parts.append((f"{protocol} {field}", [span_text(each) for each in spans]))
    if not parts and protocol != "any":
        parts.append(("meta l4proto", [{"icmpv6": "ipv6-icmp"}.get(protocol, protocol)]))
    return parts


def _conditions(options: Mapping[str, Any], name: str) -> Iterator[str]:
    """The rule's conditions besides addresses, and its log and counter."""
    if options.get("ct_state"):
        yield f"ct state {braces(list(options['ct_state']))}"
    expression = " ".join(str(options.get("expression") or "").split())
    if UNFIT & set(expression):
        raise OversshError(f"rule {name}: expression is a part of one rule, so it takes no ';' and no '#'")
    if expression:
        yield expression
    if options.get("limit"):
        yield _limit(options, name)
    if options.get("counter"):
        yield "counter"
    if options.get("log_prefix") is not None:
        yield _log(str(options["log_prefix"]), name)


def _limit(options: Mapping[str, Any], name: str) -> str:
    limit = str(options["limit"]).strip()
    if not LIMIT.match(limit):
        raise OversshError(
            f"rule {name}: limit is {limit!r}; it takes a rate such as 5/second or over 10 kbytes/second"
        )
    burst = options.get("limit_burst")
    if burst is None:
        return f"limit rate {limit}"
    return f"limit rate {limit} burst {burst} {'bytes' if 'bytes' in limit else 'packets'}"


def _log(prefix: str, name: str) -> str:
    if not prefix.isprintable() or '"' in prefix or "\\" in prefix or len(prefix.encode()) > 127:
        raise OversshError(f"rule {name}: log_prefix takes up to 127 bytes of one line without quotes and backslashes")
    return f'log prefix "{prefix}"' if prefix else "log"


def _verdict(options: Mapping[str, Any], name: str) -> list[str]:
    verdict, target = options.get("verdict") or "accept", options.get("target")
    if (verdict in WITH_TARGET) != bool(target):
        raise OversshError(f"rule {name}: target names the chain to jump to; it goes with the verdicts jump and goto")
    if target and not WORD.match(str(target)):
        raise OversshError(f"rule {name}: target is {target!r}, which is no chain's name")
    if options.get("reject_with") and verdict != "reject":
        raise OversshError(f"rule {name}: reject_with goes with the verdict reject")
    if verdict == "continue":
        return []
    if verdict == "reject" and options.get("reject_with"):
        return ["reject with", " ".join(str(options["reject_with"]).split())]
    return [verdict, str(target)] if target else [verdict]


def base_of(chain: Chain) -> Base:
    """The base of an existing chain."""
    return Base(chain.hook or "", chain.kind or "filter", chain.priority, chain.policy)


def chain_of(key: ChainKey, base: Base) -> Chain:
    """An empty chain with this base."""
    return Chain(key, hook=base.hook, kind=base.kind, priority=base.priority, policy=base.policy)


@dataclass(frozen=True)
class ChainRulePlacement:
    """The change for one rule: what stays, what comes before which rule, what goes; creates: a chain to make."""

    fixed: ChainRule
    kept: tuple[Rule, ...]
    added: tuple[Written, ...]
    before: int | None
    anchor: str
    removed: tuple[tuple[ChainKey, Rule], ...]
    creates: Base | None

    @property
    def standing(self) -> Sequence[Rule | Written]:
        """The rule's texts as they stand after the change."""
        return self.kept or self.added


def place_rule(fixed: ChainRule, written: Sequence[Written], ruleset: Ruleset) -> ChainRulePlacement:
    """The change that puts the rule in its position; written: the rule as nft prints it."""
    chain = require_chain(fixed, ruleset)
    if chain is not None:
        _check_base(fixed, chain)
    others = [rule for rule in (chain.rules if chain else ()) if rule.name != fixed.name]
    own = [rule for rule in (chain.rules if chain else ()) if rule.name == fixed.name]
    place = _place(fixed, others)
    elsewhere = [(key, rule) for key, rule in ruleset.our_rules() if rule.name == fixed.name and key != fixed.key]
    right = chain is not None and _same(own, written) and all(_stands(rule, chain.rules, others, place) for rule in own)
    follower = next((rule for rule in others[place:] if rule.name is None), None)
    return ChainRulePlacement(
        fixed=fixed,
        kept=tuple(own) if right else (),
        added=() if right else tuple(written),
        before=None if follower is None else follower.handle,
        anchor="" if follower is None else follower.text,
        removed=(*elsewhere, *(() if right else ((fixed.key, rule) for rule in own))),
        creates=fixed.base if chain is None else None,
    )


def require_chain(fixed: ChainRule, ruleset: Ruleset) -> Chain | None:
    """The rule's chain, None where it is to be made; OversshError where it is missing and must not be made."""
    chain = ruleset.chains.get(fixed.key)
    if chain is None and fixed.base is None:
        raise OversshError(
            f"rule {fixed.name}: there is no chain {fixed.key} on this host; 'nft list chains' shows those that are"
        )
    return chain


def _check_base(fixed: ChainRule, chain: Chain) -> None:
    if fixed.base is not None and fixed.base != base_of(chain):
        found = f"hook {chain.hook}, type {chain.kind}, priority {chain.priority}, policy {chain.policy}"
        raise OversshError(
            f"rule {fixed.name}: the chain {fixed.key} is there with {found}, and a chain can't change; take its rules "
            "away first, or name another chain"
        )


def _place(fixed: ChainRule, others: Sequence[Rule]) -> int:
    """Before which of the chain's other rules it shall stand; rules of ours at that place count on neither side."""
    if fixed.position == "last":
        return len(others)
    if fixed.position == "first":
        return 0
    for index, rule in enumerate(others):
        if fixed.anchor in (str(rule.handle), rule.comment):
            return index if fixed.position == "before" else index + 1
    raise OversshError(
        f"rule {fixed.name}: no other rule of the chain {fixed.key} has the handle or the comment {fixed.anchor!r}; "
        "'nft -a list ruleset' shows both"
    )


def _stands(rule: Rule, rules: Sequence[Rule], others: Sequence[Rule], place: int) -> bool:
    """Whether there is no foreign rule between a rule and its place."""
    mine = sum(other.name != rule.name for other in rules[: rules.index(rule)])
    return all(other.name is not None for other in others[min(mine, place) : max(mine, place)])


def _same(own: Sequence[Rule], written: Sequence[Written]) -> bool:
    return [comparable(rule.statements) for rule in own] == [comparable(each.statements) for each in written]


def uncounted(statements: Sequence[Statement]) -> list[Statement]:
    """Statements without the values of their counters."""
    return [{COUNTED: None} if COUNTED in each else each for each in statements]


def comparable(value: Any) -> Any:
    """Statements without the values of their counters, the elements of sets in one order."""
    if isinstance(value, Mapping):
        return {
            key: None
            if key == COUNTED
            else sorted((comparable(each) for each in part), key=repr)
            if key == "set" and isinstance(part, list)
            else comparable(part)
            for key, part in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [comparable(part) for part in value]
    return value
