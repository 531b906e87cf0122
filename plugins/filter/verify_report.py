# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A door to the report for playbooks."""

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_report
short_description: The report of a verification
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Puts what every node measured of every other into one record.
  - A pair that nobody measured counts as failed.
options:
  _input:
    description: The nodes with their C(name), C(underlay) and C(overlay) address.
    type: list
    elements: dict
    required: true
  network:
    description: The network's name.
    type: str
    required: true
  measured:
    description: The checks, by name of the node that measured and of the node that it measured.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Put it together
  ansible.builtin.set_fact:
    report: "{{ nodes | overssh.swarm.verify_report('overssh', measured) }}"
"""

RETURN = r"""
_value:
  description: The report as C(reports/verify.json) holds it.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils import _report


def verify_report(nodes: list[dict[str, str]], network: str, measured: dict[str, Any]) -> dict[str, Any]:
    """See _report.build."""
    return _report.build(network, nodes, measured)


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"verify_report": verify_report}
