# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of nft_rule: rules where they take effect, in one transaction, kept for the next boot."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from .._checkpoint import checkpoint, left
from .._checkpoint.checkpoint import Checkpoint
from .._checkpoint.left import LeftSteps
from .._core.command import CommandError, Runner
from .._core.engine import Engine, performs
from .._core.errors import OversshError
from .._core.files import (
    Lock,
    lock_folder,
    read_text,
    remove,
    remove_empty_folder,
    write_text,
)
from .._core.plan import Plan, Step
from .._core.program import install, installed
from .._linux import proc
from .._linux.ssh_session import Session, session
from .._linux.systemd import Systemd, unit_path
from .._nftables import docker_chains, normalize
from .._nftables import legacy as nftables_legacy
from .._nftables import ours as nftables_ours
from .._nftables import record as nftables_record
from .._nftables.chain_rule import ChainRulePlacement
from .._nftables.firewalld import ours
from .._nftables.owner import firewalld_owns, owners
from .._nftables.placement import Placer
from .._nftables.result import address, result_of, result_of_firewalld
from .._nftables.rules_file import FOLDER, RULES_FILE
from .._nftables.ruleset import ChainKey, Ruleset, name_of
from .._watcher import unit as watcher_unit
from .._watcher.rules import left_alone
from .._watcher.unit import WatcherSteps
from . import firewalld as firewall_firewalld
from . import others_files, rollback_script
from .desired import Desired
from .firewalld_plan import FILES, LEFT, Call
from .info import lost_result
from .nft import Nft
from .persistence import LOCK, PROGRAM_FOLDER, SCRIPT_FILE, UNITS
from .plan import Command, Decision, Observed, decide, plan_decided, refuse_checkpoint, rule_steps, unwritable

Options = Mapping[str, Any]
Phase = Literal["apply", "stage", "commit"]
# Seconds that a change gets until it is kept, once somebody has confirmed it, and how many are enough.
COMMITTING, ENOUGH = 120, 45


