# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible reaches a node as its engine does, with no login at all."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: container
short_description: Commands by docker exec
description:
  - Runs commands in the container that a node is.
options:
  container:
    description: The container.
    vars:
      - name: container_name
  through:
    description: A program in the container that runs the command in its own way.
    default: ""
    vars:
      - name: container_through
"""


class Connection(ConnectionBase):  # type: ignore[misc]
    """No connection that could be closed."""

    transport = "container"
    has_pipelining = True

    def _connect(self) -> Connection:
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Its status, and what it printed."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        words = ["docker", "exec", "--interactive", self.get_option("container")]
        words += [*shlex.split(self.get_option("through")), "sh", "-c", cmd]
        done = subprocess.run(words, input=in_data, capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """A file that goes there."""
        with open(in_path, "rb") as source:
            self._checked(f"cat >{shlex.quote(out_path)}", source.read())

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """A file that comes from there."""
        with open(out_path, "wb") as target:
            target.write(self._checked(f"cat {shlex.quote(in_path)}"))

    def _checked(self, cmd: str, data: Any = None) -> bytes:
        status, printed, told = self.exec_command(cmd, data)
        if status:
            raise OSError(told.decode(errors="replace"))
        return printed

    def close(self) -> None:
        """Nothing is open."""
