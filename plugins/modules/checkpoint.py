#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""checkpoint: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: checkpoint
short_description: A change that the host rolls back by itself unless it is confirmed
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Starts a systemd timer on the host, outside of any session, before files of the host are changed. Unless the change
    is confirmed in time, the host restores the files and has services read them again. It also does so at its next
    boot, where it goes down before the change is confirmed.
  - A host that can't be reached after a change so comes back by itself.
  - M(overssh.swarm.nft_rule) and M(overssh.swarm.tunnel_account) make checkpoints of their own changes, which this
    module confirms too. A checkpoint of the firewall is named C(firewall), followed by the first of the task's
    O(overssh.swarm.nft_rule#module:exclusive_prefix). A checkpoint of sshd is named C(sshd).
extends_documentation_fragment:
  - overssh.swarm.attributes
options:
  name:
    description:
      - The name of the change, of small letters, digits and C(-).
    type: str
    required: true
  state:
    description:
      - V(created) keeps a copy of O(files) and starts the timer. It is an error where a change of that name is pending.
      - V(confirmed) stops the timer, and has M(overssh.swarm.nft_rule) keep its rules for the next boot. It needs a
        connection that began after the change; the host itself checks that, and the controller connects anew where
        necessary. It is an error where the change was rolled back before; the error gives the time.
      - V(rolled_back) rolls the change back now.
      - V(absent) removes the checkpoint, pending or not; nothing is rolled back.
    type: str
    required: true
    choices: [created, confirmed, rolled_back, absent]
  files:
    description:
      - The files that will be changed. A rollback removes files that are missing now.
    type: list
    elements: path
    default: []
  reload:
    description:
      - Units to reload after the files are restored. A unit without a reload is restarted.
    type: list
    elements: str
    default: []
  rollback_timeout:
    description:
      - Seconds after which the change is rolled back, from 5 to 86400.
    type: int
    default: 60
  force:
    description:
      - Confirms without the proof that a new connection reaches the host, for instance from its console.
      - Only with O(state=confirmed).
    type: bool
    default: false
seealso:
  - module: overssh.swarm.checkpoint_info
  - module: overssh.swarm.nft_rule
  - module: overssh.swarm.tunnel_account
"""

EXAMPLES = r"""
- name: Have sshd's configuration come back by itself
  overssh.swarm.checkpoint:
    name: sshd
    state: created
    files: [/etc/ssh/sshd_config.d/10-hardened.conf]
    reload: [ssh]
    rollback_timeout: 90

- name: Change sshd's configuration
  ansible.builtin.copy:
    src: 10-hardened.conf
    dest: /etc/ssh/sshd_config.d/10-hardened.conf
    mode: "0644"
    validate: /usr/sbin/sshd -t -f %s
  notify: Reload sshd

- name: Have sshd read it now
  ansible.builtin.meta: flush_handlers

- name: Confirm the change, as the host is reached by a connection that begins now
  overssh.swarm.checkpoint:
    name: sshd
    state: confirmed
"""

RETURN = r"""
pending:
  description: Whether the change is pending, so it has to be confirmed.
  returned: success
  type: bool
  sample: true
steps:
  description: What was done, or is to be done under C(--check).
  returned: success
  type: list
  elements: str
  sample: ["have /etc/ssh/sshd_config.d/10-hardened.conf put back in 90 s unless it is confirmed"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint.checkpoint import Desired
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint.engine import CheckpointEngine
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_module
from ansible_collections.overssh.swarm.plugins.module_utils._linux.systemd import Systemd

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "required": True, "choices": ["created", "confirmed", "rolled_back", "absent"]},
    "files": {"type": "list", "elements": "path", "default": []},
    "reload": {"type": "list", "elements": "str", "default": []},
    "rollback_timeout": {"type": "int", "default": 60},
    "force": {"type": "bool", "default": False},
}


def main() -> None:
    """Wire the arguments to the engine."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    options = module.params
    systemd = Systemd(runner(module))
    desired = Desired(tuple(options["files"]), tuple(options["reload"]), options["rollback_timeout"])
    run_module(
        module,
        lambda: CheckpointEngine(
            systemd, options["name"], options["state"], desired, options["force"], module.check_mode
        ),
    )


if __name__ == "__main__":
    main()
