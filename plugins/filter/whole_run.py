# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter whole_run: documentation and the function behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: whole_run
short_description: Refuse a partial run
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Returns its input. Fails with a sentence where C(--start-at-task), C(--skip-tags) or C(--tags) of
    C(ansible-playbook) leave out tasks that this collection needs.
  - Belongs in the C(hosts) of a play, which Ansible reads before the first task.
options:
  _input:
    description: The hosts of a play.
    type: str
    required: true
  parts:
    description: Whether the playbook has parts with tags.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Begin
  hosts: "{{ 'localhost' | overssh.swarm.whole_run }}"
"""

RETURN = r"""
_value:
  description: The input.
  type: str
"""

from collections.abc import Callable
from pathlib import Path

from ansible import context
from ansible.errors import AnsibleFilterError
from ansible_collections.overssh.swarm.plugins.plugin_utils._roles import whole_run as roles_whole_run


def whole_run(hosts: str, parts: bool = True) -> str:
    """The sentence on why a partial run is refused; empty where the run may go on."""
    sentence = roles_whole_run.refusal(context.CLIARGS, Path(__file__).resolve().parents[2], parts)
    if sentence:
        raise AnsibleFilterError(f"{sentence}.")
    return hosts


class FilterModule:
    """Return the filter by its name."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """The filters of this file by name."""
        return {"whole_run": whole_run}