class NftRuleEngine(LeftSteps, WatcherSteps, Engine[Observed]):
    """Our rules in the host's own chains."""

    def __init__(
        self,
        desired: Desired,
        run: Runner,
        phase: Phase = "apply",
        rollback_timeout: int = 60,
        task: Options | None = None,
        foresees: bool = False,
    ) -> None:
        """phase: stage has the host roll back the change after rollback_timeout seconds, unless a commit follows.

        task: the options of the task, for the run that confirms the change later; foresees: nothing is going to be
        done, and the real run would stage the change (check mode).
        """
        self._desired = desired
        self._task = task
        self._phase = phase
        self._rollback_timeout = rollback_timeout
        self._foresees = foresees
        self._created = False
        self._run = run
        self._nft = Nft(run)
        self._systemd = Systemd(run)
        self._added: list[tuple[ChainKey, int]] = []
        self._back: Mapping[str, Any] | None = None
        self._decided: tuple[Observed, Decision] | None = None
        self._lock: Lock | None = None
        self._found: Observed | None = None

    def hold(self) -> None:
        """Lock all our rules against other runs of ours; prove a staged change before it is kept, and prolong it.

        A change that was rolled back must not come again without a rollback, nor may one go while it is being kept.
        """
        self._lock = lock_folder(LOCK)
        if self._phase == "commit":
            checkpoint.refuse_rolled_back(self._systemd, self._checkpoint_name)
            checkpoint.require_proof(self._checkpoint_name)
            checkpoint.prove(self._checkpoint_name)
            checkpoint.prolong(self._systemd, self._checkpoint_name, ENOUGH, COMMITTING)

    def recovery(self) -> tuple[Step, ...]:
        """Steps that roll back a change of an interrupted run, before its timer does so during this run.

        A change that waits for a person stays pending.
        """
        if self._phase == "commit" or (self._task or {"confirm": "manual"}).get("confirm") == "manual":
            return ()
        return tuple(step for name in self._names if not _waits_for_a_person(name) for step in left.taken_back(name))

    @property
    def _names(self) -> list[str]:
        return rollback_script.names_of(self._desired)

    @property
    def _checkpoint_name(self) -> str:
        return self._names[0]

    @functools.cached_property
    def _session(self) -> Session | None:
        """The same for the whole run, however often the host is looked at."""
        return session(self._run)

    def observe(self) -> Observed:
        """The ruleset, and our files and units."""
        if self._found is None:
            self._found = self._look()
        return self._found

    def close(self) -> None:
        """Release the lock; remove the checkpoint of a change that was rolled back, as the error reported it."""
        found = checkpoint.find(self._checkpoint_name) if self._phase == "commit" else None
        if found is not None and not found.pending:
            checkpoint.discard(self._systemd, self._checkpoint_name)
        if self._lock:
            self._lock.release()

    def _look(self) -> Observed:
        taken_back = {step.args["name"] for step in self.recovery()} if self._foresees else set()
        names = [name for name in self._names if name not in taken_back]
        changes = filter(None, (checkpoint.settled(self._systemd, name) for name in names))
        found = observe_firewall(self._nft, self._systemd, self._desired.persist)
        written = normalize.written(self._run, found.ruleset, self._desired.fixed, self._desired.owner)
        firewalld = None
        if firewalld_owns(found.ruleset, self._desired.owner):
            firewalld = firewall_firewalld.observe(self._run)
        legacy = nftables_legacy.observe(self._run)
        return replace(
            found,
            changes=tuple(changes),
            written=written,
            session=self._session,
            firewalld=firewalld,
            legacy=legacy,
        )

    def plan(self, observed: Observed) -> Plan:
        """The plan of plan_rules; a staged change is not kept for the next boot."""
        if self._phase == "commit":
            checkpoint.refuse_gone(self._own_change(observed))
        decision = self._decide(observed)
        stages, to_prove = self._phase == "stage", self._to_prove(decision)
        if (stages or self._foresees) and to_prove and not self._created:
            refuse_checkpoint(observed.changes, self._checkpoint_name, self._rollback_timeout)
        waits = (stages or self._foresees) and self._is_pending(observed)
        return plan_decided(decision, observed, keeps=not (waits or (stages and (to_prove or self._created))))

    def _own_change(self, observed: Observed) -> Checkpoint | None:
        return next((each for each in observed.changes if each.name == self._checkpoint_name), None)

    def _is_pending(self, observed: Observed) -> bool:
        own = self._own_change(observed)
        return own is not None and own.pending

    def _to_prove(self, decision: Decision) -> bool:
        """Whether the host is to be reached anew before the change is kept."""
        task = self._task or {}
        asked = task.get("confirm") != "auto" or bool(task.get("probe"))
        return decision.may_cut or (asked and decision.changes_rules)

    def _decide(self, observed: Observed) -> Decision:
        """Decide once for each observation: in a large ruleset it takes a while."""
        if self._decided is None or self._decided[0] is not observed:
            self._decided = (observed, decide(self._desired, observed))
        return self._decided[1]

    def begin(self, action: str) -> None:
        """See Engine."""
        self._found = None

    @performs("change")
    def _change(self, commands: Sequence[Command], fingerprint: str) -> None:
        """One transaction of nft."""
        with self._checkpointed(kept=False):
            try:
                self._added = self._nft.apply(commands)
            except CommandError as error:
                found = self._nft.ruleset()
                if found.fingerprint == fingerprint:
                    raise OversshError(_refusal(error, commands)) from error
                self._change_again(found)

    @performs("firewalld")
    def _change_firewalld(self, calls: Sequence[Call], back: Sequence[Call], kept: bool) -> None:
        with self._checkpointed(kept):
            firewall_firewalld.call(self._run, calls, back)

    @performs("take_back")
    def _take_back(self, chains: Sequence[Command], commands: Sequence[Command]) -> None:
        """What came goes by the handles that nft gave it."""
        self._discard()
        back = self._back or {"chains": chains, "commands": commands}
        deletions = [{"delete": {"rule": address(key, handle)}} for key, handle in self._added]
        self._nft.apply([*deletions, *back["chains"], *back["commands"]])

    @performs("firewalld_back")
    def _take_firewalld_back(self, calls: Sequence[Call]) -> None:
        self._discard()
        firewall_firewalld.call(self._run, calls)

    @performs("write")
    def _write(self, path: str, text: str) -> None:
        write_text(path, text)

    @performs("remove")
    def _remove(self, path: str) -> None:
        remove(path)
        remove_empty_folder(FOLDER)
        remove_empty_folder(FOLDER.rpartition("/")[0])

    @performs("program")
    def _write_program(self, files: Mapping[str, str]) -> None:
        install(PROGRAM_FOLDER, files)

    @contextlib.contextmanager
    def _checkpointed(self, kept: bool) -> Iterator[None]:
        """A change of the firewall within; kept: it is not about what the firewall runs."""
        try:
            self._create_checkpoint(kept)
            yield
            if self._created:
                checkpoint.changed(self._checkpoint_name)
        except OversshError:
            self._discard()
            raise

    def settle(self) -> None:
        """Confirm the change that was staged before: this run reached the host, and has kept the change."""
        if self._phase == "commit":
            checkpoint.confirm(self._systemd, self._checkpoint_name)
            if read_text(SCRIPT_FILE) is not None:
                # What others removed meanwhile was left alone until now.
                self._run(["sh", SCRIPT_FILE], check=False)

    def _create_checkpoint(self, kept: bool) -> None:
        if self._decided is None:
            return
        observed, decision = self._decided
        if self._phase == "commit" and not kept and checkpoint.find(self._checkpoint_name) is None:
            raise OversshError("the change was rolled back meanwhile; run again")
        if self._phase == "stage" and not kept and not self._created and self._to_prove(decision):
            boot = (read_text(proc.BOOT_ID) or "").strip()
            rollback = rollback_script.rollback_commands(decision, observed.ruleset, boot, observed.placed_text)
            checkpoint.create(self._systemd, self._checkpoint_name, rollback, self._rollback_timeout, _said(self._task))
            self._created = True

    def _discard(self) -> None:
        if self._created:
            checkpoint.discard(self._systemd, self._checkpoint_name)
            self._created = False

    def _change_again(self, found: Ruleset) -> None:
        """Another program changed the ruleset meanwhile, so everything is worked out once more, its undoing too."""
        if self._decided is None:
            return
        written = normalize.written(self._run, found, self._desired.fixed, self._desired.owner)
        self._discard()
        proved = self._to_prove(self._decided[1])
        decision = self._decide(replace(self._decided[0], ruleset=found, written=written))
        if self._phase == "stage" and self._to_prove(decision) and not proved:
            raise OversshError("another program has changed this host's ruleset meanwhile; run again when it is done")
        steps = rule_steps(decision, found)
        for step in steps:
            self._create_checkpoint(kept=False)
            self._back = None if step.inverse is None else step.inverse.args
            try:
                self._added = self._nft.apply(step.args["commands"])
            except CommandError as second:
                raise OversshError(
                    f"another program keeps changing this host's ruleset; run again when it is done ({second})"
                ) from second

    def _lost(self, observed: Observed) -> list[docker_chains.Lost]:
        return docker_chains.lost(observed.docker, [observed.ruleset, observed.legacy.ruleset])

    def result(self, observed: Observed) -> dict[str, Any]:
        """Each rule with its places, in check mode the planned ones."""
        decision = self._decide(observed)
        rules: list[dict[str, Any]] = [
            {
                "name": accept_placement.accept.name,
                "needed": accept_placement.needed or observed.firewalld is not None,
                "placements": [
                    *(result_of(placement) for placement in accept_placement.placements),
                    *(
                        result_of_firewalld(line)
                        for line in ours(decision.lines)
                        if line.name == accept_placement.accept.name
                    ),
                ],
            }
            for accept_placement in decision.accept_placements
        ]
        pending = self._created or (self._phase == "stage" and self._is_pending(observed))
        rules += [
            {"name": each.fixed.name, "needed": True, "placements": _chain_rule_results(each)}
            for each in decision.fixed
        ]
        notes = dict.fromkeys(
            note for accept_placement in decision.accept_placements for note in accept_placement.notes
        )
        beyond = dict.fromkeys(nftables_legacy.notes(observed.legacy, self._desired.accepts))
        beyond |= dict.fromkeys(each.sentence for each in self._lost(observed))
        beyond |= dict.fromkeys(map(left_alone, watcher_unit.rules_left_alone()))
        beyond |= dict.fromkeys(unclaimed(observed.ruleset, self._desired.concerns))
        if not self._desired.present:
            beyond |= dict.fromkeys(others_files.notes(self._desired.concerns))
        if observed.firewalld is not None and not decision.firewalld.running:
            placer = Placer(observed.ruleset, owner=self._desired.owner)
            beyond |= dict.fromkeys(note for each in self._desired.accepts for note in placer.drops_of_firewalld(each))
        return {
            "rules": rules,
            "placements": [{"name": rule["name"], **placement} for rule in rules for placement in rule["placements"]],
            "needed": any(rule["needed"] for rule in rules),
            "notes": [*notes, *beyond],
            "warnings": list(beyond),
            "docker_lost": [lost_result(each) for each in self._lost(observed)],
            "owners": sorted({*owners(observed.ruleset), *observed.legacy.owners}),
            "pending": pending,
            "checkpoint": self._checkpoint_name if pending else "",
        }


