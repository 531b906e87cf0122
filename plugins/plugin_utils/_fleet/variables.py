# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan may read of a host's variables, so that no other variable is resolved."""

from __future__ import annotations

from typing import Any

# Where Ansible reaches a host, and how.
ANSIBLES_OWN = ("ansible_host", "ansible_port", "ansible_connection")


def of(host: Any) -> dict[str, Any]:
    """Our own settings, and where Ansible reaches the host."""
    return {name: host[name] for name in host if name.startswith("overssh_") or name in ANSIBLES_OWN}
