# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of checkpoint: brings the checkpoint of a change into a state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._core.engine import Engine, performs
from .._core.plan import Plan, Step
from .._linux.systemd import Systemd
from . import checkpoint
from .checkpoint import Checkpoint, Desired, Proof


@dataclass(frozen=True)
class Observed:
    """The observed checkpoint, None for no checkpoint.

    commit: the options of the module that keeps the change, None where confirming alone keeps it. proof: the evidence
    that the host can still be reached, None where none is asked for. unkept: the files that no copy can be kept of,
    each with the reason.
    """

    found: Checkpoint | None
    commit: dict[str, Any] | None = None
    proof: Proof | None = None
    unkept: Mapping[str, str] = field(default_factory=dict)


def plan_checkpoint(name: str, state: str, desired: Desired, observed: Observed) -> Plan:
    """The steps to the state; pure. OversshError where that state is impossible, or where it is too late for it."""
    found = observed.found
    if state == "created":
        checkpoint.refuse_second(found)
        checkpoint.refuse_unkept(observed.unkept)
        files = ", ".join(desired.files) or "nothing"
        steps = [Step("create", f"have {files} put back in {desired.seconds} s unless it is confirmed")]
    elif found is None:
        steps = []
    elif state == "confirmed":
        checkpoint.refuse_gone(found)
        if observed.proof is not None:
            checkpoint.refuse_unproved(name, observed.proof)
        steps = [Step("confirm", f"have the change {name} stay")]
    elif state == "rolled_back" and found.pending:
        steps = [Step("roll_back", f"roll back the change {name}")]
    else:
        steps = [Step("discard", f"forget the change {name}")]
    after = _described(desired) if state == "created" else {"state": "absent"}
    return Plan({name: _state(observed)}, {name: after}, tuple(steps))


def _state(observed: Observed) -> dict[str, Any]:
    if observed.found is None:
        return {"state": "absent"}
    return {"state": "pending" if observed.found.pending else "rolled back"}


def _described(desired: Desired) -> dict[str, Any]:
    reload = {"reload": list(desired.reload)} if desired.reload else {}
    return {"state": "pending", "files": list(desired.files), **reload, "seconds": desired.seconds}


class CheckpointEngine(Engine[Observed]):
    """The checkpoint of one change on this host."""

    def __init__(
        self, systemd: Systemd, name: str, state: str, desired: Desired, force: bool = False, check: bool = False
    ) -> None:
        """force: confirm without the proof; check: check mode."""
        checkpoint.check(name, desired.seconds)
        self._systemd = systemd
        self._name = name
        self._state = state
        self._desired = desired
        self._force = force
        self._check = check
        self._done = False

    def observe(self) -> Observed:
        """The checkpoint, and the proof by this run's connection, where it is needed."""
        if self._done:
            found = checkpoint.find(self._name)
            return Observed(found, None if found is None else checkpoint.commit_of(self._name))
        found = checkpoint.settled(self._systemd, self._name)
        asked = self._state == "confirmed" and found is not None and found.pending and not self._force
        return Observed(
            found,
            None if found is None else checkpoint.commit_of(self._name),
            checkpoint.proof_of(self._name) if asked else None,
            checkpoint.unkept(self._desired.files),
        )

    def plan(self, observed: Observed) -> Plan:
        """The plan of plan_checkpoint; none after this run's step."""
        return Plan({}, {}) if self._done else plan_checkpoint(self._name, self._state, self._desired, observed)

    def begin(self, action: str) -> None:
        """Note the only step; after a failure of it nothing is observed."""
        self._done = True

    @performs("create")
    def _create(self) -> None:
        checkpoint.create_for_files(self._systemd, self._name, self._desired)

    @performs("confirm")
    def _confirm(self) -> None:
        """What is left to be done to keep the change is another module's, which confirms it then."""
        checkpoint.prove(self._name)
        if checkpoint.commit_of(self._name) is None:
            checkpoint.confirm(self._systemd, self._name)

    @performs("roll_back")
    def _roll_back(self) -> None:
        checkpoint.roll_back(self._systemd, self._name)

    @performs("discard")
    def _discard(self) -> None:
        checkpoint.discard(self._systemd, self._name)

    def close(self) -> None:
        """Remove the checkpoint of a change that was rolled back, as the error has reported it now."""
        found = checkpoint.find(self._name) if self._state == "confirmed" and not self._check else None
        if found is not None and not found.pending:
            checkpoint.discard(self._systemd, self._name)

    def in_effect(self, observed: Observed) -> bool:
        """True, because no step takes effect later."""
        return True

    def result(self, observed: Observed) -> dict[str, Any]:
        """Whether the change is pending, and for the action plugin the options of the module that keeps it."""
        commit = observed.commit if self._done and self._state == "confirmed" else None
        handed_on = {} if commit is None else {"commit": commit}
        return {"pending": observed.found is not None and observed.found.pending, **handed_on}
