# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter verify_faults: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_faults
short_description: The faults that a verification found
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - One sentence for each pair of nodes that does not reach the other.
options:
  _input:
    description: The report.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Stop where anything is broken
  ansible.builtin.assert:
    that: report | overssh.swarm.verify_faults | length == 0
"""

RETURN = r"""
_value:
  description: The sentences; empty where all pairs pass.
  type: list
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import report as verify_report


def verify_faults(report: dict[str, Any]) -> list[str]:
    """One sentence per broken pair of the report."""
    return verify_report.faults(report)


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"verify_faults": verify_faults}
