# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have Ansible reach a host by a connection that begins now.

Only the host can say whether it did: see module_utils/_linux/way_in.py. This file does its best with any connection
plugin, and promises nothing.
"""

from __future__ import annotations

import contextlib
import subprocess
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.connection import ConnectionBase

# ssh's first word on an option counts, so these win over all that is said after them and over its configuration.
UNSHARED = "-o ControlMaster=no -o ControlPath=none"
# Seconds in which a connection that lives answers.
SILENCE = 10


def hang_up(connection: ConnectionBase) -> None:
    """Close the connection, where its plugin can; the next command opens a new one."""
    if type(connection).reset is not ConnectionBase.reset:
        with contextlib.suppress(AnsibleError):
            connection.reset()


def share_nothing(connection: ConnectionBase) -> bool:
    """Have ssh open a connection for each command from now on; False for another connection plugin."""
    if getattr(connection, "transport", "") != "ssh":
        return False
    arguments: Any = connection.get_option("ssh_args") or ""
    connection.set_option("ssh_args", f"{UNSHARED} {arguments}".strip())
    return True


def is_dead(connection: ConnectionBase) -> bool:
    """Whether ssh keeps a connection to the host without any answer; ssh itself would wait for minutes."""
    if getattr(connection, "transport", "") != "ssh" or connection.get_option("password"):
        return False
    program = connection.get_option("ssh_executable")
    connection.host = connection.get_option("host") or connection._play_context.remote_addr
    try:
        kept = _run(connection._build_command(program, "ssh", "-O", "check", connection.host))
        if kept:
            _run(connection._build_command(program, "ssh", connection.host, "true"))
    except subprocess.TimeoutExpired:
        return True
    return False


def _run(command: list[bytes]) -> bool:
    """Whether it ends well, in time."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SILENCE, check=False)
    return done.returncode == 0


class FirstWord(ActionBase):  # type: ignore[misc]
    """The controller's part of a module that may be a play's first: an old connection may be dead, and no other.

    A firewall with new connection tracking drops connections that it did not see begin. MODULE: the module's name.
    """

    MODULE: str

    @property
    def is_first(self) -> bool:
        """Whether the task may be the first to reach the host."""
        return True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, after a check of the connection where the task may be the first."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        dead = self.is_first and is_dead(self._connection)
        if dead:
            hang_up(self._connection)
        result.update(self._execute_module(module_name=self.MODULE, task_vars=task_vars or {}))
        if dead:
            words = "This host did not answer over the connection that Ansible had kept; over a new one it does."
            result["warnings"] = [*result.get("warnings", []), words]
        return result
