# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Place an accept where it takes effect: in each base chain that may drop its packets, before the dropping rule."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from .._core.errors import OversshError
from .accept import BEFORE_ROUTING, DEVICE_HOOKS, PATH_HOOKS, Accept, Piece, for_hosts, pieces, read_piece
from .conditions import Packet
from .owner import is_firewallds, shared_with_iptables
from .ruleset import FIREWALLD, Chain, ChainKey, Rule, Ruleset
from .traversal import Event, Reader, Site, Walker, deciding_rule, drops, is_logging

DOCKER_USER = "DOCKER-USER"

OwnRules = dict[ChainKey, list[Rule]]
# A base chain, and a kind of packet that comes into it.
Case = tuple[ChainKey, Packet]
# The handle of the foreign rule that something stands before; None: it stands at the chain's end.
Before = Optional[int]


@dataclass(frozen=True)
class Decider:
    """The rule that would drop the packets, or a base chain's policy, which has no handle."""

    key: ChainKey
    handle: int | None
    text: str


@dataclass(frozen=True)
class Need:
    """The need for an accept in this chain, before this foreign rule; hook: of the base chain above."""

    key: ChainKey
    before: Before
    hook: str
    decider: Decider


@dataclass(frozen=True)
class Placement:
    """One rule of ours in its place; a rule on the host has a handle.

    anchor: text of the foreign rule after it, "" at the chain's end.
    """

    key: ChainKey
    piece: Piece
    handle: int | None
    before: Before
    anchor: str
    decider: Decider | None = None
    text: str = ""


