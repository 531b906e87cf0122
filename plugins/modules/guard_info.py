#!/usr/bin/python
# Copyright: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guard_info: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guard_info
short_description: Look at changes that wait to be confirmed
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Returns the changes that M(overssh.swarm.guard) and M(overssh.swarm.nft_rule) have under guard on a host, and those
    that it has taken back and nobody has asked for since.
extends_documentation_fragment:
  - overssh.swarm.attributes.info
seealso:
  - module: overssh.swarm.guard
"""

EXAMPLES = r"""
- name: See what waits to be confirmed
  overssh.swarm.guard_info:
  register: guarded
"""

RETURN = r"""
changes:
  description: Each change.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: What it is known by.
      type: str
    pending:
      description: Whether it is still to be confirmed.
      type: bool
    seconds:
      description: How many are left until it is taken back; 0 where it was.
      type: int
  sample: [{"name": "firewall", "pending": true, "seconds": 41}]
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint import engine as checkpoint
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError


def main() -> None:
    """Look, and say what was seen."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        changes = [
            {
                "name": found.name,
                "pending": found.taken_back is None,
                "seconds": max(0, round(found.deadline - time.time())) if found.taken_back is None else 0,
            }
            for found in checkpoint.find_all()
        ]
    except OversshError as error:
        module.fail_json(msg=f"{error}.")
    module.exit_json(changed=False, changes=changes)


if __name__ == "__main__":
    main()
