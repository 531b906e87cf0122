# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter verify_matrix: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_matrix
short_description: A verification report as a table
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - A row for each measuring node, a column for each measured node, and in each cell the round trip or the failed
    checks.
  - For more than eight nodes, and for a table wider than the terminal, the broken pairs and their number for each node.
options:
  _input:
    description: The report.
    type: dict
    required: true
  path:
    description: The report's file; the lines name it where they don't show the whole report.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show it
  ansible.builtin.debug:
    msg: "{{ report | overssh.swarm.verify_matrix }}"
"""

RETURN = r"""
_value:
  description: The table's lines.
  type: list
"""

from collections.abc import Callable
from typing import Any

from ansible.utils.display import Display
from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import matrix


def verify_matrix(report: dict[str, Any], path: str = "") -> list[str]:
    """The report as a table for the controller's terminal."""
    return matrix.matrix(report, Display().columns + 1, path)


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"verify_matrix": verify_matrix}
