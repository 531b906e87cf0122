#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""checkpoint_info: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: checkpoint_info
short_description: Look at changes that wait to be confirmed
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Returns the pending changes on a host by M(overssh.swarm.checkpoint), M(overssh.swarm.nft_rule) and
    M(overssh.swarm.tunnel_account), and the changes that the host has rolled back since anybody last asked.
extends_documentation_fragment:
  - overssh.swarm.attributes.info
seealso:
  - module: overssh.swarm.checkpoint
"""

EXAMPLES = r"""
- name: See what waits to be confirmed
  overssh.swarm.checkpoint_info:
  register: waiting
"""

RETURN = r"""
changes:
  description: Each change.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name of the change.
      type: str
    pending:
      description: Whether the change is pending, so it has to be confirmed.
      type: bool
    seconds:
      description: Seconds until the rollback; 0 after a rollback.
      type: int
  sample: [{"name": "firewall", "pending": true, "seconds": 41}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint.info import info
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_info


def main() -> None:
    """Look, and say what was seen."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    run_info(module, lambda: {"changes": info()})


if __name__ == "__main__":
    main()
