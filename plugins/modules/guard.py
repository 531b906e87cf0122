#!/usr/bin/python
# Copyright: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guard: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guard
short_description: A change that the host takes back by itself unless it is confirmed
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Arms a timer of the host's systemd, outside of any session, before files of it are changed. Unless the change is
    confirmed in time, the host puts the files back as they were and has services read them again; so it does at its
    next boot, where it goes down before.
  - So a host that nobody reaches any more after a change comes back by itself.
  - M(overssh.swarm.nft_rule) guards its own changes; they are confirmed with this module, too, under the name
    C(firewall), with the first of the task's O(overssh.swarm.nft_rule#module:exclusive_prefix) behind it where it has
    one.
extends_documentation_fragment:
  - overssh.swarm.attributes
options:
  name:
    description:
      - What the change is known by, small letters, digits and C(-).
    type: str
    required: true
  state:
    description:
      - V(armed) keeps a copy of O(files) and starts the timer. A change of that name which still waits is an error.
      - V(confirmed) stops the timer, and keeps rules of M(overssh.swarm.nft_rule) for the next boot. It takes a
        connection that began after the change, of which the host convinces itself; the controller closes its own and
        connects anew where need be. Where the change was taken back before, that is an error, which says when.
      - V(taken_back) takes the change back now.
      - V(absent) forgets it, whatever has become of it; nothing is taken back.
    type: str
    required: true
    choices: [armed, confirmed, taken_back, absent]
  files:
    description:
      - The files that are going to be changed; one that is not there yet is removed again.
    type: list
    elements: path
    default: []
  reload:
    description:
      - Units that are reloaded, or restarted where they can't be, once the files are back.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - Seconds after which the change is taken back, from 5 to 86400.
    type: int
    default: 60
  force:
    description:
      - Confirms without the proof that the host is reached by a new connection, as from its console.
      - Only with O(state=confirmed).
    type: bool
    default: false
seealso:
  - module: overssh.swarm.guard_info
  - module: overssh.swarm.nft_rule
"""

EXAMPLES = r"""
- name: Have sshd's configuration come back by itself
  overssh.swarm.guard:
    name: sshd
    state: armed
    files: [/etc/ssh/sshd_config.d/10-hardened.conf]
    reload: [ssh]
    timeout: 90

- name: Change it
  ansible.builtin.copy:
    src: 10-hardened.conf
    dest: /etc/ssh/sshd_config.d/10-hardened.conf
    mode: "0644"
    validate: /usr/sbin/sshd -t -f %s
  notify: Reload sshd

- name: Have it read now
  ansible.builtin.meta: flush_handlers

- name: Keep the change, as the host is reached by a connection that begins now
  overssh.swarm.guard:
    name: sshd
    state: confirmed
"""

RETURN = r"""
pending:
  description: Whether the change is still to be confirmed.
  returned: success
  type: bool
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint import engine as checkpoint
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Runner, runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._linux.systemd import Systemd


def _keep(run: Runner, name: str, force: bool) -> None:
    """Confirm the change, and do what is left to be done for it."""
    task = checkpoint.task_of(name)
    if task is None:
        checkpoint.confirm(Systemd(run), name, force)
        return
    # Only a change of the firewall has more to be done, and its engine takes longer to load than all else here.
    from ansible_collections.overssh.swarm.plugins.module_utils._firewall import engine as firewall_engine  # noqa: PLC0415

    firewall_engine.keep(run, task, force)


def main() -> None:
    """Wire the arguments to the guard."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["armed", "confirmed", "taken_back", "absent"]},
            "files": {"type": "list", "elements": "path", "default": []},
            "reload": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 60},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    options, run = module.params, runner(module)
    try:
        if options["state"] == "confirmed":
            waits = checkpoint.find(options["name"]) is not None
            if waits and not module.check_mode:
                _keep(run, options["name"], options["force"])
            module.exit_json(changed=waits, pending=waits and module.check_mode)
        changed = checkpoint.bring_about(
            Systemd(run),
            options["name"],
            options["state"],
            checkpoint.Wanted(tuple(options["files"]), tuple(options["reload"]), options["timeout"]),
            module.check_mode,
        )
        found = checkpoint.find(options["name"])
    except OversshError as error:
        module.fail_json(msg=f"{error}.", **error.answer)
    module.exit_json(changed=changed, pending=found is not None and found.taken_back is None)


if __name__ == "__main__":
    main()
