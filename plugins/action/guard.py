# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of guard: a change is confirmed by a connection that began after it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.overssh.swarm.plugins.plugin_utils._action.reconnect import hang_up, share_nothing

MODULE = "overssh.swarm.guard"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module; where the host says that the connection is an old one, by a new one again."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See ActionBase."""
        super().run(tmp, task_vars)
        answer = self._answer(task_vars)
        for renew in (hang_up, share_nothing):
            if not answer.pop("unproved", False):
                break
            renew(self._connection)
            answer = self._answer(task_vars)
        answer.pop("unproved", None)
        return answer

    def _answer(self, variables: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_name=MODULE, task_vars=variables or {})
        return answer
