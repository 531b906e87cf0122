# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of nft_rule: rules that come, go and stay, and the files for the next boot; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Union

from .._checkpoint import checkpoint
from .._checkpoint.checkpoint import Checkpoint
from .._core.errors import OversshError
from .._core.plan import Plan, Step
from .._linux import unit_steps
from .._linux.ssh_session import Session
from .._linux.systemd import NO_UNIT, UnitState, unit_path
from .._nftables import chain_rule
from .._nftables import record as nftables_record
from .._nftables.chain_rule import Base, ChainRulePlacement, Written, uncounted
from .._nftables.docker_chains import Docker
from .._nftables.firewalld import Firewalld, lines_of, ours, zone_of
from .._nftables.legacy import Legacy
from .._nftables.owner import owners
from .._nftables.placement import AcceptPlacement, Placement, Placer
from .._nftables.record import Placed, Record, interim
from .._nftables.result import address
from .._nftables.rules_file import RULES_FILE, Line, chain_line, file_text, read_lines
from .._nftables.ruleset import OWN_TABLE, ChainKey, Rule, Ruleset, Statement
from .._nftables.traversal import Reader
from .._watcher.unit import Watch, plan_watch
from .desired import Desired
from .firewalld_plan import Calls, calls
from .lockout import lockout
from .persistence import PROGRAM_FILES, PROGRAM_FOLDER, SCRIPT, SCRIPT_FILE, UNITS

# What comes after all that is written or stopped, and in which order.
STAGES = {"enable_unit": 1, "start_unit": 2, "restart_unit": 2}

# In nft's JSON, or in its own language.
Command = Union[Mapping[str, Any], str]


@dataclass(frozen=True)
class Observed:
    """The host's ruleset, and our files for the next boot.

    written: the chain rules as nft prints them; session: the ssh connection of the run; firewalld: None where it does
    not own the firewall; of_firewalld: the files of our zone, also while firewalld does not run; legacy: the rules of
    iptables-legacy; record: of the rules placed here; placed_text: the text of the record's file; changes: those of
    these rules that are pending or were rolled back; docker: the host's, None where none runs; script: the text of the
    one that restores rules; program: its files by their paths.
    """

    ruleset: Ruleset
    record: Record = field(default_factory=Record)
    placed_text: str | None = None
    changes: tuple[Checkpoint, ...] = ()
    docker: Docker | None = None
    session: Session | None = None
    legacy: Legacy = field(default_factory=Legacy)
    written: Mapping[str, tuple[Written, ...]] = field(default_factory=dict)
    kept_text: str | None = None
    script: str | None = None
    program: Mapping[str, str] = field(default_factory=dict)
    firewalld: Firewalld | None = None
    of_firewalld: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, UnitState] = field(default_factory=lambda: dict.fromkeys(UNITS, NO_UNIT))
    watch: Watch = field(default_factory=Watch)


@dataclass(frozen=True)
class Decision:
    """All changes on a host that the desired rules require.

    record: of the rules placed in the end; placed: those of the record that belong to the task.
    """

    accept_placements: tuple[AcceptPlacement, ...]
    fixed: tuple[ChainRulePlacement, ...]
    removed: tuple[tuple[ChainKey, Rule], ...]
    lines: tuple[Line, ...]
    firewalld: Calls = field(default_factory=Calls)
    record: Record = field(default_factory=Record)
    placed: tuple[Placed, ...] = ()

    @property
    def added(self) -> tuple[Placement, ...]:
        """The new accepts of ours, which find their places by themselves."""
        return tuple(placement for accept_placement in self.accept_placements for placement in accept_placement.added)

    @property
    def coming(self) -> list[tuple[ChainKey, str]]:
        """Every new rule, in words."""
        found = [(placement.key, placement.piece.text) for placement in self.added]
        return found + [(fixed.fixed.key, each.text) for fixed in self.fixed for each in fixed.added]

    @property
    def made(self) -> dict[ChainKey, Base]:
        """The new chains of ours."""
        return {each.fixed.key: each.creates for each in self.fixed if each.creates is not None}

    @property
    def changes_rules(self) -> bool:
        """Whether the running firewall changes."""
        return bool(self.removed or self.coming or self.firewalld.running)

    @property
    def may_cut(self) -> bool:
        """Whether the change may cut a connection; new accepts that find their places by themselves drop nothing."""
        return bool(self.removed or self.firewalld.running or any(each.added for each in self.fixed))


