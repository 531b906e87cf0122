# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of nft_rule: accepts where they take effect, in one transaction, kept for the next boot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ._command import CommandError, Runner
from ._errors import OversshError
from ._files import read_text, remove, remove_empty_folder, write_text
from ._main import Engine
from ._nft_model import ChainKey, Rule, Ruleset, Statement, parse
from ._nft_persist import FOLDER, RULES_FILE, SCRIPT, SCRIPT_FILE, UNITS, Line, file_text, read_lines
from ._nft_placement import Arrangement, Arranger, Placement
from ._nft_rule import PATHS, PROTOCOLS, Accept, accept_from, rule_name
from ._plan import Plan, Step
from ._systemd import Systemd, UnitState, unit_path

Command = Mapping[str, Any]

RULE_OPTIONS: dict[str, dict[str, Any]] = {
    "path": {"type": "str", "choices": list(PATHS), "default": "input"},
    "protocol": {"type": "str", "choices": list(PROTOCOLS), "default": "any"},
    "ports": {"type": "list", "elements": "str", "default": []},
    "in_interfaces": {"type": "list", "elements": "str", "default": []},
    "out_interfaces": {"type": "list", "elements": "str", "default": []},
    "source": {"type": "list", "elements": "str", "default": []},
    "destination": {"type": "list", "elements": "str", "default": []},
}

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    **RULE_OPTIONS,
    "rules": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str", "required": True}, **RULE_OPTIONS},
    },
    "exclusive_prefix": {"type": "str"},
    "all": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "persist": {"type": "bool", "default": True},
}

CONSTRAINTS: dict[str, Any] = {
    "mutually_exclusive": [("name", "rules")],
    "required_one_of": [("name", "rules", "exclusive_prefix", "all")],
    "supports_check_mode": True,
}


NO_UNIT = UnitState(text=None, enabled=False, active="inactive")


@dataclass(frozen=True)
class Wish:
    """What a task asks for: accepts that are present, names that are absent, and what else of ours goes."""

    accepts: tuple[Accept, ...] = ()
    absent: frozenset[str] = frozenset()
    exclusive_prefix: str | None = None
    everything: bool = False
    persist: bool = True

    def unwanted(self, name: str) -> bool:
        """Whether a rule of ours with this name has to go."""
        if any(accept.name == name for accept in self.accepts):
            return False
        prefixed = self.exclusive_prefix is not None and name.startswith(self.exclusive_prefix)
        return self.everything or prefixed or name in self.absent

    def concerns(self, name: str) -> bool:
        """Whether the task says anything about a rule of ours with this name."""
        return self.unwanted(name) or any(accept.name == name for accept in self.accepts)


@dataclass(frozen=True)
class Firewall:
    """The host's ruleset, and what is kept of ours for the next boot."""

    ruleset: Ruleset
    kept_text: str | None = None
    script: str | None = None
    units: Mapping[str, UnitState] = field(default_factory=lambda: dict.fromkeys(UNITS, NO_UNIT))


@dataclass(frozen=True)
class Decision:
    """All changes that a wish means for a host."""

    arrangements: tuple[Arrangement, ...]
    removed: tuple[tuple[ChainKey, Rule], ...]
    lines: tuple[Line, ...]

    @property
    def added(self) -> tuple[Placement, ...]:
        """The rules of ours that come."""
        return tuple(placement for arrangement in self.arrangements for placement in arrangement.added)


def wish_from(options: Mapping[str, Any]) -> Wish:
    """The task's options in one form, whether they describe one rule or a list."""
    present = options["state"] == "present"
    described: list[Mapping[str, Any]] = list(options.get("rules") or ())
    if options.get("name") is not None:
        described.append(options)
    names = [rule_name(rule.get("name")) for rule in described]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OversshError(f"the name {twice[0]} stands for several rules of this task; give each its own")
    if options.get("all") and (present or described):
        raise OversshError("all takes away every rule of ours; it goes with state: absent, and with no rule named")
    return Wish(
        accepts=tuple(accept_from(rule) for rule in described) if present else (),
        absent=frozenset() if present else frozenset(names),
        exclusive_prefix=options.get("exclusive_prefix"),
        everything=bool(options.get("all")),
        persist=bool(options.get("persist")),
    )


