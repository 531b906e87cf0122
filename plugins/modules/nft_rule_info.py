#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of ours in a host's firewall."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nft_rule_info
short_description: Look at the rules of ours in a host's firewall
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Returns the rules that M(overssh.swarm.nft_rule) placed, with their chains and handles.
extends_documentation_fragment:
  - overssh.swarm.attributes.info
requirements:
  - nftables 1.0.6 or later on the managed host
options:
  name:
    description:
      - Only the rule of this name.
    type: str
  prefix:
    description:
      - Only rules whose names start with this.
    type: str
seealso:
  - module: overssh.swarm.nft_rule
"""

EXAMPLES = r"""
- name: Look at the swarm's rules
  overssh.swarm.nft_rule_info:
    prefix: swarm/
  register: swarm_rules
"""

RETURN = r"""
rules:
  description: Each rule of ours on the host.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The rule's name.
      type: str
    family:
      description: The table's address family.
      type: str
    table:
      description: The table.
      type: str
    chain:
      description: The chain.
      type: str
    handle:
      description: The rule's handle.
      type: int
    rule:
      description: The rule as C(nft) writes it.
      type: str
    comment:
      description: The rule's comment.
      type: str
    persistent:
      description: Whether it is restored at boot.
      type: bool
    packets:
      description: How many packets met the rule, where it has a counter.
      type: int
      returned: when the rule has a counter
    bytes:
      description: How many bytes these packets had.
      type: int
      returned: when the rule has a counter
  sample:
    - name: swarm/data
      family: inet
      table: filter
      chain: input
      handle: 12
      rule: iifname "tun1001" udp dport 4789 accept comment "overssh:swarm/data"
      comment: overssh:swarm/data
      persistent: true
strangers:
  description:
    - Foreign rules with a comment like ours, which this host's record does not have. They are left alone.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name in the comment.
      type: str
    family:
      description: The table's address family.
      type: str
    table:
      description: The table.
      type: str
    chain:
      description: The chain.
      type: str
    handle:
      description: The rule's handle.
      type: int
    rule:
      description: The rule as C(nft) writes it.
      type: str
    comment:
      description: The rule's comment.
      type: str
  sample: []
docker_lost:
  description:
    - Missing rules of a running Docker, which makes them only when it starts. The module does not restore them.
  returned: success
  type: list
  elements: dict
  contains:
    what:
      description:
        - V(jump) where C(FORWARD) does not jump to C(DOCKER-USER) any more, V(masquerade) where containers' packets
          keep their own addresses.
      type: str
    device:
      description: The bridge whose packets are not masqueraded; empty for V(jump).
      type: str
    sentence:
      description: A sentence with the remedy.
      type: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_info
from ansible_collections.overssh.swarm.plugins.module_utils._firewall.info import info


def main() -> None:
    module = AnsibleModule(
        argument_spec={"name": {"type": "str"}, "prefix": {"type": "str"}},
        supports_check_mode=True,
    )
    run_info(module, lambda: info(runner(module), module.params["name"], module.params["prefix"]))


if __name__ == "__main__":
    main()
