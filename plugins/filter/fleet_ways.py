# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter fleet_ways: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_ways
short_description: The hosts that each host of a fleet dials
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Computes the addresses that each host dials, and the addresses of the hosts that dial it, from the inventory alone.
  - Pure; no host is asked.
options:
  _input:
    description: The hosts of the fleet, in inventory order.
    type: list
    elements: str
    required: true
  hostvars:
    description: All variables of all hosts, Ansible's C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Find out who dials whom
  ansible.builtin.set_fact:
    ways: "{{ groups.overssh | overssh.swarm.fleet_ways(hostvars) }}"
"""

RETURN = r"""
_value:
  description:
    - By host, C(dials) with the first place that each of its links dials, as C(peer), C(host) and C(port), and
      C(dialled_by) with the hosts that dial it, as C(name) and C(address). C(encrypted) is whether an overlay network
      is encrypted, so that hosts need ESP.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import settings, ways


def fleet_ways(hosts: list[str], hostvars: Any) -> dict[str, Any]:
    """The dial routes as plain data."""
    return ways.ways({host: settings.variables_of(hostvars[host]) for host in hosts})


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"fleet_ways": fleet_ways}
