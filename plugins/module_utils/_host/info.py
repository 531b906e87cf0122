# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has and lacks before the first change; only looks."""

from __future__ import annotations

import hashlib
import importlib.util
import ipaddress
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .._account import info as account_info
from .._core.command import Runner
from .._core.files import read_text
from .._line import kept as line_kept
from .._linux import proc, ssh_session
from .._linux.devices import Device, read_devices
from .._linux.esp import has_esp
from .._linux.resolvers import read_resolvers
from .._linux.routes import read_routes
from .._sshd import facts as sshd_facts
from . import dial, managers, sysctl, vxlan
from . import docker as host_docker

# The library a module of ours imports, and the package that has it on Debian and Red Hat alike.
LIBRARIES = {"docker": "python3-docker", "pyroute2": "python3-pyroute2"}
PROGRAMS = {"ip": "iproute2", "nft": "nftables", "ssh": "openssh-client", "ssh-keygen": "openssh-client"}
OLDEST_PYTHON = (3, 9)
TUN_DEVICE = "/dev/net/tun"
SHELL = "/bin/sh"
# Any interpreter understands this, also one that is far too old.
ASK_VERSION = "import sys; print('%d.%d.%d' % tuple(sys.version_info[:3]))"
VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\Z")
# Docker's own bridges, behind which there are containers and no other host.
DOCKERS_OWN = re.compile(r"docker|br-[0-9a-f]{12}\Z")
# An account that owns nothing, to try as it what accounts without privileges may do.
NOBODY = 65534
FOR_ALL = stat.S_IROTH | stat.S_IWOTH


def missing_basics(
    euid: int,
    python: tuple[int, int],
    systemd: bool,
    tun: int | None,
    finds: Callable[[str], bool],
    imports: Callable[[str], bool],
    shell: bool,
) -> list[str]:
    """Sentences on missing basics of this host; tun: the mode of /dev/net/tun, None where it is missing."""
    said = []
    if euid != 0:
        said.append("the play does not run as root here; set ansible_become: true.")
    if python < OLDEST_PYTHON:
        said.append(f"Python {python[0]}.{python[1]} is too old; set ansible_python_interpreter to 3.9 or later.")
    if not systemd:
        said.append("systemd does not run here; it has to be process 1, so that tunnels come back by themselves.")
    if tun is None:
        said.append(f"{TUN_DEVICE} is missing; load the kernel module tun.")
    elif tun & FOR_ALL != FOR_ALL:
        said.append(
            f"{TUN_DEVICE} has the mode {tun:04o}, so tunnels can't open it without being root; give it back the mode "
            f"0666 that udev gives it, with chmod 0666 {TUN_DEVICE} and in the rules of /etc/udev/rules.d."
        )
    if not shell:
        said.append(f"{SHELL} is missing, which the tunnels' account needs; install a POSIX shell there.")
    said += [
        f"the program {program} is missing; install the package {package}."
        for program, package in PROGRAMS.items()
        if not finds(program)
    ]
    said += [
        f"the Python library {library} is missing for {sys.executable}; install the package {package}."
        for library, package in LIBRARIES.items()
        if not imports(library)
    ]
    return said


