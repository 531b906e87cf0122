# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs for sh, each in a file of its own whose name ends with _sh.py.

Such a file holds one program word for word, so shellcheck reads what a host runs. The file is Python, because Ansible
brings only Python of module_utils to a host. Variables carry what differs between hosts.
"""

from __future__ import annotations

import shlex

SHEBANG = "#!/bin/sh\n"


def assignments(**values: str) -> str:
    """Lines for sh that set these variables, each value quoted."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def with_values(program: str, **values: str) -> str:
    """The program as a script that sets these variables first."""
    return f"{SHEBANG}{assignments(**values)}{program}"