@dataclass(frozen=True)
class AcceptPlacement:
    """The change for one accept: the rules of ours that stay, come and go."""

    accept: Accept
    kept: tuple[Placement, ...]
    added: tuple[Placement, ...]
    removed: tuple[tuple[ChainKey, Rule], ...]
    needed: bool
    notes: tuple[str, ...]

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Every rule of the accept as it stands after the change."""
        return (*self.kept, *self.added)


class Placer:
    """Finds the places of accepts in one ruleset."""

    def __init__(
        self, ruleset: Ruleset, stays: Callable[[str], bool] = lambda _name: False, owner: str = "auto"
    ) -> None:
        """stays: whether the task leaves rules of ours with this name alone; owner: see _nftables.owner."""
        self._owner = owner
        self._ruleset = ruleset = _with_own_deciders(ruleset, stays)
        self._foreign = ruleset.foreign()
        self._iptables = shared_with_iptables(ruleset, owner)
        self.reader = Reader(self._foreign)
        self._hooks = _hooks_of_chains(self._foreign, self.reader.calls)

    def is_called(self, key: ChainKey) -> bool:
        """Whether packets can reach a chain."""
        return bool(self._hooks.get(key))

    def place(self, accept: Accept) -> AcceptPlacement:
        """The change for the accept to take effect; effective rules of ours stay.

        Each accept is placed as if it were the only one, so none depends on another.
        """
        notes: dict[str, None] = {}
        ideal = self._search(accept, {}, notes)
        kept, removed = self._own(accept)
        before = {key: list(rules) for key, rules in kept.items()}
        missing = self._search(accept, kept, {}) if kept else ideal
        removed += [(key, rule) for key, rules in before.items() if key not in kept for rule in rules]
        deciders = {need.key: need.decider for need in ideal}
        return AcceptPlacement(
            accept=accept,
            kept=tuple(
                self._placed(key, rule, deciders.get(key), accept) for key, rules in kept.items() for rule in rules
            ),
            added=tuple(
                Placement(
                    key=need.key,
                    piece=piece,
                    handle=None,
                    before=need.before,
                    anchor=self._text(need.key, need.before),
                    decider=need.decider,
                    text=piece.text,
                )
                for need in missing
                for piece in self._pieces(accept, need.key, need.hook)
            ),
            removed=tuple(removed),
            needed=bool(ideal),
            notes=tuple(notes),
        )

    def _search(self, accept: Accept, kept: OwnRules, notes: dict[str, None]) -> list[Need]:
        """The places where an accept is still missing, looked for until no packet is dropped any more.

        Where a chain with rules of ours still drops, these stand too late: they are taken out of kept, and the chain
        is given new ones.
        """
        self._look_at_replies(accept, notes)
        needs: dict[ChainKey, Need] = {}
        everything = list(self._cases(accept))
        ahead = everything
        for _round in range(2 * len(self._foreign.chains) + 2):
            walker = Walker(self._with(accept, kept, needs), self.reader)
            dropped = []
            late = set()
            for way in ahead:
                need = self._need_on(accept, walker, way, notes)
                if need is not None:
                    dropped.append(way)
                    late |= {need.key} & set(kept)
                    self._merge(needs, need)
            if not dropped:
                return list(needs.values())
            for key in late:
                del kept[key]
            # More accepts don't drop what passed before; fewer may.
            ahead = everything if late else dropped
        raise OversshError(
            f"found no place for rule {accept.name} that takes effect; tried {', '.join(map(str, needs)) or 'none'}"
        )

    def _cases(self, accept: Accept) -> Iterator[Case]:
        """Each kind of packet that the accept is for, with each base chain on its path."""
        distinguishable = replace(
            accept,
            in_interfaces=self._distinguishable(accept.in_interfaces),
            out_interfaces=self._distinguishable(accept.out_interfaces),
        )
        for hook in PATH_HOOKS[accept.path]:
            for base in self._foreign.base_chains(hook, _chain_families(accept, hook)):
                # What stands in firewalld's table is firewalld's own to change.
                if not is_firewallds(base.key.table, self._owner):
                    for packet in distinguishable.packets(hook, base.priority, _families(accept, base)):
                        yield from ((base.key, each) for each in _on_devices(base, packet))

    def drops_of_firewalld(self, accept: Accept) -> Iterator[str]:
        """The rules in firewalld's table that surely drop packets of the accept, in words."""
        walker = Walker(self._foreign, self.reader)
        for hook in PATH_HOOKS[accept.path]:
            for base in self._foreign.base_chains(hook, {*accept.families, "inet"}):
                if base.key.table != FIREWALLD:
                    continue
                for packet in accept.packets(hook, base.priority, _families(accept, base)):
                    event = _first_drop(walker, base, packet, {})
                    if event is not None and event.certain:
                        decider = _decider(walker, base, event)
                        yield f"{decider.text!r} in {decider.key}, which is firewalld's, still drops these packets"

    @functools.cached_property
    def _words(self) -> frozenset[str]:
        return self._foreign.words() | {name for chain in self._foreign.chains.values() for name in chain.devices}

    def _distinguishable(self, interfaces: Sequence[str]) -> tuple[str, ...]:
        """One interface of each group that foreign rules treat alike."""
        if len(interfaces) < 2:
            return tuple(interfaces)
        groups: dict[tuple[str, ...], str] = {}
        for name in interfaces:
            patterns = (name, *(f"{name[:length]}*" for length in range(len(name) + 1)))
            groups.setdefault(tuple(pattern for pattern in patterns if pattern in self._words), name)
        return tuple(groups.values())

    def _need_on(self, accept: Accept, walker: Walker, way: Case, notes: dict[str, None]) -> Need | None:
        """The accept that the packet needs in this base chain; None where it passes."""
        base, packet = walker.ruleset.chains[way[0]], way[1]
        event = _first_drop(walker, base, packet, notes)
        if event is None:
            return None
        need = _need(walker, base, packet, event)
        obstacle = _obstacle(accept, base)
        if obstacle:
            words = f"{need.decider.text!r} in {need.decider.key}"
            if event.certain:
                raise OversshError(f"rule {accept.name}: {words} drops these packets {obstacle}")
            notes[f"{words} may drop these packets {obstacle}"] = None
            return None
        _note_doubt(event, need, notes)
        return need

    def _look_at_replies(self, accept: Accept, notes: dict[str, None]) -> None:
        walker = Walker(self._foreign, self.reader)
        for hook in PATH_HOOKS["output"]:
            for base in walker.ruleset.base_chains(hook, _chain_families(accept, hook)):
                # Only the first packet of a connection comes by chains of this type.
                if base.kind == "nat":
                    continue
                for packet in self._replies(accept, base):
                    event = _first_drop(walker, base, packet, {})
                    if event is not None and event.certain:
                        decider = _decider(walker, base, event)
                        words = "drops this host's replies; a rule of path output lets them out"
                        notes[f"{decider.text!r} in {decider.key} {words}"] = None

    def _replies(self, accept: Accept, base: Chain) -> Iterator[Packet]:
        for packet in accept.replies(base.hook or "", base.priority, _families(accept, base)):
            yield from _on_devices(base, packet)

    def _with(self, accept: Accept, kept: OwnRules, needs: Mapping[ChainKey, Need]) -> Ruleset:
        """The foreign ruleset, with the rules that stay and those that are needed in their places."""
        changed: dict[ChainKey, list[Rule]] = {}
        for key, ours in kept.items():
            handles = {rule.handle for rule in ours}
            changed[key] = [
                rule for rule in self._ruleset.chains[key].rules if rule.name is None or rule.handle in handles
            ]
        for key, need in needs.items():
            rules = list(self._foreign.chains[key].rules)
            index = _index(rules, need.before)
            rules[index:index] = [
                Rule(0, piece.statements, piece.comment) for piece in self._pieces(accept, key, need.hook)
            ]
            changed[key] = rules
        return self._foreign.with_rules(changed)

    def _merge(self, needs: dict[ChainKey, Need], need: Need) -> None:
        """Keep the earlier one of two places in a chain."""
        known = needs.get(need.key)
        rules = self._foreign.chains[need.key].rules
        if known is None or _index(rules, need.before) < _index(rules, known.before):
            needs[need.key] = need

    def _own(self, accept: Accept) -> tuple[OwnRules, list[tuple[ChainKey, Rule]]]:
        """The rules of this name, in the chains where they say all that they should, once each; and the others."""
        kept: OwnRules = {}
        others: list[tuple[ChainKey, Rule]] = []
        found: OwnRules = {}
        for key, rule in self._ruleset.our_rules():
            if rule.name == accept.name:
                found.setdefault(key, []).append(rule)
        for key, rules in found.items():
            once: dict[Piece | None, Rule] = {}
            for rule in rules:
                once.setdefault(read_piece(rule.comment, rule.statements), rule)
            hooks = [hook for hook in PATH_HOOKS[accept.path] if hook in self._hooks.get(key, ())]
            complete = [self._pieces(accept, key, hook) for hook in hooks]
            wanted = next((choice for choice in complete if set(choice) <= set(once)), ())
            if wanted:
                kept[key] = [rule for piece, rule in once.items() if piece in wanted]
            others += [(key, rule) for rule in rules if rule not in kept.get(key, ())]
        return kept, others

    def _pieces(self, accept: Accept, key: ChainKey, hook: str) -> tuple[Piece, ...]:
        return pieces(accept, key.family, hook, (key.family, key.table) in self._iptables)

    def _placed(self, key: ChainKey, rule: Rule, decider: Decider | None, accept: Accept) -> Placement:
        rules = self._ruleset.chains[key].rules
        after = rules[rules.index(rule) + 1 :]
        follower = next((other for other in after if other.name is None), None)
        piece = read_piece(rule.comment, rule.statements)
        return Placement(
            key=key,
            piece=piece if piece is not None else Piece(accept.comment),
            handle=rule.handle,
            before=None if follower is None else follower.handle,
            anchor="" if follower is None else follower.text,
            decider=decider,
            text=rule.text,
        )

    def _text(self, key: ChainKey, before: Before) -> str:
        return next((rule.text for rule in self._foreign.chains[key].rules if rule.handle == before), "")


