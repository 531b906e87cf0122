# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter slow_links: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: slow_links
short_description: Links that are too slow for their largest packets
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Returns a sentence for each link whose line is so slow that a packet of the link's MTU delays all others.
  - Links without a measurement are skipped.
options:
  _input:
    description: >-
      What M(overssh.swarm.ssh_tunnel) returns as RV(overssh.swarm.ssh_tunnel#module:links), or
      M(overssh.swarm.host_info) as its C(lines).
    type: list
    elements: dict
    required: true
  node:
    description: The node that dials the links.
    type: str
    required: true
  planned:
    description: The same links in the fleet's plan, each with its C(peer) and its C(mtu) in bytes.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Say where a line is slow
  ansible.builtin.debug:
    msg: "{{ dialled.links | overssh.swarm.slow_links(inventory_hostname, [{'peer': 'cloud1', 'mtu': 65000}]) }}"
"""

RETURN = r"""
_value:
  description: The sentences.
  type: list
  elements: str
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import slow_links as fleet_slow_links


def slow_links(dialled: Iterable[Mapping[str, Any]], node: str, planned: Iterable[Mapping[str, Any]]) -> list[str]:
    """Sentences on links whose largest packets occupy the line for long."""
    return list(fleet_slow_links.slow(dialled, node, planned))


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"slow_links": slow_links}
