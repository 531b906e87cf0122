# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ssh connection of this run, which must not be cut."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass

from .._core.command import Runner
from . import proc
from .routes import device_to

# sshd's variables for each session with its connection: address and port of the client, then of the server.
VARIABLE = b"SSH_CONNECTION="


@dataclass(frozen=True)
class Session:
    """The two ends of the operator's connection; device: the one that answers leave by."""

    client: str
    server: str
    port: int
    device: str

    @property
    def family(self) -> str:
        """The address family in nft's words."""
        return "ip6" if ipaddress.ip_address(self.server).version == 6 else "ip"


def session(run: Runner) -> Session | None:
    """The connection of this run; None where the run did not come by ssh."""
    for environment in _environments(os.getpid()):
        for entry in environment.split(b"\0"):
            if entry.startswith(VARIABLE):
                words = entry[len(VARIABLE) :].decode(errors="replace").split()
                if len(words) == 4:
                    client, server = (word.partition("%")[0] for word in (words[0], words[2]))
                    return Session(client, server, int(words[3]), device_to(run, client))
    return None


def _environments(process: int) -> Iterator[bytes]:
    """The environments of a process and of its parents; a change of user drops some variables."""
    for each in proc.above(process):
        try:
            with open(f"/proc/{each.pid}/environ", "rb") as opened:
                yield opened.read()
        except OSError:
            return
