# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter tun_interfaces: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tun_interfaces
short_description: The devices of a node as options of tun_interface
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Converts the planned devices of a node into O(overssh.swarm.tun_interface#module:interfaces).
options:
  _input:
    description: The devices of the plan.
    type: list
    elements: dict
    required: true
  owner:
    description: The account that tunnels run as.
    type: str
    required: true
  obsolete:
    description: Links of an earlier plan, whose devices have to be removed.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Make the devices
  overssh.swarm.tun_interface:
    interfaces: "{{ preflight_plan.nodes[inventory_hostname].devices | overssh.swarm.tun_interfaces('overssh') }}"
"""

RETURN = r"""
_value:
  description: The options, obsolete devices first.
  type: list
  elements: dict
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._roles import tunnel_tasks


def tun_interfaces(
    devices: Iterable[Mapping[str, Any]], owner: str, obsolete: Iterable[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The devices in the options of tun_interface."""
    return tunnel_tasks.interfaces(devices, owner, obsolete)


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"tun_interfaces": tun_interfaces}