def ask_python(path: str) -> dict[str, str]:
    """An interpreter's path and version, or why an account without privileges can't run it."""
    account: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        answer = subprocess.run(
            [path, "-E", "-s", "-c", ASK_VERSION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            timeout=30,
            check=False,
            **account,
        )
    except OSError as error:
        return {"path": path, "version": "", "error": error.strerror or str(error)}
    except (subprocess.SubprocessError, ValueError) as error:
        return {"path": path, "version": "", "error": str(error)}
    version = answer.stdout.strip()
    if answer.returncode == 0 and VERSION.match(version):
        return {"path": path, "version": version, "error": ""}
    words = [line.strip() for line in (answer.stderr.strip() or version).splitlines()]
    return {"path": path, "version": "", "error": words[-1] if words else f"exit status {answer.returncode}"}


def tuns(devices: Iterable[Device]) -> list[dict[str, Any]]:
    """The tun devices among them, with their addresses of IPv4."""
    return [
        {
            "name": device.name,
            "alias": device.alias,
            "addresses": [
                {"address": address.own, "peer": address.peer} for address in device.addresses if address.family == 4
            ],
        }
        for device in devices
        if device.tun is not None or device.name.startswith("tun")
    ]


def families(devices: Iterable[Device]) -> list[int]:
    """The address families, 4 and 6, that the host can dial others with."""
    return sorted(
        {
            address.family
            for device in devices
            if not DOCKERS_OWN.match(device.name) and not device.alias.startswith("overssh ")
            for address in device.addresses
            if address.scope == "global"
        }
    )


def ipv6(setting: Callable[[str], str]) -> dict[str, Any]:
    """Whether new devices have IPv6, and whether forwarding is set for each device, for the host, or not at all.

    setting: the value of a kernel setting below net.ipv6.conf, "" where it is missing.
    """
    forwarding = "device" if setting("default/force_forwarding") else "off"
    if setting("all/forwarding") == "1":
        forwarding = "host"
    return {
        "enabled": [setting(f"{of}/disable_ipv6") for of in ("all", "default")] == ["0", "0"],
        "forwarding": forwarding,
    }


def machine(boot: str, network: str, devices: Sequence[Device]) -> str:
    """Values that no two machines share: boot id, network namespace, and all addresses.

    Clones of one disk share machine-id and host keys, and containers of one machine share the kernel.
    """
    # A link-local address comes and goes with every container.
    addresses = sorted({one for device in devices for one in device.own if not ipaddress.ip_address(one).is_link_local})
    return hashlib.sha256("\n".join([boot, network, *addresses]).encode()).hexdigest()[:16]


def _network() -> str:
    """The kernel's name for the network that the host's first process is in."""
    try:
        return os.readlink("/proc/1/ns/net")
    except OSError:  # only root may know
        return ""


class Host:
    """This host, seen through its own programs."""

    def __init__(self, run: Runner, finds: Callable[[str], bool], docker: Callable[[], Any]) -> None:
        self._run = run
        self._finds = finds
        self._docker = docker

    def info(
        self,
        user: str,
        python: str,
        data_path_port: int = vxlan.USUAL_PORT,
        dials: Sequence[Mapping[str, Any]] = (),
        dialled_by: Sequence[Mapping[str, str]] = (),
        encrypted: bool = False,
    ) -> dict[str, Any]:
        """All facts of the host.

        user: the account that other nodes would log in to; python: the interpreter for the helper of the stream
        transport; data_path_port: the UDP port for VXLAN; dials: the places that this host is to dial, each with peer,
        host and port; dialled_by: the hosts that dial this one, each with name and address; encrypted: whether the
        kernel is asked for ESP, for which it may load a module.
        """
        problems = missing_basics(
            os.geteuid(),
            sys.version_info[:2],
            os.path.isdir("/run/systemd/system"),
            _mode(TUN_DEVICE),
            self._finds,
            lambda library: importlib.util.find_spec(library) is not None,
            os.access(SHELL, os.X_OK),
        )
        answer: dict[str, Any] = {"routes": [], "docker": {}, "sshd": {}, "ssh": {}, "tunnel": {}, "python": {}}
        if sys.version_info >= OLDEST_PYTHON:  # an older one can't run it as somebody else
            answer["python"] = ask_python(python)
        devices = read_devices()
        answer.update(devices=tuns(devices), families=families(devices), vxlans=vxlan.devices(devices))
        answer["machine"] = machine(read_text(proc.BOOT_ID) or "", _network(), devices)
        answer.update(undialled=[], lines=[], esp=None)
        answer["public_key"] = account_info.public_key()
        if self._finds("ip"):
            answer["routes"] = [
                {"destination": str(route.destination), "device": route.device}
                for family in (4, 6)
                for route in read_routes(self._run, family)
            ]
        answer["managers"], answer["sysctl"] = managers.look(), sysctl.look()
        answer["vxlan_port"] = {"port": data_path_port, "holder": vxlan.holder(data_path_port)}
        answer["resolvers"] = read_resolvers()
        answer["ipv6"] = ipv6(lambda setting: (read_text(f"/proc/sys/net/ipv6/conf/{setting}") or "").strip())
        if not problems:
            answer["docker"], found = host_docker.look(self._docker, devices)
            problems += found
        session = ssh_session.session(self._run) if self._finds("ip") else None
        answer["operator"] = session.client if session else ""
        if os.geteuid() == 0:
            answer["esp"] = has_esp(self._run) if encrypted else None
            answer["undialled"] = dial.problems(self._run, dials, self._finds("nft"))
            answer["sshd"] = sshd_facts.look(self._run, self._finds, user, dialled_by)
            answer["ssh"] = sshd_facts.offered(self._run) if self._finds("ssh") else {}
            answer["lines"] = line_kept.lines()
            answer["tunnel"] = account_info.info(self._run, user, self._finds("sshd"))
        return {**answer, "problems": problems}


def _mode(path: str) -> int | None:
    """A file's permissions, None where there is no such file."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None
