# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command on a second host from an action on a first; the answer is never logged, at any verbosity."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean

if TYPE_CHECKING:
    from ansible.plugins.action import ActionBase


def ask(action: ActionBase, host: str, variables: Mapping[str, Any], argv: Sequence[str]) -> str:
    """Run argv on host with the task's own privileges, over that host's own connection, and return what it prints.

    variables: everything Ansible knows of that host (its entry in hostvars). Raises AnsibleError with the program's
    last words, never with what it printed on standard output.
    """
    context = action._play_context.copy()
    # The ssh connection prints what it read at -vvv, unless the play context says that it is secret.
    context.no_log = True
    context.remote_addr = variables.get("ansible_host") or host
    loaders = action._shared_loader_obj
    kind = variables.get("ansible_connection") or "ssh"
    connection = loaders.connection_loader.get(kind, context, None)
    if connection is None:
        raise AnsibleError(f"{host} uses the connection plugin '{kind}', which can't be found")
    attributes = action._task.dump_attrs()
    options = {"inventory_hostname": host, **_options("connection", connection._load_name, variables)}
    connection.set_options(task_keys=attributes, var_options=options)
    _become(action, connection, context, variables, attributes)
    connection._shell.set_options(
        task_keys=attributes, var_options=_options("shell", connection._shell._load_name, variables)
    )
    second = type(action)(action._task, connection, context, action._loader, action._templar, action._shared_loader_obj)
    try:
        answer = second._low_level_execute_command(shlex.join(argv))
    finally:
        connection.close()
    if answer["rc"] != 0:
        words = [line.strip() for line in answer.get("stderr", "").splitlines() if line.strip()]
        raise AnsibleError(f"{host}: {words[-1] if words else 'the command failed and said nothing'}")
    return str(answer["stdout"]).strip()


def _options(kind: str, plugin: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables that a plugin takes options from."""
    return {name: variables[name] for name in constants.config.get_plugin_vars(kind, plugin) if name in variables}


def _become(
    action: ActionBase, connection: Any, context: Any, variables: Mapping[str, Any], attributes: Mapping[str, Any]
) -> None:
    """Give the connection the privileges that the task has on its own host."""
    wanted = variables.get("ansible_become")
    if not (action._task.become if wanted is None else boolean(wanted)):
        return
    method = variables.get("ansible_become_method") or action._task.become_method or "sudo"
    plugin = action._shared_loader_obj.become_loader.get(method)
    if plugin is None:
        raise AnsibleError(f"the become plugin '{method}' can't be found")
    plugin.set_options(task_keys=attributes, var_options=_options("become", plugin._load_name, variables))
    connection.set_become_plugin(plugin)
    context.set_become_plugin(plugin.name)


def interpreter(variables: Mapping[str, Any]) -> str:
    """The path of the Python that Ansible uses on that host."""
    named = variables.get("ansible_python_interpreter") or ""
    discovered = (variables.get("ansible_facts") or {}).get("discovered_interpreter_python")
    return str(named if named and not str(named).startswith("auto") else discovered or "/usr/bin/python3")