def _waits_for_a_person(name: str) -> bool:
    return (checkpoint.commit_of(name) or {}).get("confirm") == "manual"


def _said(options: Any) -> Any:
    """What a user has said of a task's options; those left out are None, and Ansible takes that for a word, too."""
    if isinstance(options, Mapping):
        return {name: _said(value) for name, value in options.items() if value is not None}
    return [_said(value) for value in options] if isinstance(options, list) else options


def observe_firewall(nft: Nft, systemd: Systemd, persist: bool) -> Observed:
    """The ruleset and our files; systemd is asked only where rules are or will be kept."""
    stopped = {path: text for path in (*FILES, *LEFT) if (text := read_text(path)) is not None}
    found = Observed(
        nft.ruleset(),
        record=nftables_ours.record(),
        placed_text=read_text(nftables_record.PLACED_FILE),
        kept_text=read_text(RULES_FILE),
        script=read_text(SCRIPT_FILE),
        program=installed(PROGRAM_FOLDER),
        of_firewalld=stopped,
        docker=docker_chains.observe(),
    )
    if persist or found.kept_text is not None or any(read_text(unit_path(unit)) is not None for unit in UNITS):
        *units, watcher = systemd.observe_all([*UNITS, watcher_unit.UNIT])
        found = replace(found, units=dict(zip(UNITS, units)), watch=watcher_unit.look(watcher))
    return found