def _with_own_deciders(ruleset: Ruleset, stays: Callable[[str], bool]) -> Ruleset:
    """The ruleset in which rules of ours that stay and are no plain accepts stand as if they were somebody else's."""
    changed: dict[ChainKey, list[Rule]] = {}
    for key, rule in ruleset.our_rules():
        if stays(rule.name or "") and read_piece(rule.comment, rule.statements) is None:
            rules = changed.setdefault(key, list(ruleset.chains[key].rules))
            rules[rules.index(rule)] = replace(rule, comment="")
    return ruleset.with_rules(changed)


def _first_drop(walker: Walker, base: Chain, packet: Packet, notes: dict[str, None]) -> Event | None:
    """Where the packet may first be dropped in a base chain, by a rule or by the policy."""
    for event in walker.walk(base.key, packet):
        if drops(event, base):
            return event
        if event.kind in {"queue", "translate"}:
            rule = walker.ruleset.chains[event.deciding.key].rules[event.deciding.index]
            what = "hand these packets to a program" if event.kind == "queue" else "send these packets elsewhere"
            notes[f"{rule.text!r} in {event.deciding.key} (handle {rule.handle}) may {what}; left as it is"] = None
    return None


def _need(walker: Walker, base: Chain, packet: Packet, event: Event) -> Need:
    site = _docker_site(walker, base, packet, event) or event.site
    rules = walker.ruleset.chains[site.key].rules
    index = site.index
    # A rule that logs what is about to be dropped belongs to the drop.
    while index > 0 and rules[index - 1].name is None and is_logging(rules[index - 1].statements):
        index -= 1
    follower = next((rule for rule in rules[index:] if rule.name is None), None)
    return Need(
        key=site.key,
        before=None if follower is None else follower.handle,
        hook=base.hook or "",
        decider=_decider(walker, base, event),
    )


