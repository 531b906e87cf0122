# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One node: a system container that is as much of a machine as a container can be."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .docker_engine import docker, inspect, remove
from .image import FILES
from .inside import inside
from .network import LabNetwork
from .settings import NEED_CGROUP2, OPERATOR, SPEC_LABEL, Settings
from .shell import LabError, run, wait_until

_OPERATOR_ID = 1000
_BOOT_SECONDS = 90
# systemd, dockerd and tun inside, on machines that grant neither --privileged nor CAP_SYS_RESOURCE.
_PRIVILEGES = (
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=systempaths=unconfined",
    "--security-opt=apparmor=unconfined",
    "--userns=host",
    "--device=/dev/net/tun",
    "--device-cgroup-rule=a *:* rwm",
)
# A new machine does not forward (dockerd turns it on, and then makes its FORWARD policy drop), and has IPv6.
_SYSCTLS = (
    "net.ipv4.ip_forward=0",
    "net.ipv6.conf.all.disable_ipv6=0",
    "net.ipv6.conf.default.disable_ipv6=0",
)
# As administrators write it on a machine that the world can dial.
_HARDENED = """\
PermitRootLogin no
PasswordAuthentication no
DisableForwarding yes
PermitTunnel no
AllowTcpForwarding no
X11Forwarding no
PermitUserRC no
MaxSessions 4
"""
_KILL_INNER = "docker ps --quiet | xargs --no-run-if-empty docker kill"
# Where a machine that runs on control groups v1 keeps the tree of v2 besides.
_HYBRID = Path("/sys/fs/cgroup/unified")
_TMPFS = ("/run:exec,mode=755", "/tmp:exec,mode=1777")


@dataclass(frozen=True)
class Node:
    """What makes one node different from another."""

    name: str
    network: LabNetwork
    address: str
    dial: tuple[str, int] | None = None
    site_host: str | None = None

    @property
    def ruleset(self) -> str | None:
        """The node's own /etc/nftables.conf, where its role in the lab asks for one."""
        file = FILES / f"{'cloud' if self.dial else self.name}.nft"
        return file.read_text(encoding="utf-8") if file.is_file() else None


def plan_nodes(settings: Settings, cloud: LabNetwork, edge: LabNetwork, dial_ports: Sequence[int]) -> list[Node]:
    """All nodes with their addresses, which depend on nothing but their names; dial_ports: one for each hub."""
    hubs = [
        Node(
            name,
            cloud,
            cloud.address(number),
            (edge.gateway, dial_ports[number - 1]),
            # The edges' gateway is nothing that hubs could dial each other at.
            cloud.address(number) if settings.hubs > 1 else None,
        )
        for number, name in enumerate(settings.hub_names, start=1)
    ]
    edges = settings.node_names[settings.hubs :]
    return [*hubs, *(Node(name, edge, edge.address(number)) for number, name in enumerate(edges, start=1))]


def name_servers(*resolv_confs: str) -> list[str]:
    """The machine's name servers that a node can reach too, from the first file that has any."""
    for text in resolv_confs:
        servers = re.findall(r"^nameserver\s+(\S+)", text, re.M)
        usable = [server for server in servers if not server.startswith(("127.", "::1", "fe80"))]
        if usable:
            return usable
    return []


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def place_arguments(settings: Settings, node: Node, servers: list[str]) -> list[str]:
    """`docker create`'s words for where a node stands, of whatever kind it is: its name, its network, and its ports."""
    arguments = [
        f"--name={settings.container(node.name)}",
        f"--hostname={node.name}",
        f"--network={node.network.name}",
        f"--ip={node.address}",
        f"--env=LAB_NAMESERVERS={' '.join(servers)}",
        # `reboot` inside ends the container with an error code; it has to come up again as a machine would.
        "--restart=on-failure",
    ]
    if node.dial is not None:
        address, port = node.dial
        arguments.append(f"--publish={address}:{port}:22")
    return arguments


def create_arguments(settings: Settings, node: Node, image: str, cgroup_version: str, servers: list[str]) -> list[str]:
    """`docker create`'s words for a node, apart from its labels."""
    arguments = [
        *place_arguments(settings, node, servers),
        f"--volume={settings.volume(node.name)}:/var/lib/docker",
        "--stop-signal=SIGRTMIN+3",
        "--stop-timeout=20",
        *_PRIVILEGES,
        *(f"--sysctl={setting}" for setting in _SYSCTLS),
        *(f"--tmpfs={mount}" for mount in _TMPFS),
    ]
    if cgroup_version == "2":
        arguments.append("--cgroupns=private")
    elif settings.release in NEED_CGROUP2:
        # The node mounts its own branch of v2, which the engine has put it into besides v1.
        arguments += ["--cgroupns=private", "--env=LAB_CGROUP2=yes"]
    else:
        arguments += ["--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"]
    return [*arguments, image]


def cgroup_complaint(release: str, cgroup_version: str, hybrid: Path = _HYBRID) -> str | None:
    """Why nodes of this release can't boot on an engine with this version of control groups."""
    if cgroup_version == "2" or release not in NEED_CGROUP2 or (hybrid / "cgroup.procs").is_file():
        return None
    return f"Debian {release} boots on control groups v2 only, and this machine has none at {hybrid}"


