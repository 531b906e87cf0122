#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tunnel_account: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tunnel_account
short_description: The account that tunnels over ssh run as and log in to
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Makes a system account without a password, on a dialling host also its ssh key, and installs the programs that carry
    packets in C(/usr/local/lib/overssh).
  - On a dialled host it writes the authorized keys, C(/etc/overssh/authorized_keys), and the account's settings of
    C(sshd), C(/etc/ssh/sshd_config.d/overssh.conf). Where C(sshd) reads no such files, the settings are a marked block
    at the end of its own file.
  - C(sshd) reads a copy of its configuration with the new settings first. Settings that it does not accept, or that
    another C(Match) block overrules, are refused before any change.
  - The host itself rolls back a change of C(sshd)'s configuration, unless a new connection of the controller reaches
    it; see O(confirm).
  - A foreign account of that name is left alone.
extends_documentation_fragment:
  - overssh.swarm.attributes
requirements:
  - systemd
  - openssh-server on the dialled end, openssh-client on the dialling one
options:
  name:
    description:
      - The account.
    type: str
    default: overssh
  state:
    description:
      - V(absent) ends the account's sessions and removes it, with its key, its programs, and its settings of C(sshd).
    type: str
    choices: [present, absent]
    default: present
  shell:
    description:
      - The account's shell. C(sshd) runs a key's forced command with it, so the dialled end of a stream needs
        V(/bin/sh).
    type: path
    default: /bin/false
  key_comment:
    description:
      - Makes a missing key of the account, C(/etc/overssh/keys/id_ed25519), with this comment. An existing key stays.
    type: str
  programs:
    description:
      - The texts of programs by their file names. A program may be a folder; its files are named C(FOLDER/FILE). Its
        C(__main__.py) is written last, and other files in that folder are removed.
      - Other programs stay.
    type: dict
    default: {}
  authorized_keys:
    description:
      - The text of the file of authorized keys; an empty text removes the file.
      - Without this option it is left as it is.
    type: str
  sshd_config:
    description:
      - The C(Match) block for the account; an empty text removes it.
      - Without this option it is left as it is.
    type: str
  effective:
    description:
      - Lines that C(sshd -T) has to print for the account after the change.
    type: list
    elements: str
    default: []
  confirm:
    description:
      - How a change of C(sshd)'s configuration is confirmed. A systemd timer on the host gets the exact inverse of the
        change before the change is made. So a host that can't be reached any more rolls the change back by itself, also
        where it reboots meanwhile.
      - With V(auto), the controller closes its connection and connects anew. Only then is the timer stopped. The host
        itself checks that the connection began after the change, as for M(overssh.swarm.nft_rule).
      - With V(manual) the change is rolled back unless the playbook C(overssh.swarm.confirm) runs in time, or
        M(overssh.swarm.checkpoint) confirms it.
      - With V(none) there is no checkpoint.
    type: str
    choices: [auto, manual, none]
    default: auto
  rollback_timeout:
    description:
      - Seconds after which the host rolls back an unconfirmed change, from 5 to 86400.
    type: int
    default: 60
  phase:
    description:
      - Set by this module's action plugin. V(stage) makes a change of C(sshd)'s configuration with a checkpoint.
    type: str
    choices: [apply, stage]
    default: apply
seealso:
  - module: overssh.swarm.ssh_tunnel
  - module: overssh.swarm.checkpoint
"""

EXAMPLES = r"""
- name: Have a key to dial with
  overssh.swarm.tunnel_account:
    shell: /bin/sh
    key_comment: "overssh:{{ inventory_hostname }}"
    programs: "{{ dict(names | zip(query('ansible.builtin.file', *names, rstrip=false))) }}"
  vars:
    rooms: "{{ query('ansible.builtin.fileglob', 'stream/*.py') | map('basename') }}"
    names: "{{ rooms | map('regex_replace', '^', 'stream/') }}"
  register: account

- name: Let one key in, for one link
  overssh.swarm.tunnel_account:
    shell: /bin/sh
    authorized_keys: |
      restrict,command="exec python3 -I -B /usr/local/lib/overssh/stream serve --device tun1002 --lanes auto" {{ key }}
    sshd_config: |
      Match User overssh
          DisableForwarding yes
          AuthorizedKeysFile /etc/overssh/authorized_keys
          AuthenticationMethods publickey
    effective:
      - disableforwarding yes

- name: Let nobody in any more
  overssh.swarm.tunnel_account:
    authorized_keys: ""
    sshd_config: ""

- name: Remove the account with all that belongs to it
  overssh.swarm.tunnel_account:
    state: absent
"""

RETURN = r"""
steps:
  description: What was done, or in check mode would be done.
  returned: always
  type: list
  elements: str
  sample: ["make the account overssh", "make a key for overssh"]
public_key:
  description: The public half of the account's key; empty where it has none.
  returned: success
  type: str
  sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f overssh:edge1
pending:
  description: Whether a change is pending, see O(confirm).
  returned: success
  type: bool
  sample: false
checkpoint:
  description: The name under which M(overssh.swarm.checkpoint) confirms it; empty where there is nothing to confirm.
  returned: success
  type: str
  sample: ""
"""

import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._account.engine import TunnelAccountEngine
from ansible_collections.overssh.swarm.plugins.module_utils._account.model import Desired
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_module
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "default": "overssh"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "shell": {"type": "path", "default": "/bin/false"},
    "key_comment": {"type": "str", "no_log": False},
    # No secrets, but nobody wants to find them in a journal.
    "programs": {"type": "dict", "default": {}, "no_log": True},
    "authorized_keys": {"type": "str", "no_log": False},
    "sshd_config": {"type": "str"},
    "effective": {"type": "list", "elements": "str", "default": []},
    "confirm": {"type": "str", "choices": ["auto", "manual", "none"], "default": "auto"},
    "rollback_timeout": {"type": "int", "default": 60},
    "phase": {"type": "str", "choices": ["apply", "stage"], "default": "apply"},
}

# A file, or a file in a folder; neither is hidden, nor a way out of it.
PROGRAM = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


def desired_of(params: Mapping[str, Any]) -> Desired:
    """The module's options."""
    for name, text in params["programs"].items():
        folder, _slash, _rest = name.partition("/")
        if (
            not isinstance(text, str)
            or not PROGRAM.fullmatch(name)
            or (folder != name and folder in params["programs"])
        ):
            raise OversshError(
                f"programs: {name!r} has to be the plain name of a file, or of a folder and a file in it, and its "
                "value a text"
            )
    return Desired(
        name=params["name"],
        present=params["state"] == "present",
        login_shell=params["shell"],
        key=params["key_comment"] or "",
        programs=params["programs"],
        authorized_keys=params["authorized_keys"],
        sshd_config=params["sshd_config"],
        effective=tuple(params["effective"]),
    )


def main() -> None:
    """Wire the options to the engine."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    run_module(module, lambda: _engine(module, module.params))


def _engine(module: AnsibleModule, options: Mapping[str, Any]) -> TunnelAccountEngine:
    # Check mode has no phases; the real run has them.
    stages = options["confirm"] != "none" if module.check_mode else options["phase"] == "stage"
    takes_back = options["sshd_config"] is not None and options["confirm"] != "manual"
    return TunnelAccountEngine(
        desired_of(options), runner(module), stages, options["rollback_timeout"], takes_back, module.check_mode
    )


if __name__ == "__main__":
    main()