def _decider(walker: Walker, base: Chain, event: Event) -> Decider:
    rule = deciding_rule(walker.ruleset, event)
    if event.kind == "exit" or rule is None:
        return Decider(base.key, None, "policy drop")
    return Decider(event.deciding.key, rule.handle, rule.text)


def _docker_site(walker: Walker, base: Chain, packet: Packet, event: Event) -> Site | None:
    """The place in the chain that Docker keeps for others and asks first, where the packet surely comes by it."""
    user = base.key._replace(chain=DOCKER_USER)
    if base.key.chain != "FORWARD" or base.key.table != "filter" or user not in walker.ruleset.chains:
        return None
    if user not in walker.sure_calls(base.key, packet, event.entry):
        return None
    return next((found.site for found in walker.walk(user, packet) if found.kind in {"drop", "exit"}), None)


def _note_doubt(event: Event, need: Need, notes: dict[str, None]) -> None:
    if event.kind == "drop" and not event.certain:
        decider = need.decider
        notes[
            f"can't tell whether {decider.text!r} in {decider.key} (handle {decider.handle}) drops these packets; "
            "the accept stands before it"
        ] = None


def _obstacle(accept: Accept, base: Chain) -> str:
    """Why an accept in this base chain would be for more packets than those asked for; "" where it would not."""
    if base.hook in BEFORE_ROUTING and accept.out_interfaces and not accept.in_interfaces:
        return "before their outgoing interface is known; say in_interfaces, so that an accept can stand there"
    if base.hook == "egress" and accept.in_interfaces and not accept.out_interfaces:
        return "where their incoming interface is not known any more; say out_interfaces, so that an accept can stand"
    if base.hook == "ingress" and base.key.family == "inet" and accept.path == "forward":
        return (
            "on arrival, where packets for this host can't be told from those that it forwards; let them pass there, "
            "or move the rule to a chain of the family netdev"
        )
    if base.hook == "ingress" and base.key.family == "inet" and not for_hosts(accept):
        return (
            "on arrival, where packets for this host can't be told from others; say its addresses in destination, so "
            "that an accept can stand there"
        )
    return ""


def _chain_families(accept: Accept, hook: str) -> set[str]:
    return {*accept.families, "inet", "netdev"} if hook in DEVICE_HOOKS else {*accept.families, "inet"}


def _families(accept: Accept, base: Chain) -> tuple[str, ...]:
    return accept.families if base.key.family in {"inet", "netdev"} else (base.key.family,)


def _on_devices(base: Chain, packet: Packet) -> Iterator[Packet]:
    """The packet as a base chain sees it, once for each device that only the chain names; none for other devices."""
    if base.hook not in DEVICE_HOOKS:
        yield packet
        return
    name = packet.iif if base.hook == "ingress" else packet.oif
    for device in base.devices:
        if name is None:
            yield replace(packet, iif=device) if base.hook == "ingress" else replace(packet, oif=device)
        elif name == device or (device.endswith("*") and name.startswith(device[:-1])):
            yield packet
            return


def _index(rules: Sequence[Rule], before: Before) -> int:
    return next((index for index, rule in enumerate(rules) if rule.handle == before), len(rules))


def _hooks_of_chains(ruleset: Ruleset, known: Sequence[tuple[ChainKey, ChainKey]]) -> dict[ChainKey, set[str]]:
    """The hooks from whose base chains each chain can be reached."""
    calls: dict[ChainKey, set[ChainKey]] = {}
    for key, target in known:
        calls.setdefault(key, set()).add(target)
    hooks: dict[ChainKey, set[str]] = {}
    for base in ruleset.chains.values():
        if base.hook is None:
            continue
        ahead = [base.key]
        while ahead:
            key = ahead.pop()
            if base.hook not in hooks.setdefault(key, set()):
                hooks[key].add(base.hook)
                ahead += calls.get(key, ())
    return hooks