def decide(desired: Desired, observed: Observed) -> Decision:
    """The changes of rules, and the rules that are kept for the next boot."""
    if desired.owner == "firewalld" and "firewalld" not in owners(observed.ruleset):
        raise OversshError("firewalld has no table in this host's ruleset; start it, or set owner: auto")
    accept_placements: tuple[AcceptPlacement, ...] = ()
    placer = None
    # What the watcher placed for as long as a place took no effect is looked for anew.
    passing = [
        (key, rule) for key, rule in interim(observed.ruleset, observed.record) if (rule.name or "") in desired.present
    ]
    if desired.accepts:
        ruleset = observed.ruleset.without(passing)
        placer = Placer(ruleset, lambda name: not desired.concerns(name), desired.owner)
        accept_placements = tuple(placer.place(accept) for accept in desired.accepts)
    fixed = tuple(chain_rule.place_rule(rule, observed.written[rule.name], observed.ruleset) for rule in desired.fixed)
    removed = [*passing, *(gone for accept_placement in accept_placements for gone in accept_placement.removed)]
    removed += [gone for each in fixed for gone in each.removed]
    removed += [(key, rule) for key, rule in observed.ruleset.our_rules() if desired.unwanted(rule.name or "")]
    kept = read_lines(observed.kept_text)
    lines = {line for line in kept if line.name and not desired.concerns(line.name)}
    if desired.persist:
        for accept_placement in accept_placements:
            for placement in accept_placement.placements:
                lines.add(Line(placement.key, placement.piece.text, placement.anchor))
        for each in fixed:
            lines |= {Line(each.fixed.key, rule.text, each.anchor) for rule in each.standing}
            if each.fixed.base is not None:
                lines.add(chain_line(each.fixed.key, each.fixed.base.words))
    if observed.firewalld is not None:
        for accept in desired.accepts:
            lines.update(lines_of(accept, desired.persist))
    # A chain of ours is kept as long as a rule in it is.
    lines |= {line for line in kept if not line.name and line.key in {other.key for other in lines}}
    decision = Decision(
        accept_placements,
        fixed,
        tuple(removed),
        tuple(sorted(lines, key=lambda line: (line.key, line.name, str(line)))),
        _firewalld_calls(desired, observed, lines),
        *_recorded(desired, observed.record, accept_placements, fixed),
    )
    tables = {key[:2] for key in (*(key for key, _rule in decision.removed), *(key for key, _text in decision.coming))}
    if not tables.isdisjoint(observed.ruleset.owned):
        raise OversshError(unwritable(f"{family} {table}" for family, table in sorted(tables & observed.ruleset.owned)))
    if observed.session is not None and decision.changes_rules and not desired.force_lockout:
        reader = placer.reader if placer else Reader(observed.ruleset)
        _refuse_lockout(decision, observed.ruleset, observed.session, reader)
    return decision


def unwritable(tables: Iterable[str]) -> str:
    """The sentence on tables that the kernel refuses to change."""
    return f"nft may not write to {', '.join(tables)}: another program owns the table, or root's rights are missing"


def _recorded(
    desired: Desired, record: Record, accept_placements: Sequence[AcceptPlacement], fixed: Sequence[ChainRulePlacement]
) -> tuple[Record, tuple[Placed, ...]]:
    """The record in the end, and those rules of it that the task is about."""
    placed = [
        Placed(placement.key, placement.piece.text, placement.piece.statements)
        for accept_placement in accept_placements
        for placement in accept_placement.placements
    ]
    placed += [
        Placed(each.fixed.key, rule.text, tuple(uncounted(rule.statements))) for each in fixed for rule in each.standing
    ]
    accepts = {name: options for name, options in record.accepts.items() if not desired.concerns(name)}
    if desired.persist:
        accepts |= {accept.name: {**accept.options, "owner": desired.owner} for accept in desired.accepts}
    others = tuple(each for each in record.placed if not desired.concerns(each.name))
    return Record(others, accepts).with_placed(placed), tuple(placed)


