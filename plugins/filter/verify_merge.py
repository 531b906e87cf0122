# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter verify_merge: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_merge
short_description: One verification report of several networks
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - The first network's report, with those of the other networks under C(more).
options:
  _input:
    description: The reports.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Make one report of all
  ansible.builtin.set_fact:
    report: "{{ reports | overssh.swarm.verify_merge }}"
"""

RETURN = r"""
_value:
  description: The report as C(reports/verify.json) holds it.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import report as verify_report


def verify_merge(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Several networks' reports as one."""
    return verify_report.merge(reports)


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"verify_merge": verify_merge}
