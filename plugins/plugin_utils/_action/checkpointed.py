# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of a checkpointed change: it stays only where a new connection reaches the host after it."""

from __future__ import annotations

import socket
import time
from abc import abstractmethod
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.overssh.swarm.plugins.plugin_utils._action.reconnect import hang_up, share_nothing

# Seconds: between two attempts, for one probe, and what a host that has rolled a change back needs to be there again.
PAUSE = 1.0
PATIENCE = 5.0
RECOVERY = 60.0


class ProbeError(OSError):
    """A host other than the changed one could not be reached."""


class Checkpointed(ActionBase):  # type: ignore[misc]
    """Stages the change on the host, connects to the host anew, and commits the change.

    MODULE: the module of both phases, which its option phase selects. SUBJECT: the changed part of the host, in words.
    """

    MODULE: str
    SUBJECT: str

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Stage the change, connect anew, and commit it."""
        super().run(tmp, task_vars)
        self._variables = task_vars or {}
        arguments = dict(self._task.args)
        confirm = arguments.get("confirm", "auto")
        if self._play_context.check_mode or confirm == "none":
            return self._module(arguments)
        staged = self._module({**arguments, "phase": "stage"})
        if staged.get("failed") or not staged.get("pending"):
            return staged
        self._checkpoint = staged["checkpoint"]
        seconds = int(arguments.get("rollback_timeout") or 60)
        if confirm == "manual":
            words = (
                f"This host rolls the change of its {self.SUBJECT} back in {seconds} s, unless overssh.swarm.confirm "
                "runs."
            )
            return {**staged, "warnings": [*staged.get("warnings", []), words]}
        return self._kept(arguments, staged, seconds)

    @abstractmethod
    def keep(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Commit the change; return the host's answer."""

    @abstractmethod
    def answer(self, staged: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
        """Join the answers of both phases."""

    def _kept(self, arguments: dict[str, Any], staged: dict[str, Any], seconds: int) -> dict[str, Any]:
        """The outcome of the change; the host reports it where it has rolled the change back."""
        began, trouble, probe_failed, shares = time.monotonic(), "", False, True
        hang_up(self._connection)
        while time.monotonic() < began + seconds + RECOVERY:
            try:
                if time.monotonic() < began + seconds:
                    self._probe(arguments.get("probe") or [])
                elif probe_failed:
                    return self._failed_probe(trouble)
                kept = self.keep(arguments)
            except (AnsibleConnectionFailure, OSError) as error:
                if not trouble:
                    trouble = str(getattr(error, "message", error)).strip().rstrip(".")
                    probe_failed = isinstance(error, ProbeError)
                hang_up(self._connection)
                time.sleep(PAUSE)
                continue
            unproved = kept.pop("unproved", False)
            if unproved and shares:
                shares = False
                if share_nothing(self._connection):
                    continue
            if kept.get("failed"):
                self._roll_back()
                back = "It was rolled back." if unproved else ""
                return {**kept, "msg": " ".join(filter(None, [kept["msg"], back, _sentence(trouble)]))}
            return self.answer(staged, kept)
        return {
            "failed": True,
            "msg": f"The host could not be reached again after the change of its {self.SUBJECT}; it rolls that back by "
            f"itself, {seconds} s after it was made. {_sentence(trouble)}".strip(),
        }

    def _failed_probe(self, trouble: str) -> dict[str, Any]:
        """Roll the change back; the answer has the trouble with a host other than the changed one."""
        self._roll_back()
        return {"failed": True, "msg": f"The change of the {self.SUBJECT} was rolled back. {_sentence(trouble)}"}

    def _roll_back(self) -> None:
        """At once, where the host has not done so."""
        self._bring_checkpoint("rolled_back")

    def _bring_checkpoint(self, state: str) -> dict[str, Any]:
        """Bring the checkpoint of the change into that state."""
        return self._module({"name": self._checkpoint, "state": state}, "overssh.swarm.checkpoint")

    def _module(self, arguments: dict[str, Any], name: str = "") -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name=name or self.MODULE, module_args=arguments, task_vars=self._variables
        )
        return answer

    def _probe(self, places: list[str]) -> None:
        """ProbeError where one of these can't be reached from here."""
        for place in places:
            host, _colon, port = str(place).rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
            except (OSError, ValueError) as error:
                raise ProbeError(f"the probe of {place} failed ({error})") from error


def _sentence(trouble: str) -> str:
    return f"What was in the way: {trouble}." if trouble else ""
