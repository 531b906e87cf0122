# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ssh_links: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ssh_links
short_description: The links of a node as options of ssh_tunnel
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Converts the planned links of a node into O(overssh.swarm.ssh_tunnel#module:links).
options:
  _input:
    description: The links of the plan.
    type: list
    elements: dict
    required: true
  shared:
    description: The options that all links share.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Dial the hubs
  overssh.swarm.ssh_tunnel:
    links: "{{ preflight_plan.nodes[inventory_hostname].links | overssh.swarm.ssh_links(shared) }}"
  vars:
    shared:
      identity_file: /etc/overssh/keys/id_ed25519
"""

RETURN = r"""
_value:
  description: The options.
  type: list
  elements: dict
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._roles import tunnel_tasks


def ssh_links(links: Iterable[Mapping[str, Any]], shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The links in the options of ssh_tunnel."""
    return tunnel_tasks.links(links, shared)


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"ssh_links": ssh_links}
