# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter verify_explained: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_explained
short_description: A verification report with causes
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Adds to each broken pair of a report C(next), the command to run next, and C(cause) where it is known.
options:
  _input:
    description: The report.
    type: dict
    required: true
  hosts:
    description: The hosts that took part.
    type: list
    elements: str
    required: true
  hostvars:
    description: All variables of all hosts, Ansible's C(hostvars).
    type: dict
    required: true
  causes:
    description: The name of the variable that holds each host's answer of M(overssh.swarm.overlay_cause_info).
    type: str
    required: true
  port:
    description: The UDP port of VXLAN.
    type: int
    default: 4789
"""

EXAMPLES = r"""
- name: Say why
  ansible.builtin.set_fact:
    report: "{{ report | overssh.swarm.verify_explained(ansible_play_hosts_all, hostvars, 'looked') }}"
"""

RETURN = r"""
_value:
  description: The report.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import causes as verify_causes


def verify_explained(
    report: dict[str, Any], hosts: list[str], hostvars: Any, causes: str, port: int = 4789
) -> dict[str, Any]:
    """A copy of the report with causes; a host without the variable knows of no cause."""
    found = {host: (hostvars[host].get(causes) or {}).get("causes") or [] for host in hosts}
    return verify_causes.explained(report, found, int(port))


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"verify_explained": verify_explained}
