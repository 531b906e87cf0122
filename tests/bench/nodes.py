# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs of the bench's own, and two nodes with a plain path between them."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.docker_engine import docker, inspect
from tests.lab.shell import LabError, last_line, run

from . import process
from .process import BenchError

AGENT = "/usr/local/lib/bench-agent.py"
# With an image to be made first.
LAB_SECONDS = 1200
PACKAGES = "libc6-dev openssl openvpn tcc wireguard-go wireguard-tools"
# The addresses that are measured, and that the swarm stands on. Which link carries them is a question of one route.
UNDERLAY = ("172.31.0.1", "172.31.0.2")


def lab(name: str, word: str, **variables: str) -> None:
    """Start or remove a lab; its size does not depend on what the user wants of other labs."""
    environment = {"LAB_NAME": name, "LAB_HUBS": "1", "LAB_NODES": "3", "LAB_PACKAGES": "", **variables}
    if word == "up":
        process.say(f"lab {name}: making its nodes")
    done = process.run([sys.executable, "-m", "tests.lab", word], LAB_SECONDS, environment=environment)
    if done.returncode:
        raise BenchError(last_line(done.stderr).removeprefix("lab: "))


@contextmanager
def temporary(name: str) -> Iterator[None]:
    """A lab's name, for labs that are gone afterwards; those that a bench left behind which was killed go first."""
    lab(name, "down")
    try:
        yield
    finally:
        # Whoever is impatient and interrupts this too would keep the nodes.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            lab(name, "down")
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Node:
    """One end. address: where the other end reaches it without any tunnel; underlay: where through the tunnel."""

    container: str
    address: str
    underlay: str

    def sh(self, script: str, timeout: float = 60) -> str:
        """Run a shell script as root and return what it prints; BenchError where it fails."""
        done = run(
            *("docker", "exec", "-i", self.container, "bash", "-euo", "pipefail", "-s"),
            stdin=script.encode(),
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-1:]
            raise BenchError(f"{self.container}: {script.strip().splitlines()[0][:80]}: {' '.join(words)}")
        return done.stdout.decode().strip()

    def ask(self, command: str, *arguments: object, timeout: float = 60) -> Any:
        """Have the agent on this node do something."""
        words = ["docker", "exec", self.container, "python3", AGENT, command, json.dumps(arguments)]
        done = run(*words, timeout=timeout, check=False)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            words = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise BenchError(f"{self.container}: {command}: {' '.join(words) or 'no answer'}") from error

    def until(self, script: str, seconds: float, what: str) -> None:
        """Wait until a script succeeds."""
        deadline = time.monotonic() + seconds
        while run("docker", "exec", self.container, "bash", "-c", script, check=False, timeout=20).returncode:
            if time.monotonic() > deadline:
                raise BenchError(f"{what} did not happen within {seconds:.0f} s")
            time.sleep(0.1)


@dataclass(frozen=True)
class Pair:
    """The node that is dialled and the one that dials."""

    name: str
    cloud: Node
    edge: Node

    @property
    def both(self) -> tuple[Node, Node]:
        """Both of them."""
        return (self.cloud, self.edge)

    def each(self, work: Callable[[Node, Node], object]) -> None:
        """Do the same at both ends; work is given the end itself and the other one."""
        work(self.cloud, self.edge)
        work(self.edge, self.cloud)


@contextmanager
def pair_of_nodes(name: str) -> Iterator[Pair]:
    """Two nodes on one network: through the lab's NAT a proxy in user space would be measured."""
    with temporary(name):
        lab(name, "up", LAB_NODES="2", LAB_PACKAGES=PACKAGES)
        network = f"{name}-cloud"
        try:
            docker("network", "connect", network, f"{name}-edge1")
            cloud, edge = (
                Node(f"{name}-{node}", _address(f"{name}-{node}", network), underlay)
                for node, underlay in zip(("cloud1", "edge1"), UNDERLAY, strict=True)
            )
            pair = Pair(name, cloud, edge)
            pair.each(_prepare)
            yield pair
        except LabError as error:
            raise BenchError(str(error)) from error


def _address(container: str, network: str) -> str:
    return str(inspect("container", container)[0]["NetworkSettings"]["Networks"][network]["IPAddress"])


def _prepare(node: Node, other: Node) -> None:
    """Let the other end in, and give the node its address; what one transfer taught TCP is not for the next one."""
    docker("cp", str(Path(__file__).with_name("agent.py")), f"{node.container}:{AGENT}")
    node.sh(f"""
        ip address add {node.underlay}/32 dev lo
        sysctl -qw net.ipv4.tcp_no_metrics_save=1
        if nft list chain inet filter input >/dev/null 2>&1; then
            nft insert rule inet filter input ip saddr '{{ {other.address}, 172.31.0.0/16 }}' accept
        fi
    """)


def route(node: Node, other: Node, way: str) -> None:
    """Reach the other end's underlay address this way from now on."""
    node.sh(f"ip route replace {other.underlay}/32 {way} src {node.underlay}")
