# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A door to the sentence about a slow link for playbooks."""

from __future__ import annotations

DOCUMENTATION = r"""
name: slow_link
short_description: Whether a link is too slow for its largest packets
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Compares how long small and full packets take, and says in a sentence where a full one holds up all others.
  - An empty string where it does not, or where nothing was measured.
options:
  _input:
    description: What C(ping) printed for small packets, and for full ones.
    type: list
    elements: str
    required: true
  node:
    description: The node that dials the link.
    type: str
    required: true
  peer:
    description: The node at its other end.
    type: str
    required: true
  mtu:
    description: The largest packet of the link, in bytes.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Say where a line is slow
  ansible.builtin.debug:
    msg: "{{ pings.results | map(attribute='stdout') | overssh.swarm.slow_link(inventory_hostname, 'cloud1', 65000) }}"
"""

RETURN = r"""
_value:
  description: The sentence, or nothing.
  type: str
"""

from collections.abc import Callable, Iterable
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils import _pace


def slow_link(pings: Iterable[str], node: str, peer: str, mtu: int) -> str:
    """See _pace.slow."""
    return _pace.slow(list(pings), node, peer, int(mtu))


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"slow_link": slow_link}
