# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way into a node as root, from the machine that the lab stands on."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from .docker_engine import inspect
from .settings import KEY, KNOWN_HOSTS, MACHINES, OPERATOR, Settings
from .shell import run


def ssh_options(state: Path) -> list[str]:
    """The ssh options that reach every node of the lab, the same that the inventory gives Ansible."""
    options = [f'UserKnownHostsFile="{state / KNOWN_HOSTS}"', "StrictHostKeyChecking=yes", "IdentitiesOnly=yes"]
    return ["-i", str(state / KEY), *(word for option in options for word in ("-o", option))]


def command(settings: Settings, name: str, *words: str, terminal: bool = False) -> list[str]:
    """The command that runs these words on a node as root, with the caller's standard input.

    Words go into a container by its engine. A node with a kernel of its own is reached by ssh only.
    """
    if settings.kind != MACHINES:
        options = ["--interactive", "--tty"] if terminal else ["--interactive"]
        return ["docker", "exec", *options, settings.container(name), *words]
    login = f"{OPERATOR}@{_address(settings, name)}"
    options = [*ssh_options(settings.state), "-o", "ConnectTimeout=5", *(["-t"] if terminal else ["-T"])]
    return ["ssh", *options, login, "sudo", "-n", "--", shlex.join(words)]


def _address(settings: Settings, name: str) -> str:
    found = inspect("container", settings.container(name))
    networks = found[0]["NetworkSettings"]["Networks"].values() if found else []
    return next((str(network["IPAddress"]) for network in networks if network["IPAddress"]), "0.0.0.0")  # noqa: S104


def inside(
    settings: Settings, name: str, *words: str, timeout: float = 120, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    """Run a program on a node as root to its end; see shell.run()."""
    return run(*command(settings, name, *words), timeout=timeout, check=check)
