# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of checkpoint: only a connection that began after the change confirms it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.overssh.swarm.plugins.plugin_utils._action.reconnect import hang_up, share_nothing

MODULE = "overssh.swarm.checkpoint"
# Keeps for the next boot what it has changed before; a host's word does not choose what else is run.
COMMITS = "overssh.swarm.nft_rule"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module, and again by a new connection where the host reports an old one."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        answer = self._answer(variables)
        for renew in (hang_up, share_nothing):
            if not answer.pop("unproved", False):
                break
            renew(self._connection)
            answer = self._answer(variables)
        answer.pop("unproved", None)
        commit = answer.pop("commit", None)
        if commit is None or answer.get("failed"):
            return answer
        kept: dict[str, Any] = self._execute_module(
            module_name=COMMITS, module_args={**commit, "phase": "commit"}, task_vars=variables
        )
        kept.pop("unproved", None)
        return kept if kept.get("failed") else {**answer, "changed": True, "pending": False}

    def _answer(self, variables: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_name=MODULE, task_vars=variables)
        return answer
