# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other people's firewalls beside Docker's rules: what they block passes on the tunnels after nft_rule, nowhere else.

All senders ask for all ports, one of them from outside with an address of the underlay. A connection of an operator is
never cut. The scenario firewall does the same with some of the rulesets on a node, where Docker itself runs.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.netns.firewall import RULESETS, task
from tests.support import answering, probe

DOCKERS = "iptables_docker.v4"
ALL = sorted(path.name for path in RULESETS.iterdir() if path.name != DOCKERS)

TUNNELS, NETWORK = ["tun1002", "tun1003"], ["172.30.0.0/16"]
PEER, SPOKE, WAN = "172.30.2.2", "172.30.3.2", "198.51.100.1"
HOST = {"peer": "172.30.2.1", "spoke": "172.30.3.1"}
HERE = {"in_interfaces": TUNNELS, "source": NETWORK, "destination": list(HOST.values())}
RULES = [
    {"name": "fleet-swarm-tcp", "protocol": "tcp", "ports": ["2377", "7946"], **HERE},
    {"name": "fleet-swarm-udp", "protocol": "udp", "ports": ["4789", "7946"], **HERE},
    {"name": "fleet-transit", "path": "forward", **HERE, "destination": NETWORK, "out_interfaces": TUNNELS},
]

SWARM = ("2377/tcp", "7946/tcp", "4789/udp", "7946/udp")
OTHER = ("2378/tcp", "2377/udp")
THROUGH = ("7946/tcp", "7946/udp")
ON_TUNNELS = {f"{node}: {port}" for node in HOST for port in SWARM} | {
    f"{node} through the host: {port}" for node in HOST for port in THROUGH
}
SSH = "wan0: 22/tcp"
# Who asks for what, and where.
LOOKS = {
    "wan0": ("world", WAN, ("22/tcp", *SWARM, *OTHER)),
    "wan0 as a node": ("world", HOST["peer"], SWARM),
    "wan0 through the host": ("world", PEER, THROUGH),
    "peer": ("peer", HOST["peer"], (*SWARM, *OTHER)),
    "spoke": ("spoke", HOST["spoke"], (*SWARM, *OTHER)),
    "peer through the host": ("peer", SPOKE, THROUGH),
    "spoke through the host": ("spoke", PEER, THROUGH),
}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
# Seconds: for what has to be silent, and for what has to answer.
SOON, LATE = 0.5, 10.0

# Its packets to the underlay come from an address of it.
STRANGER = "172.30.9.2"


@pytest.fixture(scope="module")
def logs(_network, tmp_path_factory) -> Iterator[dict[str, Path]]:
    """Everybody but the world answers on all ports but ssh's; the files that name who asked."""
    folder, programs = tmp_path_factory.mktemp("answering"), {}
    _network.run(["ip", "address", "add", f"{STRANGER}/32", "dev", "up0"], node="world")
    _network.run(["ip", "route", "add", NETWORK[0], "via", WAN, "src", STRANGER], node="world")
    _network.run(["ip", "route", "add", STRANGER, "dev", "wan0"])
    try:
        for node in ("host", *HOST):
            command = ["ip", "netns", "exec", _network.namespace(node), sys.executable, answering.__file__]
            with (folder / node).open("w", encoding="utf-8") as log:
                programs[node] = subprocess.Popen([*command, *SWARM, *OTHER], stdout=log)
        deadline = time.monotonic() + 30
        while not all("ready" in (folder / node).read_text(encoding="utf-8") for node in programs):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield {node: folder / node for node in programs}
    finally:
        for program in programs.values():
            program.kill()
            program.wait()
        _network.run(["ip", "route", "delete", STRANGER, "dev", "wan0"])
        _network.run(["ip", "route", "delete", NETWORK[0]], node="world")
        _network.run(["ip", "address", "delete", f"{STRANGER}/32", "dev", "up0"], node="world")


@contextlib.contextmanager
def held(net) -> Iterator[Callable[[], bool]]:
    """A connection from outside to the host's port of ssh, and whether what is said on it comes to the other end."""
    with contextlib.ExitStack() as stack:
        with net.inside("host"):
            listener = stack.enter_context(socket.create_server(("", 22), backlog=128))
        with net.inside("world"):
            client = stack.enter_context(socket.create_connection((WAN, 22), timeout=LATE))
        server = stack.enter_context(listener.accept()[0])
        server.settimeout(LATE)

        def lives() -> bool:
            for one, other in ((client, server), (server, client)):
                one.sendall(b"still there?")
                if other.recv(64) != b"still there?":
                    return False
            return True

        assert lives()
        yield lives
        assert lives()


def load(net, name: str) -> None:
    """A ruleset beside what Docker makes, which is there first."""
    text = (RULESETS / DOCKERS).read_text(encoding="utf-8")
    administrators = ("-A INPUT ", "-A DOCKER-USER -i ")
    dockers = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(administrators))
    net.run(["iptables-nft-restore"], dockers)
    program = ["nft", "-f"] if name.endswith(".nft") else ["iptables-nft-restore", "--noflush"]
    net.run([*program, str(RULESETS / name)])


def opened(net, expected: Collection[str] = ()) -> set[str]:
    """From where which ports answer; what is expected to do so may take its time."""

    def opens(look: str, port: str) -> bool:
        source, address, _ports = LOOKS[look]
        number, _, protocol = port.partition("/")
        with net.inside(source):
            seconds = LATE if f"{look}: {port}" in expected else SOON
            return probe.answer(address, int(number), KINDS[protocol], seconds=seconds) == "open"

    asked = [(look, port) for look, (_source, _address, ports) in LOOKS.items() for port in ports]
    with ThreadPoolExecutor(len(asked)) as pool:
        found = pool.map(lambda each: opens(*each), asked)
    return {f"{look}: {port}" for (look, port), answers in zip(asked, found) if answers}


@pytest.mark.parametrize("name", ALL)
def test_opens_the_tunnels_and_nothing_else(net, logs, name):
    load(net, name)
    with held(net) as lives:
        text, before = net.listing(), opened(net, {SSH})
        assert before == {SSH}

        done = task(net, rules=RULES)

        assert (done["changed"], done["pending"]) == (True, False)
        assert lives()
        assert opened(net, before | ON_TUNNELS) == before | ON_TUNNELS
        assert task(net, rules=RULES)["steps"] == []

        assert task(net, state="absent", all=True)["changed"]
        assert net.listing() == text
    assert STRANGER not in logs["peer"].read_text(encoding="utf-8")
