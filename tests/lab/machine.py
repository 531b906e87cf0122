# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One node with a Linux kernel of its own: User-Mode Linux, in a container that lends it its address.

Its kernel has what the kernel of the machine underneath may lack: IPVS, ESP, netem, WireGuard. It needs no hardware
virtualization.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import Any

from .docker_engine import docker, inspect
from .image import FILES
from .inventory import ensure_key
from .kernel import START
from .node import Node, NodeMaker, own_files, place_arguments
from .settings import HOST_KEY, Settings
from .shell import pipe, run, step

MEMORY_MIB = 1500
_DISK = "overssh-lab-disk"
_BOOT = FILES / "machine-boot"
_MAKE_DISK = FILES / "machine-disk"
# A tap device and a bridge; the rest is an unprivileged container's.
_PRIVILEGES = (
    "--cap-add=NET_ADMIN",
    "--security-opt=seccomp=unconfined",
    "--security-opt=systempaths=unconfined",
    "--security-opt=apparmor=unconfined",
    "--userns=host",
    "--device=/dev/net/tun",
)


def ensure_disk(kernel: str, image_id: str) -> str:
    """The volume with the disk that all nodes of an image start from, made once for each image on this engine.

    kernel: the image that can make a file system.
    """
    script, boot = _MAKE_DISK.read_text(encoding="utf-8"), _BOOT.read_text(encoding="utf-8")
    volume = f"{_DISK}-{hashlib.sha256(chr(0).join([image_id, script, boot]).encode()).hexdigest()[:12]}"
    there = ["docker", "run", "--rm", "--interactive", "--network=none", f"--volume={volume}:/disk", kernel]
    if inspect("volume", volume) and run(*there, "test", "-e", "/disk/disk", check=False).returncode == 0:
        return volume
    with step("make the disk that the nodes start from"):
        source = docker("create", image_id)
        try:
            pipe(["docker", "export", source], [*there, "sh", "-c", script, "disk", boot])
        finally:
            docker("rm", source)
    return volume


def remove_disks() -> list[str]:
    """Remove those disks that no container uses."""
    names = docker("volume", "ls", "--quiet", "--filter", f"name={_DISK}-").split()
    return [name for name in names if run("docker", "volume", "rm", name, check=False).returncode == 0]


def create_arguments(settings: Settings, node: Node, kernel: str, disk: str, servers: list[str]) -> list[str]:
    """`docker create`'s words for the container around a node, apart from its labels."""
    return [
        *place_arguments(settings, node, servers),
        f"--volume={settings.volume(node.name)}:/node",
        f"--volume={disk}:/disk:ro",
        f"--env=LAB_GATEWAY={node.network.gateway}",
        f"--env=LAB_HOST={node.name}",
        f"--env=LAB_MEMORY={MEMORY_MIB}M",
        # The node's memory is a file here, and programs in it are mapped from there.
        "--env=TMPDIR=/memory",
        f"--tmpfs=/memory:exec,size={MEMORY_MIB + 100}m",
        "--stop-timeout=5",
        *_PRIVILEGES,
        kernel,
        START,
    ]


class MachineMaker(NodeMaker):
    """Brings nodes with kernels of their own to the state that the settings ask for."""

    def __init__(
        self,
        settings: Settings,
        image: tuple[str, str],
        engine: dict[str, Any],
        public_key: str,
        kernel: tuple[str, str],
    ) -> None:
        """Read once what all nodes share; kernel: name and id of the image that holds it."""
        super().__init__(settings, image, engine, public_key)
        self.kernel, kernel_id = kernel
        self.disk = ensure_disk(self.kernel, self.image_id)
        self.image_id = f"{self.image_id} {kernel_id}"

    def check(self) -> None:
        """Whatever runs containers runs these nodes."""

    def arguments(self, node: Node) -> list[str]:
        """`docker create`'s words for a node, apart from its labels."""
        return create_arguments(self.settings, node, self.kernel, self.disk, self.servers)

    def host_keys(self, node: Node) -> list[str]:
        """The node's public host keys, which are made before it is: there is no way in that needs none."""
        return [" ".join(ensure_key(self.settings.state, HOST_KEY + node.name).split()[:2])]

    def files(self, node: Node) -> bytes:
        """A tar archive with one file: the archive that the node unpacks at its first boot."""
        public = ensure_key(self.settings.state, HOST_KEY + node.name)
        private = (self.settings.state / f"{HOST_KEY}{node.name}").read_text(encoding="utf-8")
        inner = own_files(node, self.public_key, (private, public))
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo("own.tar")
            entry.size = len(inner)
            archive.addfile(entry, io.BytesIO(inner))
        return buffer.getvalue()
