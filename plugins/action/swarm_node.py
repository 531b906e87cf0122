# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of swarm_node: hands a join token from a manager to the node that joins, in memory only."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.overssh.swarm.plugins.plugin_utils import _second_host

MODULE = "overssh.swarm.swarm_node"
# Runs on the manager, on the library that the module itself needs; the role of the one who joins follows.
PROGRAM = "import docker, sys; print(docker.APIClient(timeout=30).inspect_swarm()['JoinTokens'][sys.argv[1]])"
TOKEN_OF = {"manager": "Manager", "worker": "Worker"}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module, with a join token from the start where that is asked for, or once it says that it lacks one."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See ActionBase."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        manager = arguments.pop("manager", None)
        token_first = boolean(arguments.pop("token_first", False)) and not self._play_context.check_mode
        if not (manager and token_first):
            result.update(self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables))
            if not (manager and result.get("failed") and result.pop("join_token_missing", False)):
                return result
        try:
            token = self._token(str(manager), str(arguments.get("state")), variables)
        except AnsibleError as error:
            return {
                "failed": True,
                "msg": f"no join token could be had from the manager {manager}: {error.message}; "
                "look at its swarm with 'docker info' there.",
            }
        arguments["join_token"] = token
        again: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables)
        return again

    def _token(self, manager: str, state: str, variables: dict[str, Any]) -> str:
        hostvars = variables["hostvars"]
        if manager not in hostvars:
            raise AnsibleError("there is no such host in the inventory")
        there = hostvars[manager]
        argv = [_second_host.interpreter(there), "-c", PROGRAM, TOKEN_OF[state]]
        return _second_host.ask(self, manager, there, argv)
