# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter tunnel_prepared: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tunnel_prepared
short_description: Whether a host is prepared for its links
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Compares the facts of M(overssh.swarm.host_info) with the desired state of the role P(overssh.swarm.tunnel#role).
options:
  _input:
    description: The value C(tunnel) of RV(overssh.swarm.host_info#module:host).
    type: dict
    required: true
  wanted:
    description:
      - The C(account) as the module returns it; C(folders), a list; C(texts) of files by path, none for a file that has
        to be absent; C(programs), their texts by name, without any others of C(all_programs), files and folders; the
        C(block) in sshd's own file, none where any will do; C(effective), lines that sshd has to print; C(pending),
        whether a pending change is acceptable; and C(keys), keys that have to exist.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say whether anything is to be done
  ansible.builtin.debug:
    msg: "{{ preflight_found.host.tunnel | overssh.swarm.tunnel_prepared(wanted) }}"
"""

RETURN = r"""
_value:
  description: Whether the host is prepared.
  type: bool
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._roles import tunnel_tasks


def tunnel_prepared(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a host has everything that its links need."""
    return tunnel_tasks.prepared(found, wanted)


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"tunnel_prepared": tunnel_prepared}