def _firewalld_calls(desired: Desired, observed: Observed, lines: Iterable[Line]) -> Calls:
    """The calls of firewalld, where the task is about any of its accepts."""
    concerned = desired.accepts or desired.everything
    concerned = concerned or any(desired.concerns(line.name) for line in ours(read_lines(observed.kept_text)))
    if observed.firewalld is None and desired.everything:
        return Calls(kept=tuple(_remove(path, text) for path, text in observed.of_firewalld.items()))
    if observed.firewalld is None or not concerned:
        return Calls()
    return calls(
        observed.firewalld, zone_of(sorted(lines, key=str)), None if desired.force_lockout else observed.session
    )


def _refuse_lockout(decision: Decision, ruleset: Ruleset, session: Session, reader: Reader) -> None:
    what = lockout(ruleset, resulting(decision, ruleset), session, reader)
    if what is not None:
        raise OversshError(
            f"{what} would drop the packets of the ssh connection that this run comes by, from {session.client} to "
            f"port {session.port}; narrow the rule, or set force_lockout: true, and the change gets a checkpoint"
        )


def plan_rules(desired: Desired, observed: Observed) -> Plan:
    """The steps from the observed firewall to the desired one."""
    return plan_decided(decide(desired, observed), observed)


def refuse_checkpoint(changes: Iterable[Checkpoint], name: str, seconds: int) -> None:
    """OversshError where no checkpoint of that name and with so many seconds can be made.

    changes: the checkpoints that these rules have already.
    """
    for each in changes:
        checkpoint.refuse_second(each)
    checkpoint.check(name, seconds)


def plan_decided(decision: Decision, observed: Observed, keeps: bool = True) -> Plan:
    """The steps that carry out a decision; keeps: also for the next boot."""
    keeping = _keeping_steps(decision.lines, observed) if keeps else []
    kept = decision.firewalld.kept if keeps else ()
    # What comes is written down before it is there, and what goes after it is gone.
    before = observed.record
    if decision.coming:
        before = replace(before.with_placed(decision.placed), accepts={**before.accepts, **decision.record.accepts})
    known = observed.placed_text if before == observed.record else before.text
    steps = [*_record_steps(observed.placed_text, known), *rule_steps(decision, observed.ruleset)]
    steps += [*decision.firewalld.running, *kept]
    if keeps:
        steps += _record_steps(known, decision.record.text or None)
    return Plan(_state(observed, None), _state(observed, decision), (*steps, *keeping))


def _record_steps(before: str | None, after: str | None) -> list[Step]:
    if before == after:
        return []
    path = nftables_record.PLACED_FILE
    return [_write(path, after, before) if after else _remove(path, before or "")]


def resulting(decision: Decision, ruleset: Ruleset) -> Ruleset:
    """The ruleset after the decision; new rules have no handle yet."""
    gone = {(key, rule.handle) for key, rule in decision.removed}
    chains: dict[ChainKey, list[Rule]] = {
        key: [rule for rule in chain.rules if (key, rule.handle) not in gone] for key, chain in ruleset.chains.items()
    }
    made = {key: chain_rule.chain_of(key, base) for key, base in decision.made.items()}
    coming: list[tuple[ChainKey, int | None, Rule]] = [
        (each.key, each.before, Rule(0, each.piece.statements, each.piece.comment, each.piece.text))
        for each in decision.added
    ]
    coming += [
        (each.fixed.key, each.before, Rule(0, rule.statements, rule.comment, rule.text))
        for each in decision.fixed
        for rule in each.added
    ]
    for key, before, rule in coming:
        rules = chains.setdefault(key, [])
        place = next((index for index, other in enumerate(rules) if other.handle == before), len(rules))
        rules.insert(place, rule)
    return Ruleset({**ruleset.chains, **made}, ruleset.sets).with_rules(chains)