def decide(wish: Wish, observed: Firewall) -> Decision:
    """What has to be done with the rules, and which of them are kept for the next boot."""
    arranger = Arranger(observed.ruleset)
    arrangements = tuple(arranger.arrange(accept) for accept in wish.accepts)
    removed = [gone for arrangement in arrangements for gone in arrangement.removed]
    removed += [(key, rule) for key, rule in observed.ruleset.our_rules() if wish.unwanted(rule.name or "")]
    lines = {line for line in read_lines(observed.kept_text) if not wish.concerns(line.name)}
    if wish.persist:
        for arrangement in arrangements:
            for placement in arrangement.placements:
                lines.add(Line(placement.key, placement.piece.text, placement.anchor))
    return Decision(
        arrangements, tuple(removed), tuple(sorted(lines, key=lambda line: (line.key, line.name, str(line))))
    )


def plan_rules(wish: Wish, observed: Firewall) -> Plan:
    """The steps from the firewall as found to the one wished for."""
    return plan_decided(decide(wish, observed), observed)


def plan_decided(decision: Decision, observed: Firewall) -> Plan:
    """The steps that carry a decision out."""
    steps = [*_rule_steps(decision, observed.ruleset), *_keeping_steps(decision.lines, observed)]
    return Plan(_state(observed, None), _state(observed, decision), tuple(steps))


def _rule_steps(decision: Decision, ruleset: Ruleset) -> list[Step]:
    commands: list[Command] = [{"delete": {"rule": _address(key, rule.handle)}} for key, rule in decision.removed]
    commands += [
        _insertion(placement.key, placement.before, placement.piece.statements, placement.piece.comment)
        for placement in decision.added
    ]
    if not commands:
        return []
    words = [f"remove from {key}: {rule.text or rule.comment}" for key, rule in decision.removed]
    words += [f"add to {placement.key}: {placement.piece.text}" for placement in decision.added]
    gone = {rule.handle for _key, rule in decision.removed}
    back = [
        _insertion(key, _follower(ruleset, key, rule, gone), rule.statements, rule.comment)
        for key, rule in decision.removed
    ]
    inverse = Step("take_back", "take the firewall rules back", {"commands": back})
    return [Step("change", "; ".join(words), {"commands": commands, "fingerprint": ruleset.fingerprint}, inverse)]


def _keeping_steps(lines: Sequence[Line], observed: Firewall) -> list[Step]:
    """What keeps these rules for the next boot; nothing is left of it where there are none."""
    if not lines:
        return _forgetting_steps(observed)
    steps = []
    if observed.kept_text != file_text(lines):
        steps.append(_write(RULES_FILE, file_text(lines), observed.kept_text))
    if observed.script != SCRIPT:
        steps.append(_write(SCRIPT_FILE, SCRIPT, observed.script))
    for unit, text in UNITS.items():
        steps += _unit_steps(unit, text, observed.units[unit])
    return steps


def _unit_steps(unit: str, text: str, found: UnitState) -> Iterator[Step]:
    args = {"unit": unit}
    if found.text != text:
        yield Step("write_unit", f"write {unit_path(unit)}", {**args, "text": text}, _unit_text_step(unit, found.text))
    if not found.enabled:
        yield Step("enable", f"enable {unit}", args, Step("disable", f"disable {unit}", args))
    if found.active != "active":
        yield Step("start", f"start {unit}", args, Step("stop", f"stop {unit}", args))


def _forgetting_steps(observed: Firewall) -> list[Step]:
    steps = []
    for unit in reversed(UNITS):
        args, found = {"unit": unit}, observed.units[unit]
        if found.active in {"active", "activating"}:
            steps.append(Step("stop", f"stop {unit}", args, Step("start", f"start {unit}", args)))
        if found.enabled:
            steps.append(Step("disable", f"disable {unit}", args, Step("enable", f"enable {unit}", args)))
        if found.text is not None:
            steps.append(Step("delete_unit", f"remove {unit_path(unit)}", args, _unit_text_step(unit, found.text)))
    for path, text in ((SCRIPT_FILE, observed.script), (RULES_FILE, observed.kept_text)):
        if text is not None:
            back = Step("write", f"write {path}", {"path": path, "text": text})
            steps.append(Step("remove", f"remove {path}", {"path": path}, back))
    return steps


def _unit_text_step(unit: str, text: str | None) -> Step:
    if text is None:
        return Step("delete_unit", f"remove {unit_path(unit)}", {"unit": unit})
    return Step("write_unit", f"write {unit_path(unit)}", {"unit": unit, "text": text})


