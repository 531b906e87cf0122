# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A firewalled host and its neighbours as network namespaces: two peers on "tunnels", and the world.

    peer (172.30.2.2) --- tun1002 |        | tun1003 --- spoke (172.30.3.2)
                                  |  host  |
    world (198.51.100.2) --- wan0 |        |

The devices are veth pairs with the names that tunnels have. Packets are real, sent by sockets of this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer, checked

CLONE_NEWNET = 0x40000000
# Seconds: a packet that passes takes a few microseconds, unless the machine is busy.
PASSES, BLOCKED = 2.0, 0.1

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Network:
    """The namespaces' names begin with prefix."""

    prefix: str

    def namespace(self, node: str) -> str:
        return f"{self.prefix}-{node}"

    def run(self, argv: Sequence[str], data: str | None = None, check: bool = True, node: str = "host") -> Answer:
        """A Runner of the engine, inside a namespace."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace(node), *argv],
            input=data,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        return checked(Answer(done.returncode, done.stdout, done.stderr), argv, check)

    def listing(self) -> str:
        """The host's ruleset without counters."""
        return self.run(["nft", "-s", "list", "ruleset"]).stdout

    @contextlib.contextmanager
    def inside(self, node: str) -> Iterator[None]:
        """Sockets made meanwhile belong to the node."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.namespace(node)}", os.O_RDONLY)
        try:
            _setns(there)
            yield
        finally:
            _setns(home)
            os.close(home)
            os.close(there)

    def tcp_passes(self, source: str, address: str, port: int, target: str = "host") -> bool:
        """Whether a TCP connection from the source to the address of the target comes about."""
        return self._tcp(source, address, port, target, PASSES)

    def tcp_blocked(self, source: str, address: str, port: int, target: str = "host") -> bool:
        """The opposite of tcp_passes, told sooner."""
        return not self._tcp(source, address, port, target, BLOCKED)

    def udp_passes(self, source: str, address: str, port: int, target: str = "host") -> bool:
        """Whether a datagram from the source to the address arrives at the target."""
        return self._udp(source, address, port, target, PASSES)

    def udp_blocked(self, source: str, address: str, port: int, target: str = "host") -> bool:
        """The opposite of udp_passes, told sooner."""
        return not self._udp(source, address, port, target, BLOCKED)

    def _tcp(self, source: str, address: str, port: int, target: str, patience: float) -> bool:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with contextlib.ExitStack() as stack:
            with self.inside(target):
                listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("", port))
                listener.listen()
            with self.inside(source):
                client = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            client.settimeout(patience)
            try:
                client.connect((address, port))
            except OSError:
                return False
            return True

    def _udp(self, source: str, address: str, port: int, target: str, patience: float) -> bool:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with contextlib.ExitStack() as stack:
            with self.inside(target):
                listener = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                listener.bind(("", port))
                listener.settimeout(patience)
            with self.inside(source):
                client = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):
                client.sendto(b"probe", (address, port))
            try:
                return listener.recv(16) == b"probe"
            except OSError:
                return False


# Each link: the neighbour, the host's device, the addresses of the host and of the neighbour.
LINKS = (
    ("peer", "tun1002", ("172.30.2.1/24", "172.30.2.2/24"), ("fd00:30:2::1/64", "fd00:30:2::2/64")),
    ("spoke", "tun1003", ("172.30.3.1/24", "172.30.3.2/24"), ("fd00:30:3::1/64", "fd00:30:3::2/64")),
    ("world", "wan0", ("198.51.100.1/24", "198.51.100.2/24"), ("fd00:31::1/64", "fd00:31::2/64")),
)


@contextlib.contextmanager
def network(purpose: str = "nft") -> Iterator[Network]:
    """The namespaces, with their links; removed whatever happens. Each purpose has a network of its own."""
    net = Network(f"overssh-{purpose}-{os.getpid()}")
    nodes = ["host", *(link[0] for link in LINKS)]
    try:
        for node in nodes:
            _command("ip", "netns", "add", net.namespace(node))
            for key in (
                "net.ipv6.conf.default.accept_dad=0",
                "net.ipv6.conf.all.forwarding=1",
                "net.ipv4.ip_forward=1",
            ):
                net.run(["sysctl", "-qw", key], node=node)
            net.run(["ip", "link", "set", "lo", "up"], node=node)
        for number, (neighbour, device, *addresses) in enumerate(LINKS):
            host, there = net.namespace("host"), net.namespace(neighbour)
            names = (f"ov{os.getpid() % 100000}a{number}", f"ov{os.getpid() % 100000}b{number}")
            _command("ip", "link", "add", names[0], "type", "veth", "peer", "name", names[1])
            _command("ip", "link", "set", names[0], "netns", host, "name", device)
            _command("ip", "link", "set", names[1], "netns", there, "name", "up0")
            for ours, theirs in addresses:
                net.run(["ip", "address", "add", ours, "dev", device, *_nodad(ours)])
                net.run(["ip", "address", "add", theirs, "dev", "up0", *_nodad(theirs)], node=neighbour)
            net.run(["ip", "link", "set", device, "up"])
            net.run(["ip", "link", "set", "up0", "up"], node=neighbour)
            for ours, _ in addresses:
                net.run(["ip", "route", "add", "default", "via", ours.partition("/")[0]], node=neighbour)
        yield net
    finally:
        for node in nodes:
            _command("ip", "netns", "delete", net.namespace(node), check=False)


def _nodad(address: str) -> list[str]:
    return ["nodad"] if ":" in address else []


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _command(*argv: str, check: bool = True) -> None:
    subprocess.run(argv, check=check, capture_output=True, timeout=30)