def rule_steps(decision: Decision, ruleset: Ruleset) -> list[Step]:
    """The one transaction that changes the rules; none where no rule changes."""
    if not (decision.removed or decision.coming):
        return []
    words = [f"remove from {key}: {rule.text or rule.comment}" for key, rule in decision.removed]
    words += [f"add to {key}: {text}" for key, text in decision.coming]
    emptied = _emptied(decision, ruleset)
    commands: list[Command] = [{"delete": {"rule": address(key, rule.handle)}} for key, rule in decision.removed]
    commands += [_emptying(key, ruleset, emptied) for key in emptied]
    for key, base in decision.made.items():
        commands += [f"add table {key.family} {key.table}", f"add chain {key} {base.words}"]
    commands += [
        _insertion(placement.key, placement.before, placement.piece.statements, placement.piece.comment)
        for placement in decision.added
    ]
    commands += [
        _insertion_text(placement.fixed.key, placement.before, each.text)
        for placement in decision.fixed
        for each in placement.added
    ]
    back = {
        "commands": _restoration(decision, ruleset, emptied),
        "chains": [_emptying(key, ruleset, list(decision.made)) for key in decision.made],
    }
    inverse = Step("take_back", "take the firewall rules back", back)
    return [Step("change", "; ".join(words), {"commands": commands, "fingerprint": ruleset.fingerprint}, inverse)]


def _restoration(decision: Decision, ruleset: Ruleset, emptied: Sequence[ChainKey]) -> list[Command]:
    """The commands that put back what a decision removes."""
    commands: list[Command] = []
    for key in emptied:
        chain = ruleset.chains[key]
        commands += [f"add table {key.family} {key.table}"]
        commands += [f"add chain {key} {chain_rule.base_of(chain).words}" if chain.hook else f"add chain {key}"]
    gone = {rule.handle for _key, rule in decision.removed}
    for key, rule in decision.removed:
        follower = _follower(ruleset, key, rule, gone)
        commands.append(
            _insertion_text(key, follower, rule.text)
            if rule.text
            else _insertion(key, follower, rule.statements, rule.comment)
        )
    return commands


def _emptied(decision: Decision, ruleset: Ruleset) -> list[ChainKey]:
    """The chains of our own table that have no rule any more."""
    gone = {(key, rule.handle) for key, rule in decision.removed}
    coming = {key for key, _text in decision.coming}
    return [
        key
        for key in dict.fromkeys(key for key, _rule in decision.removed)
        if key.table == OWN_TABLE
        and key not in coming
        and all((key, rule.handle) in gone for rule in ruleset.chains[key].rules)
    ]


def _emptying(key: ChainKey, ruleset: Ruleset, going: Sequence[ChainKey]) -> str:
    """The command that removes a chain of our own table, and with the last one the table."""
    stay = [other for other in ruleset.chains if other[:2] == key[:2] and other not in going]
    last = key == [other for other in going if other[:2] == key[:2]][-1]
    return f"delete chain {key}" if stay or not last else f"delete table {key.family} {key.table}"


def _keeping_steps(lines: Sequence[Line], observed: Observed) -> list[Step]:
    """The steps that keep these rules for the next boot; without rules they remove all files."""
    if not lines:
        return _forgetting_steps(observed)
    steps = []
    if observed.kept_text != file_text(lines):
        steps.append(_write(RULES_FILE, file_text(lines), observed.kept_text))
    if observed.script != SCRIPT:
        steps.append(_write(SCRIPT_FILE, SCRIPT, observed.script))
    if observed.program != PROGRAM_FILES:
        steps.append(_program_step(PROGRAM_FILES, observed.program))
    # All are written before any is enabled or started, so that systemd reads them once.
    units = [step for unit, text in UNITS.items() for step in _unit_steps(unit, text, observed.units[unit])]
    units += plan_watch(True, observed.watch).steps
    return [*steps, *sorted(units, key=lambda step: STAGES.get(step.action, 0))]