def own_files(node: Node, public_key: str, host_key: tuple[str, str] | None = None) -> bytes:
    """A tar archive of the files that only this node of this lab has; host_key: its private and public half."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:

        def add(path: str, text: str, mode: int, owner: int = 0) -> None:
            entry = tarfile.TarInfo(path)
            data = text.encode()
            entry.size, entry.mode, entry.uid, entry.gid = len(data), mode, owner, owner
            archive.addfile(entry, io.BytesIO(data))

        add(f"home/{OPERATOR}/.ssh/authorized_keys", public_key, 0o600, _OPERATOR_ID)
        if host_key is not None:
            add("etc/ssh/ssh_host_ed25519_key", host_key[0], 0o600)
            add("etc/ssh/ssh_host_ed25519_key.pub", host_key[1], 0o644)
        if node.dial is not None:
            add("etc/ssh/sshd_config.d/10-hardened.conf", _HARDENED, 0o644)
        if node.ruleset is not None:
            add("etc/nftables.conf", node.ruleset, 0o755)
            link = tarfile.TarInfo("etc/systemd/system/sysinit.target.wants/nftables.service")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "/lib/systemd/system/nftables.service", 0o777
            archive.addfile(link)
    return buffer.getvalue()


class NodeMaker:
    """Brings nodes to the state that the settings ask for."""

    def __init__(self, settings: Settings, image: tuple[str, str], engine: dict[str, Any], public_key: str) -> None:
        """Read once what all nodes share."""
        self.settings = settings
        self.image, self.image_id = image
        self.public_key = public_key
        self.cgroup_version = str(engine.get("CgroupVersion", "1"))
        self.servers = name_servers(_read("/etc/resolv.conf"), _read("/run/systemd/resolve/resolv.conf"))
        self.stop = threading.Event()

    def check(self) -> None:
        """Raise LabError where this machine can't run such nodes."""
        if complaint := cgroup_complaint(self.settings.release, self.cgroup_version):
            raise LabError(f"{complaint}: choose another LAB_RELEASE, or boot the machine with them")

    def host_keys(self, node: Node) -> list[str]:
        """The node's public host keys, asked of the node itself and not of the wire."""
        keys = inside(self.settings, node.name, "sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub").stdout.decode()
        return [" ".join(line.split()[:2]) for line in keys.splitlines()]

    def arguments(self, node: Node) -> list[str]:
        """`docker create`'s words for a node, apart from its labels."""
        return create_arguments(self.settings, node, self.image, self.cgroup_version, self.servers)

    def files(self, node: Node) -> bytes:
        """A tar archive that is unpacked at the top of the node's container before its start."""
        return own_files(node, self.public_key)

    def _fingerprint(self, node: Node) -> str:
        """Changes with whatever a container can't be changed to afterwards."""
        files = hashlib.sha256(self.files(node)).hexdigest()
        shape = [self.arguments(node), self.image_id, node.network.identity, files]
        return hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:16]

    def is_current(self, node: Node) -> bool:
        """Whether the node runs, answers, and was made just as it would be made now."""
        found = inspect("container", self.settings.container(node.name))
        if not found or found[0]["Config"]["Labels"].get(SPEC_LABEL) != self._fingerprint(node):
            return False
        return bool(found[0]["State"]["Running"]) and system_state(self.settings, node.name) in {"running", "degraded"}

    def make(self, node: Node) -> None:
        """Replace whatever is left of a node by a new one, and start it."""
        name, volume = self.settings.container(node.name), self.settings.volume(node.name)
        remove_nodes(self.settings, [node.name])
        labels = [word for item in self.settings.labels.items() for word in ("--label", "=".join(item))]
        docker("volume", "create", *labels, volume)
        docker("create", *labels, "--label", f"{SPEC_LABEL}={self._fingerprint(node)}", *self.arguments(node))
        docker("cp", "-", f"{name}:/", stdin=self.files(node))
        docker("start", name)

    def wait(self, node: Node) -> None:
        """Until systemd has finished without a failed unit and the node's own engine answers."""
        wait_until(node.name, lambda: self._missing(node.name), _BOOT_SECONDS, self.stop)

    def _missing(self, name: str) -> str | None:
        container = self.settings.container(name)
        state = system_state(self.settings, name)
        if state == "degraded":
            raise LabError(f"{name} booted with failed units: {', '.join(failed_units(self.settings, name))}")
        if state != "running":
            return f"systemd says {state or 'nothing'}; look at `docker logs {container}`"
        if inside(self.settings, name, "docker", "info", check=False, timeout=20).returncode:
            return "its Docker engine does not answer"
        return None


def system_state(settings: Settings, name: str) -> str:
    """systemd's own word for the node's state; empty when there is no such word."""
    done = inside(settings, name, "systemctl", "is-system-running", check=False, timeout=20)
    word = done.stdout.decode().strip()
    return word if re.fullmatch("[a-z]+", word) else ""


def failed_units(settings: Settings, name: str) -> list[str]:
    """The units that systemd counts as failed."""
    listing = inside(settings, name, "systemctl", "--failed", "--plain", "--no-legend", check=False).stdout.decode()
    return [line.split()[0] for line in listing.splitlines() if line.split()]


def remove_nodes(settings: Settings, names: Sequence[str]) -> None:
    """Remove nodes with all they stored."""
    found = [str(node["Id"]) for node in inspect("container", *map(settings.container, names))]
    if found:
        # systemd's own shutdown takes the node's control groups along, which a kill would leave to the machine.
        # The node's containers go first: they may take ten seconds each to follow a polite request.
        for container in found:
            run("docker", "exec", container, "sh", "-c", _KILL_INNER, check=False, timeout=10)
        docker("stop", "--time=10", *found, check=False)
        docker("rm", "--force", *found)
    for name in names:
        remove("volume", settings.volume(name))
