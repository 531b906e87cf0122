# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter fleet_plan: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_plan
short_description: The plan for a fleet
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Computes every node's underlay address, devices, links, routes and firewall rules, from the inventory and the hosts'
    present state.
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
  found:
    description: The name of the variable that holds each host's answer of M(overssh.swarm.host_info).
    type: str
    required: true
  gone:
    description: Nodes that have left the fleet; no host keeps a link with them.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Plan the fleet
  ansible.builtin.set_fact:
    plan: "{{ groups.overssh | overssh.swarm.fleet_plan(hostvars, 'found') }}"
"""

RETURN = r"""
_value:
  description: The plan; its C(problems) are reasons to stop, one sentence each.
  type: dict
"""

from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import plan
from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import settings as fleet_settings


def fleet_plan(hosts: list[str], hostvars: Any, found: str, gone: Sequence[str] = ()) -> dict[str, Any]:
    """The plan as plain data; only the variables that the plan reads are resolved."""
    variables = {host: fleet_settings.variables_of(hostvars[host]) for host in hosts}
    return plan.plan(variables, {host: hostvars[host].get(found) or {} for host in hosts}, gone)


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"fleet_plan": fleet_plan}
