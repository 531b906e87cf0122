# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter role_options: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: role_options
short_description: Wrong options of this collection's roles
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Checks the hosts' values of the roles' options against the roles' specifications. Returns one sentence for each
    wrong value; hosts with the same one share a sentence.
  - Values that refer to unknown variables are skipped.
options:
  _input:
    description: The roles, by their short names.
    type: list
    elements: str
    required: true
  hosts:
    description: The hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description:
      - All variables of all hosts, Ansible's C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Stop where an option is wrong
  ansible.builtin.fail:
    msg: "{{ wrong | join('\n') }}"
  when: wrong | length > 0
  vars:
    wrong: "{{ ['firewall'] | overssh.swarm.role_options(groups['overssh'], hostvars) }}"
"""

RETURN = r"""
_value:
  description: The sentences; empty where all values are right.
  type: list
  elements: str
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._roles import options


def role_options(roles: list[str], hosts: list[str], hostvars: Any) -> list[str]:
    """Sentences on wrong options of these roles."""
    return options.problems(roles, {host: hostvars[host] for host in hosts}, Path(__file__).resolve().parents[2])


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"role_options": role_options}
