# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes' image: made here from Debian packages, never pulled."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from . import debian
from .debian import DOCUMENTATION, Recipe
from .docker_engine import docker
from .settings import Settings
from .shell import run

REPOSITORY = "overssh-lab"
FILES = Path(__file__).with_name("files")
_PACKAGES = [
    "ca-certificates",
    "conntrack",
    "dbus",
    "docker.io",
    "iperf3",
    "iproute2",
    "iptables",
    "iputils-ping",
    "jq",
    "kmod",
    "nftables",
    "openssh-client",
    "openssh-server",
    "passwd",
    "procps",
    "python3",
    "python3-docker",
    "python3-nftables",
    "python3-pyroute2",
    "sudo",
    "systemd",
    "systemd-sysv",
    "tcpdump",
]
# From Debian 13 on the docker client and the stock sysctls are packages of their own, and later mount is one that
# systemd does without.
_RELEASE_PACKAGES = {
    "bookworm": [],
    "trixie": ["docker-cli", "linux-sysctl-defaults"],
    "forky": ["docker-cli", "linux-sysctl-defaults", "mount"],
}
_BOOT = "/usr/local/sbin/lab-boot"


def packages(release: str, more: Sequence[str] = ()) -> list[str]:
    """What a node of this release has installed."""
    return sorted({*_PACKAGES, *_RELEASE_PACKAGES[release], *more})


def recipe(release: str, more: Sequence[str] = ()) -> Recipe:
    """What makes the nodes' image."""
    boot = shlex.quote((FILES / "lab-boot").read_text(encoding="utf-8"))
    hook = f'printf %s {boot} >"$1{_BOOT}"\n' + (FILES / "customize.sh").read_text(encoding="utf-8")
    return Recipe(release, tuple(packages(release, more)), DOCUMENTATION, hook, (f'CMD ["{_BOOT}"]',))


def not_to_be_had(settings: Settings) -> str | None:
    """Why this machine's mirror can't give an image of this release; None where it can, or the image is there."""
    return debian.not_to_be_had(settings, recipe(settings.release, settings.packages), REPOSITORY)


def ensure_image(settings: Settings, engine_root: Path) -> tuple[str, str]:
    """The image's name and id, making it first when this recipe was never made on this engine."""
    return debian.ensure(settings, recipe(settings.release, settings.packages), REPOSITORY, engine_root)


def remove_images(repository: str = REPOSITORY) -> list[str]:
    """Remove those images of the lab that no container uses."""
    names = docker("image", "ls", repository, "--format", "{{.Repository}}:{{.Tag}}").split()
    return [name for name in names if run("docker", "image", "rm", name, check=False).returncode == 0]
