# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter verify_peers: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_peers
short_description: The peers that a node has to check in a verification
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Lists the verification containers of all other hosts, as M(overssh.swarm.overlay_probe_info) takes them.
options:
  _input:
    description: The hosts that take part.
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
  name:
    description: The host that checks.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Reach every other container
  overssh.swarm.overlay_probe_info:
    name: overssh-verify-{{ inventory_hostname }}
    peers: "{{ ansible_play_hosts_all | overssh.swarm.verify_peers(hostvars, 'started', inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The peers, each with name, host and address.
  type: list
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import report as verify_report


def verify_peers(hosts: list[str], hostvars: Any, containers: str, name: str) -> list[dict[str, str]]:
    """The peers as overlay_probe_info takes them; a host without a container is left out."""
    return verify_report.peers(name, {host: hostvars[host].get(containers) or {} for host in hosts})


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"verify_peers": verify_peers}
