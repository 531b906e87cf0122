# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter verify_report: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_report
short_description: The report of a verification
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Joins every node's measurements of every other into one record.
  - A pair that nobody measured counts as failed.
options:
  _input:
    description: The hosts that took part.
    type: list
    elements: str
    required: true
  hostvars:
    description: All variables of all hosts, Ansible's C(hostvars).
    type: dict
    required: true
  containers:
    description: The name of the variable that holds each host's answer of M(overssh.swarm.overlay_probe).
    type: str
    required: true
  measured:
    description:
      - The name of the variable that holds each host's answer of M(overssh.swarm.overlay_probe) with
        O(overssh.swarm.overlay_probe#module:peers).
    type: str
    required: true
  network:
    description: The network's name.
    type: str
    required: true
  underlay:
    description: The nodes' underlay addresses by host name.
    type: dict
    required: true
  left_out:
    description: The availability of nodes that took no part because they take no containers, by host name.
    type: dict
    default: {}
  services:
    description:
      - The answer of M(overssh.swarm.service_probe), also of one that failed, where services were measured too.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Put it together
  ansible.builtin.set_fact:
    report: "{{ ansible_play_hosts_all
      | overssh.swarm.verify_report(hostvars, 'started', 'measured', 'overssh', underlay) }}"
"""

RETURN = r"""
_value:
  description: The report as C(reports/verify.json) holds it.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import causes, report
from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import services as services_proof


def verify_report(
    hosts: list[str],
    hostvars: Any,
    containers: str,
    measured: str,
    network: str,
    underlay: dict[str, str],
    left_out: dict[str, str] | None = None,
    services: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The report as plain data; a host without one of the variables counts as not measured."""
    found = {host: hostvars[host].get(containers) or {} for host in hosts}
    answers = {host: hostvars[host].get(measured) or {} for host in hosts}
    proof = services_proof.build(services, answers, hosts) if services else ()
    remarks = [*causes.remarks(found), *services_proof.limits(answers)]
    return report.build(network, report.nodes(found, underlay), answers, left_out, remarks, proof)


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"verify_report": verify_report}
