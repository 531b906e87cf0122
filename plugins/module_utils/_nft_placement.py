# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an accept takes effect: in each base chain on the path that may drop the packet, before the rule that does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ._errors import OversshError
from ._nft_match import Packet
from ._nft_model import Chain, ChainKey, Rule, Ruleset
from ._nft_path import Event, Reader, Site, Walker, is_logging
from ._nft_rule import BEFORE_ROUTING, PATH_HOOKS, Accept, Piece, pieces, read_piece

DOCKER_USER = "DOCKER-USER"
FIREWALLD = "firewalld"

OwnRules = dict[ChainKey, list[Rule]]
# The handle of the foreign rule that something stands before; None: it stands at the chain's end.
Before = Optional[int]


@dataclass(frozen=True)
class Decider:
    """What would drop the packets: a rule, or a base chain's policy, which has no handle."""

    key: ChainKey
    handle: int | None
    text: str


@dataclass(frozen=True)
class Need:
    """An accept is needed in this chain, before this foreign rule; hook: of the base chain that leads there."""

    key: ChainKey
    before: Before
    hook: str
    decider: Decider


@dataclass(frozen=True)
class Placement:
    """One rule of ours in its place: on the host already where it has a handle.

    anchor: text of the foreign rule that it stands before, "" at the chain's end.
    """

    key: ChainKey
    piece: Piece
    handle: int | None
    before: Before
    anchor: str
    decider: Decider | None = None
    text: str = ""


@dataclass(frozen=True)
class Arrangement:
    """An accept on a host: the rules of ours that stay, those that come, those that go."""

    accept: Accept
    kept: tuple[Placement, ...]
    added: tuple[Placement, ...]
    removed: tuple[tuple[ChainKey, Rule], ...]
    needed: bool
    notes: tuple[str, ...]

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Every rule of ours as it stands in the end."""
        return (*self.kept, *self.added)


class Arranger:
    """Finds the places of accepts in one ruleset."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._ruleset = ruleset
        self._foreign = ruleset.foreign()
        self._iptables = ruleset.iptables_tables()
        self._reader = Reader(self._foreign)
        self._hooks = _hooks_of_chains(self._foreign, self._reader.calls)

    def arrange(self, accept: Accept) -> Arrangement:
        """What has to be done for the accept to take effect; rules of ours that already do are left alone.

        Each accept is arranged as if it were the only one, so that none leans on another.
        """
        notes: dict[str, None] = {}
        ideal = self._search(accept, {}, notes)
        kept, removed = self._own(accept)
        before = {key: list(rules) for key, rules in kept.items()}
        missing = self._search(accept, kept, {})
        removed += [(key, rule) for key, rules in before.items() if key not in kept for rule in rules]
        deciders = {need.key: need.decider for need in ideal}
        self._refuse_firewalld(accept, missing)
        return Arrangement(
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
        needs: dict[ChainKey, Need] = {}
        for _ in range(2 * len(self._foreign.chains) + 2):
            walker = Walker(self._with(accept, kept, needs), self._reader)
            found = self._drops(accept, walker, notes)
            if not found:
                return list(needs.values())
            for need in found:
                kept.pop(need.key, None)
                self._merge(needs, need)
        raise OversshError(
            f"found no place for rule {accept.name} that takes effect; tried {', '.join(map(str, needs)) or 'none'}"
        )

    def _drops(self, accept: Accept, walker: Walker, notes: dict[str, None]) -> list[Need]:
        found = []
        for hook in PATH_HOOKS[accept.path]:
            for base in walker.ruleset.base_chains(hook, {*accept.families, "inet"}):
                for packet in accept.packets(hook, _families(accept, base)):
                    event = _first_drop(walker, base, packet, notes)
                    if event is not None:
                        need = _need(walker, base, packet, event)
                        if _can_be_told_there(accept, hook):
                            found.append(need)
                            _note_doubt(event, need, notes)
                        else:
                            _note_too_early(need.decider, notes)
        self._look_at_ingress(accept, walker, notes)
        return found

    def _look_at_ingress(self, accept: Accept, walker: Walker, notes: dict[str, None]) -> None:
        for base in walker.ruleset.base_chains("ingress", {"netdev", "inet"}):
            if accept.in_interfaces and base.devices and set(base.devices).isdisjoint(accept.in_interfaces):
                continue
            for packet in accept.packets("ingress", accept.families):
                event = _first_drop(walker, base, packet, notes)
                if event is not None:
                    decider = _decider(walker, base, event)
                    notes[f"{decider.text!r} in {decider.key} may drop these packets on arrival; left as it is"] = None

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
        """The rules of this name that say what they should, once each, and the others."""
        kept: OwnRules = {}
        others: list[tuple[ChainKey, Rule]] = []
        for key, rule in self._ruleset.our_rules():
            if rule.name != accept.name:
                continue
            wanted = {
                piece
                for hook in self._hooks.get(key, ())
                if hook in PATH_HOOKS[accept.path]
                for piece in self._pieces(accept, key, hook)
            }
            piece = read_piece(rule.comment, rule.statements)
            known = [read_piece(other.comment, other.statements) for other in kept.get(key, ())]
            if piece in wanted and piece not in known:
                kept.setdefault(key, []).append(rule)
            else:
                others.append((key, rule))
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

    def _refuse_firewalld(self, accept: Accept, needs: Sequence[Need]) -> None:
        for need in needs:
            if need.key.table == FIREWALLD:
                raise OversshError(
                    f"rule {accept.name} has to stand in the table {need.key.family} {need.key.table}, which is "
                    "firewalld's and lets nobody else in; accept these packets with firewall-cmd, for example with the "
                    "interface in a zone of its own"
                )


def _first_drop(walker: Walker, base: Chain, packet: Packet, notes: dict[str, None]) -> Event | None:
    """Where the packet may first be dropped in a base chain, by a rule or by the policy."""
    for event in walker.walk(base.key, packet):
        if event.kind == "drop" or (event.kind == "exit" and base.policy == "drop"):
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
    if event.kind == "exit":
        return Decider(base.key, None, "policy drop")
    rule = walker.ruleset.chains[event.deciding.key].rules[event.deciding.index]
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


def _note_too_early(decider: Decider, notes: dict[str, None]) -> None:
    notes[
        f"{decider.text!r} in {decider.key} may drop these packets before their outgoing interface is known; "
        "say in_interfaces, so that an accept can stand there"
    ] = None


def _can_be_told_there(accept: Accept, hook: str) -> bool:
    """Whether an accept at this hook would be for these packets only: an outgoing interface may not be known yet."""
    return hook not in BEFORE_ROUTING or not accept.out_interfaces or bool(accept.in_interfaces)


def _families(accept: Accept, base: Chain) -> tuple[str, ...]:
    return accept.families if base.key.family == "inet" else (base.key.family,)


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