def _write(path: str, text: str, before: str | None) -> Step:
    if before is None:
        back = Step("remove", f"remove {path}", {"path": path})
    else:
        back = Step("write", f"write {path}", {"path": path, "text": before})
    return Step("write", f"write {path}", {"path": path, "text": text}, back)


def _state(observed: Firewall, decision: Decision | None) -> dict[str, Any]:
    """Our rules and what is kept of them, as found, or as they will be after the decision."""
    rules = [(key, rule.text or rule.comment, rule.handle) for key, rule in observed.ruleset.our_rules()]
    lines = read_lines(observed.kept_text)
    if decision is not None:
        gone = {(key, rule.handle) for key, rule in decision.removed}
        rules = [(key, text, handle) for key, text, handle in rules if (key, handle) not in gone]
        rules += [(placement.key, placement.piece.text, 0) for placement in decision.added]
        lines = decision.lines
    return {
        "rules": sorted(f"{key}: {text}" for key, text, _handle in rules),
        "kept_for_boot": sorted(f"{line.key}: {line.rule}" for line in lines),
    }


def _address(key: ChainKey, handle: int) -> dict[str, Any]:
    return {"family": key.family, "table": key.table, "chain": key.chain, "handle": handle}


def _insertion(key: ChainKey, before: int | None, statements: Sequence[Statement], comment: str) -> Command:
    """The command that puts a rule before another one, or at the end of its chain."""
    rule: dict[str, Any] = {"family": key.family, "table": key.table, "chain": key.chain}
    if before is not None:
        rule["handle"] = before
    rule.update(comment=comment, expr=[dict(statement) for statement in statements])
    return {"add" if before is None else "insert": {"rule": rule}}


def _follower(ruleset: Ruleset, key: ChainKey, rule: Rule, gone: Iterable[int]) -> int | None:
    rules = ruleset.chains[key].rules
    without = set(gone)
    return next((other.handle for other in rules[rules.index(rule) + 1 :] if other.handle not in without), None)


class Nft:
    """nft on this host."""

    def __init__(self, run: Runner) -> None:
        self._run = run

    def ruleset(self) -> Ruleset:
        """The ruleset, with each rule's text."""
        listing = self._run(["nft", "-j", "list", "ruleset"]).stdout
        text = self._run(["nft", "-s", "-a", "list", "ruleset"]).stdout
        return parse(listing, text)

    def apply(self, commands: Sequence[Command]) -> list[tuple[ChainKey, int]]:
        """Do the commands in one transaction, and return the rules that were added."""
        batch = json.dumps({"nftables": list(commands)})
        self._run(["nft", "-j", "-c", "-f", "-"], data=batch)
        echo = self._run(["nft", "-j", "-e", "-a", "-f", "-"], data=batch).stdout
        return _echoed(echo)


def _echoed(echo: str) -> list[tuple[ChainKey, int]]:
    added = []
    for line in echo.splitlines():
        try:
            entries = json.loads(line).get("nftables", [])
        except (ValueError, AttributeError):
            continue
        for entry in entries:
            for verb in ("add", "insert"):
                rule = entry.get(verb, {}).get("rule")
                if rule and "handle" in rule:
                    added.append((ChainKey(rule["family"], rule["table"], rule["chain"]), int(rule["handle"])))
    return added