def _unit_steps(unit: str, text: str, found: UnitState) -> Iterator[Step]:
    yield from unit_steps.written(unit, text, found.text, unit_path(unit))
    if not found.enabled:
        yield unit_steps.enabled(unit)
    if found.active != "active":
        yield unit_steps.started(unit)


def _forgetting_steps(observed: Observed) -> list[Step]:
    # The watcher stays where it has devices to look after.
    steps = [] if observed.watch.devices else [*plan_watch(False, observed.watch).steps]
    for unit in reversed(UNITS):
        found = observed.units[unit]
        if found.active in {"active", "activating"}:
            steps.append(unit_steps.stopped(unit))
        if found.enabled:
            steps.append(unit_steps.disabled(unit))
        steps += unit_steps.written(unit, None, found.text, unit_path(unit))
    if observed.program:
        steps.append(_program_step({}, observed.program))
    for path, text in ((SCRIPT_FILE, observed.script), (RULES_FILE, observed.kept_text)):
        if text is not None:
            steps.append(_remove(path, text))
    return steps


def _program_step(after: Mapping[str, str], before: Mapping[str, str]) -> Step:
    """All files of the program as one step: they are of use together only."""

    def step(coming: Mapping[str, str], inverse: Step | None) -> Step:
        label = f"{'write' if coming else 'remove'} {PROGRAM_FOLDER}"
        return Step("program", label, {"files": dict(coming)}, inverse)

    return step(after, step(before, None))


def _remove(path: str, text: str) -> Step:
    back = Step("write", f"write {path}", {"path": path, "text": text})
    return Step("remove", f"remove {path}", {"path": path}, back)


def _write(path: str, text: str, before: str | None) -> Step:
    if before is None:
        back = Step("remove", f"remove {path}", {"path": path})
    else:
        back = Step("write", f"write {path}", {"path": path, "text": before})
    return Step("write", f"write {path}", {"path": path, "text": text}, back)


def _state(observed: Observed, decision: Decision | None) -> dict[str, Any]:
    """Our rules, each once, as found or as they will be after the decision.

    Apart from the others stand those that the next boot does not bring back, and those that are kept and not there.
    """
    rules = [(key, rule.text or rule.comment, rule.handle) for key, rule in observed.ruleset.our_rules()]
    lines = read_lines(observed.kept_text)
    if decision is not None:
        gone = {(key, rule.handle) for key, rule in decision.removed}
        rules = [(key, text, handle) for key, text, handle in rules if (key, handle) not in gone]
        rules += [(key, text, 0) for key, text in decision.coming]
        lines = decision.lines
    running = sorted(f"{key}: {text}" for key, text, _handle in rules)
    kept = sorted(f"{line.key}: {line.rule}" for line in lines)
    return {
        "rules": [rule for rule in running if rule in kept],
        "rules_until_boot": [rule for rule in running if rule not in kept],
        "kept_for_boot": [rule for rule in kept if rule not in running],
    }


def _insertion(key: ChainKey, before: int | None, statements: Sequence[Statement], comment: str) -> Command:
    """The command that puts a rule before another one, or at the end of its chain."""
    rule: dict[str, Any] = {"family": key.family, "table": key.table, "chain": key.chain}
    if before is not None:
        rule["handle"] = before
    rule.update(comment=comment, expr=[dict(statement) for statement in statements])
    return {"add" if before is None else "insert": {"rule": rule}}


def _insertion_text(key: ChainKey, before: int | None, text: str) -> str:
    """The insertion of a rule in words, its comment included."""
    return f"add rule {key} {text}" if before is None else f"insert rule {key} position {before} {text}"


def _follower(ruleset: Ruleset, key: ChainKey, rule: Rule, gone: Iterable[int]) -> int | None:
    rules = ruleset.chains[key].rules
    without = set(gone)
    return next((other.handle for other in rules[rules.index(rule) + 1 :] if other.handle not in without), None)
