#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tunnel_account_info: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tunnel_account_info
short_description: The account that tunnels over ssh run as and log in to
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Returns the account, keys, programs and settings of M(overssh.swarm.tunnel_account) on a host.
extends_documentation_fragment:
  - overssh.swarm.attributes.info
options:
  name:
    description:
      - The account.
    type: str
    default: overssh
seealso:
  - module: overssh.swarm.tunnel_account
"""

EXAMPLES = r"""
- name: Look at the account
  overssh.swarm.tunnel_account_info:
  register: found

- name: Say what sshd holds for the account
  ansible.builtin.debug:
    var: found.effective
"""

RETURN = r"""
account:
  description: The account's comment, home and shell; empty where there is none.
  returned: success
  type: dict
  sample: {comment: overssh tunnels, home: /etc/overssh, shell: /bin/sh}
public_key:
  description: The public half of its key; empty where it has none.
  returned: success
  type: str
  sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f overssh:edge1
files:
  description: Files and folders of ours by path, each with its owner, its permissions, its kind and its digest.
  returned: success
  type: dict
  sample:
    /etc/overssh/authorized_keys:
      uid: 0
      gid: 0
      mode: "0644"
      kind: "-"
      sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
block:
  description: Our block in C(sshd)'s own file; empty for none.
  returned: success
  type: str
  sample: ""
effective:
  description: Lines of C(sshd -T) for the account, of our settings only; empty where we have set none.
  returned: success
  type: list
  elements: str
  sample: ["permittty no", "maxsessions 1"]
pending:
  description: Whether a change of C(sshd)'s configuration is pending, or was rolled back since anybody last asked.
  returned: success
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._account import info as account_info
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_info


def main() -> None:
    """Look, and say what was seen."""
    module = AnsibleModule(argument_spec={"name": {"type": "str", "default": "overssh"}}, supports_check_mode=True)
    sshd = module.get_bin_path("sshd") is not None
    run_info(module, lambda: account_info.info(runner(module), module.params["name"], sshd))


if __name__ == "__main__":
    main()
