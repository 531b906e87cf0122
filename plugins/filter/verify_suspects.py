# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter verify_suspects: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_suspects
short_description: The nodes of a verification that a node does not reach
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Lists the nodes that a node does not reach, or that don't reach it, as M(overssh.swarm.overlay_cause_info) takes
    them.
options:
  _input:
    description: The report.
    type: dict
    required: true
  name:
    description: The node.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: See why they are not reached
  overssh.swarm.overlay_cause_info:
    network: overssh
    peers: "{{ report | overssh.swarm.verify_suspects(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The nodes, each with name and address.
  type: list
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import causes


def verify_suspects(report: dict[str, Any], name: str) -> list[dict[str, str]]:
    """The nodes whose pairs with this node are broken."""
    return causes.suspects(report, name)


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"verify_suspects": verify_suspects}
