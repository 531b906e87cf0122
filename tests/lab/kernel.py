# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel that nodes of their own kernel run: User-Mode Linux from Debian's source package, built here.

Debian's ready-made package lacks a packet filter for IPv4, without which a Docker engine does not start.
"""

from __future__ import annotations

import platform
import shlex
from pathlib import Path

from . import debian
from .debian import DOCUMENTATION, Recipe
from .image import FILES
from .settings import Settings

REPOSITORY = "overssh-lab-kernel"
START = "/usr/local/sbin/machine-start"
# Where the sources come from; the kernel runs any release of nodes.
_RELEASE = "forky"
_MACHINES = ("x86_64",)
_SOURCE = "linux-source-7.2"
_BUILD_TOOLS = ("bc", "bison", "flex", "gcc", "libc6-dev", "make", "xz-utils")
_PACKAGES = ("e2fsprogs", "iproute2", _SOURCE, *_BUILD_TOOLS)


def recipe() -> Recipe:
    """What makes the image that holds the kernel and starts it."""
    files = {
        "/kernel.config": "kernel.config",
        "/kernel-build": "kernel-build",
        START: "machine-start",
    }
    hook = "".join(
        f'printf %s {shlex.quote((FILES / file).read_text(encoding="utf-8"))} >"$1{path}"\n'
        for path, file in files.items()
    )
    hook += f'chmod 0755 "$1{START}"\nchroot "$1" sh /kernel-build {" ".join(_BUILD_TOOLS)} {_SOURCE}\n'
    return Recipe(_RELEASE, _PACKAGES, DOCUMENTATION, hook, ())


def not_to_be_had(settings: Settings) -> str | None:
    """Why this machine can't have the kernel; None where it can, or has it."""
    if platform.machine() not in _MACHINES:
        return f"User-Mode Linux runs on {' and '.join(_MACHINES)} only, and this machine is {platform.machine()}"
    return debian.not_to_be_had(settings, recipe(), REPOSITORY)


def ensure_kernel(settings: Settings, engine_root: Path) -> tuple[str, str]:
    """The image's name and id, building it first, some 10 minutes of a processor, when this engine has none."""
    return debian.ensure(settings, recipe(), REPOSITORY, engine_root)
