# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have Ansible reach a host by a connection that begins now.

Whether it did is for the host to say: see _way_in. So this does what it can with any connection plugin, and promises
nothing.
"""

from __future__ import annotations

import contextlib
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.connection import ConnectionBase

# ssh's first word on an option counts, so these win over all that is said after them and over its configuration.
UNSHARED = "-o ControlMaster=no -o ControlPath=none"


def hang_up(connection: ConnectionBase) -> None:
    """Close the connection, where its plugin knows how to; the next command opens another one."""
    if type(connection).reset is not ConnectionBase.reset:
        with contextlib.suppress(AnsibleError):
            connection.reset()


def share_nothing(connection: ConnectionBase) -> bool:
    """Have ssh open a connection of its own for each command from now on; False where the plugin is not ssh's."""
    if getattr(connection, "transport", "") != "ssh":
        return False
    arguments: Any = connection.get_option("ssh_args") or ""
    connection.set_option("ssh_args", f"{UNSHARED} {arguments}".strip())
    return True
