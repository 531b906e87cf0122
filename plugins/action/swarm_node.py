# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of swarm_node: hands a manager's join token to the joining node, in memory only."""

from __future__ import annotations

import json
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.plan import UNJOINABLE
from ansible_collections.overssh.swarm.plugins.plugin_utils._action import remote_command

MODULE = "overssh.swarm.swarm_node"
# Runs on the manager, on the library that the module itself needs; the role of the one who joins follows.
PROGRAM = "import docker, sys; print(docker.APIClient(timeout=30).inspect_swarm()['JoinTokens'][sys.argv[1]])"
# A manager that others can't reach is not ready, whatever its status; see _swarm.model.standing.
ASK_MEMBERS = (
    "import docker, json; engine = docker.APIClient(timeout=30); "
    "nodes = engine.nodes() if engine.info()['Swarm'].get('ControlAvailable') else []; "
    "reach = lambda node: (node.get('ManagerStatus') or {}).get('Reachability') or 'reachable'; "
    "print(json.dumps({node['ID']: node['Status']['State'] if reach(node) == 'reachable' else reach(node) "
    "for node in nodes}))"
)
TOKEN_OF = {"manager": "Manager", "worker": "Worker"}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module, with a join token at once where the task asks for it, else after the module lacked one."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, with a join token where it needs one."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        manager = arguments.pop("manager", None)
        warnings = self._ask_members(str(manager), arguments, variables) if manager else []
        token_first = boolean(arguments.pop("token_first", False)) and not self._play_context.check_mode
        if not (manager and token_first):
            answer = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables)
            result.update(_with_warnings(answer, warnings))
            lacks_token = result.pop("join_token_missing", False)
            if self._play_context.check_mode:
                refused = _foreseen(manager, variables) if lacks_token else None
                return result if refused is None else _with_warnings(refused, warnings)
            if not (manager and result.get("failed") and lacks_token):
                return result
        try:
            token = self._token(str(manager), str(arguments.get("state")), variables)
        except AnsibleError as error:
            return _no_token(manager, error)
        arguments["join_token"] = token
        again = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables)
        return _with_warnings(again, warnings)

    def _ask_members(self, manager: str, arguments: dict[str, Any], variables: dict[str, Any]) -> list[str]:
        """Adds what that manager lists to the arguments, where they say nothing of it; returns warnings."""
        if "members" in arguments or arguments.get("state") not in TOKEN_OF:
            return []
        try:
            arguments["members"] = json.loads(self._asked(manager, variables, [ASK_MEMBERS]))
        except (AnsibleError, ValueError) as error:
            return [
                f"the manager {manager} could not be asked whether it lists this node ({error}), so the node's own "
                "word was taken for it"
            ]
        return []

    def _token(self, manager: str, state: str, variables: dict[str, Any]) -> str:
        return self._asked(manager, variables, [PROGRAM, TOKEN_OF[state]])

    def _asked(self, manager: str, variables: dict[str, Any], program: list[str]) -> str:
        """The output of a one-line program on a manager."""
        there = _hostvars(manager, variables)
        return remote_command.ask(self, manager, there, [remote_command.interpreter(there), "-c", *program])


def _hostvars(manager: str, variables: dict[str, Any]) -> Any:
    """Ansible's variables of that manager; AnsibleError where the inventory has no such host."""
    hostvars = variables["hostvars"]
    if manager not in hostvars:
        raise AnsibleError("there is no such host in the inventory")
    return hostvars[manager]


def _foreseen(manager: Any, variables: dict[str, Any]) -> dict[str, Any] | None:
    """The refusal for a missing join token, where it is known before the manager is asked; else None."""
    if not manager:
        return {"failed": True, "msg": f"{UNJOINABLE}."}
    try:
        _hostvars(str(manager), variables)
    except AnsibleError as error:
        return _no_token(manager, error)
    return None


def _no_token(manager: Any, error: AnsibleError) -> dict[str, Any]:
    return {
        "failed": True,
        "msg": f"no join token could be had from the manager {manager}: {error.message}; "
        "look at its swarm with 'docker info' there.",
    }


def _with_warnings(answer: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    return {**answer, "warnings": [*answer.get("warnings", []), *warnings]} if warnings else answer