def unclaimed(ruleset: Ruleset, concerns: Callable[[str], bool]) -> Iterator[str]:
    """A sentence on each foreign rule with a comment like ours; concerns: whether a name matters."""
    for key, rule in ruleset.strangers():
        if concerns(name_of(rule.comment) or ""):
            yield (
                f"{rule.text!r} in {key} (handle {rule.handle}) has the comment {rule.comment} and is left, as this "
                "host has no record that it was placed here; if nobody else needs it, remove it with "
                f"nft delete rule {key} handle {rule.handle}"
            )


def _chain_rule_results(placement: ChainRulePlacement) -> list[dict[str, Any]]:
    return [
        {
            **address(placement.fixed.key, getattr(rule, "handle", None)),
            "rule": rule.text,
            "before": placement.before,
            "decided_by": None,
        }
        for rule in placement.standing
    ]


def _refusal(error: CommandError, commands: Sequence[Command]) -> str:
    if "Operation not permitted" not in str(error):
        return str(error)
    rules = [rule["rule"] for command in commands if not isinstance(command, str) for rule in command.values()]
    tables = sorted({f"{rule['family']} {rule['table']}" for rule in rules})
    tables += sorted({" ".join(command.split()[2:4]) for command in commands if isinstance(command, str)})
    return unwritable(tables)