class NftEngine(Engine[Firewall]):
    """Accept rules of ours in the host's own chains."""

    def __init__(self, wish: Wish, run: Runner) -> None:
        self._wish = wish
        self._nft = Nft(run)
        self._systemd = Systemd(run)
        self._added: list[tuple[ChainKey, int]] = []
        self._decided: tuple[Firewall, Decision] | None = None

    def observe(self) -> Firewall:
        """The ruleset, and our files and unit."""
        return observe_firewall(self._nft, self._systemd, self._wish.persist)

    def plan(self, observed: Firewall) -> Plan:
        """See plan_rules."""
        return plan_decided(self._decide(observed), observed)

    def _decide(self, observed: Firewall) -> Decision:
        """Decide once for each observation: in a large ruleset it takes a while."""
        if self._decided is None or self._decided[0] is not observed:
            self._decided = (observed, decide(self._wish, observed))
        return self._decided[1]

    def perform(self, step: Step) -> None:
        """One transaction of nft, or one change of our files or unit."""
        args = step.args
        if step.action == "change":
            self._change(args["commands"], args["fingerprint"])
        elif step.action == "take_back":
            deletions = [{"delete": {"rule": _address(key, handle)}} for key, handle in self._added]
            self._nft.apply([*deletions, *args["commands"]])
        elif step.action == "write":
            write_text(args["path"], args["text"])
        elif step.action == "remove":
            remove(args["path"])
            remove_empty_folder(FOLDER)
            remove_empty_folder(FOLDER.rpartition("/")[0])
        elif step.action == "write_unit":
            self._systemd.write(args["unit"], args["text"])
        elif step.action == "delete_unit":
            self._systemd.delete(args["unit"])
        else:
            {
                "enable": self._systemd.enable,
                "disable": self._systemd.disable,
                "start": self._systemd.start,
                "stop": self._systemd.stop,
            }[step.action](args["unit"])

    def _change(self, commands: Sequence[Command], fingerprint: str) -> None:
        """Apply the commands; where another program changed the ruleset meanwhile, work them out once more."""
        try:
            self._added = self._nft.apply(commands)
        except CommandError as error:
            found = self._nft.ruleset()
            if found.fingerprint == fingerprint:
                raise OversshError(_refusal(error, commands)) from error
            again = _rule_steps(decide(self._wish, Firewall(found)), found)
            try:
                self._added = self._nft.apply(again[0].args["commands"]) if again else []
            except CommandError as second:
                raise OversshError(
                    f"another program keeps changing this host's ruleset; run again when it is done ({second})"
                ) from second

    def result(self, observed: Firewall) -> dict[str, Any]:
        """Each rule with the places where it stands, or would stand."""
        decision = self._decide(observed)
        rules = [
            {
                "name": arrangement.accept.name,
                "needed": arrangement.needed,
                "placements": [_told(placement) for placement in arrangement.placements],
            }
            for arrangement in decision.arrangements
        ]
        notes = dict.fromkeys(note for arrangement in decision.arrangements for note in arrangement.notes)
        return {
            "rules": rules,
            "placements": [
                {"name": arrangement.accept.name, **_told(placement)}
                for arrangement in decision.arrangements
                for placement in arrangement.placements
            ],
            "needed": any(arrangement.needed for arrangement in decision.arrangements),
            "notes": list(notes),
        }


def observe_firewall(nft: Nft, systemd: Systemd, persist: bool) -> Firewall:
    """The ruleset and what is kept of ours; systemd is asked only where something is, or shall be, kept."""
    found = Firewall(nft.ruleset(), read_text(RULES_FILE), read_text(SCRIPT_FILE))
    if persist or found.kept_text is not None or any(read_text(unit_path(unit)) is not None for unit in UNITS):
        found = replace(found, units={unit: systemd.observe(unit) for unit in UNITS})
    return found


def look(run: Runner, name: str | None, prefix: str | None) -> list[dict[str, Any]]:
    """The rules of ours on the host, for nft_rule_info: all of them, or those asked for."""
    return [
        rule
        for rule in our_rules(Nft(run).ruleset(), read_text(RULES_FILE))
        if (name is None or rule["name"] == name) and rule["name"].startswith(prefix or "")
    ]


def our_rules(ruleset: Ruleset, kept_text: str | None) -> list[dict[str, Any]]:
    """Every rule of ours on a host, as told to the user."""
    kept = {(line.key, line.name) for line in read_lines(kept_text)}
    found = []
    for key, rule in ruleset.our_rules():
        counter = next((statement["counter"] for statement in rule.statements if "counter" in statement), None)
        told = {
            "name": rule.name,
            **_address(key, rule.handle),
            "rule": rule.text,
            "comment": rule.comment,
            "persistent": (key, rule.name) in kept,
        }
        if isinstance(counter, Mapping):
            told.update(packets=counter.get("packets", 0), bytes=counter.get("bytes", 0))
        found.append(told)
    return found


def _told(placement: Placement) -> dict[str, Any]:
    decider = placement.decider
    return {
        "family": placement.key.family,
        "table": placement.key.table,
        "chain": placement.key.chain,
        "handle": placement.handle,
        "rule": placement.text,
        "before": placement.before,
        "decided_by": None
        if decider is None
        else {
            "family": decider.key.family,
            "table": decider.key.table,
            "chain": decider.key.chain,
            "handle": decider.handle,
            "rule": decider.text,
        },
    }


def _refusal(error: CommandError, commands: Sequence[Command]) -> str:
    if "Operation not permitted" not in str(error):
        return str(error)
    rules = [rule["rule"] for command in commands for rule in command.values()]
    tables = sorted({f"{rule['family']} {rule['table']}" for rule in rules})
    return f"nft may not write to {', '.join(tables)}: another program owns the table, or root's rights are missing"
