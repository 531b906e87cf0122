# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible needs to reach the nodes: a key, their host keys, and an inventory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .inside import ssh_options
from .node import Node
from .settings import KEY, KNOWN_HOSTS, OPERATOR
from .shell import output

INVENTORY = "inventory.yml"
_VARS = f"""\
  vars:
    ansible_user: {OPERATOR}
    ansible_become: true
    ansible_python_interpreter: /usr/bin/python3
    ansible_ssh_private_key_file: "{{{{ inventory_dir }}}}/{KEY}"
    ansible_ssh_common_args: >-
      -o 'UserKnownHostsFile="{{{{ inventory_dir }}}}/{KNOWN_HOSTS}"'
      -o StrictHostKeyChecking=yes
      -o IdentitiesOnly=yes
"""


def ensure_key(state: Path, name: str = KEY) -> str:
    """The public half of a key of the lab, made once."""
    state.mkdir(parents=True, exist_ok=True)
    key = state / name
    if not key.is_file():
        output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "overssh-lab", "-f", str(key))
    return key.with_name(f"{name}.pub").read_text(encoding="utf-8")


def render_inventory(nodes: list[Node]) -> str:
    """The inventory's text; nothing in it depends on where the checkout stands."""
    lines = ["---", "# Written by the lab at every start.", "overssh:", "  hosts:"]
    # Three managers, of whom one may be lost.
    several = sum(node.dial is not None for node in nodes) == 2
    for node in nodes:
        lines += [f"    {node.name}:", f"      ansible_host: {node.address}"]
        if node.dial is not None:
            lines += [
                "      overssh_hub: true",
                f"      overssh_dial_host: {node.dial[0]}",
                f"      overssh_dial_port: {node.dial[1]}",
            ]
        elif several and node.name == "edge1":
            lines.append("      overssh_manager: true")
        if node.site_host is not None:
            lines += ["      overssh_site: cloud", f"      overssh_site_host: {node.site_host}"]
    return "\n".join(lines) + "\n" + _VARS


def render_known_hosts(nodes: list[Node], keys: Mapping[str, list[str]]) -> str:
    """One line for each key of each node, under the address that Ansible dials."""
    return "".join(f"{node.address} {key}\n" for node in nodes for key in keys[node.name])


def write(path: Path, text: str) -> None:
    """Replace a file in one go: a play may be reading it."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


def ssh_command(state: Path, node: Node, *command: str) -> list[str]:
    """The ssh command with the same options that the inventory gives Ansible."""
    return ["ssh", *ssh_options(state), f"{OPERATOR}@{node.address}", *command]
