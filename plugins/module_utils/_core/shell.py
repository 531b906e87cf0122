# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs for sh, each in a file of its own with the ending _sh.py.

Such a file holds one program word for word, so shellcheck reads what a host runs. It is Python, because Ansible brings
nothing else of a collection to a host. What differs between hosts is given to the program as variables.
"""

from __future__ import annotations

import shlex

SHEBANG = "#!/bin/sh\n"


def assignments(**values: str) -> str:
    """Lines for sh that give variables these values."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def with_values(program: str, **values: str) -> str:
    """The program as a file of its own that has these variables from its beginning."""
    return f"{SHEBANG}{assignments(**values)}{program}"
