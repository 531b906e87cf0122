# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes that keep this host's containers from those on other hosts: one look of some seconds."""

from __future__ import annotations

import contextlib
import glob
import json
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from .._core.command import Runner
from .._core.errors import OversshError
from .._core.files import read_text
from .._docker import gossip
from .._docker import rules as docker_rules
from .._docker.client import Docker, data_path_address
from .._docker.nodes import host_name
from .._linux.devices import carriers, read_devices
from .._linux.routes import device_to
from .._watcher import unit as watcher_unit

PROBE_SECONDS = 1.5
AT_ONCE = 16
# What the engine says of its overlay networks, in moby's libnetwork and memberlist; in small letters, journalctl takes
# capitals for the same.
LOG_LINES = (
    "bulk sync|memberlist|agentinit|vxlan|overlay|peer ?add|peer ?op|fdb|neighbor|failed adding rsa|network sandbox|"
    "attaching to network failed|could not resolve peer"
)
LOG_SINCE, LOG_COUNT = "-15min", "400"
MESSAGE = re.compile(r'time="(?P<time>[^"]*)" level=(?P<level>\w+) msg="(?P<words>(?:[^"\\]|\\.)*)"(?P<more>.*)')
# Gossip over a sound underlay that has come to nothing: a node is remembered by an ID that it has no more.
DEAD_GOSSIP = "bulk sync"
RESTART = "ansible {host} -b -m ansible.builtin.service -a 'name=docker state=restarted'"
WATCH = f"ansible {{host}} -b -m ansible.builtin.service -a 'name={watcher_unit.UNIT} state=restarted'"
TUNNEL, FIREWALL = "ansible-playbook overssh.swarm.tunnel", "ansible-playbook overssh.swarm.firewall"


@dataclass(frozen=True)
class Peer:
    """Another node: its name, and its address in the underlay."""

    name: str
    address: str


@dataclass(frozen=True)
class Cause:
    """A cause that keeps containers apart.

    kind: one of KINDS; why: the sentence, without a full stop; next: the command that helps, with {host} for the
    observed host's inventory name; peer: the node that is concerned, "" for all.
    """

    kind: str
    why: str
    next: str = ""
    peer: str = ""


# What explains most comes first.
KINDS = (
    "engine",
    "undone",
    "node",
    "gossip_port",
    "forwarding",
    "underlay",
    "firewall",
    "docker_rules",
    "gossip",
    "log",
    "nat",
)


def look(
    docker: Callable[[], Docker], run: Runner, network: str, peers: Sequence[Peer], forwards: bool
) -> list[dict[str, str]]:
    """The causes found, the most likely first; nothing is changed.

    forwards: whether the host forwards packets between others.
    """
    try:
        engine = docker()
        info = engine.info()
    except OversshError as error:
        return [vars(Cause("engine", str(error), RESTART))]
    found: list[Cause] = []
    looks: tuple[Callable[[], Iterable[Cause]], ...] = (
        lambda: _own_part(info),
        lambda: _nodes(engine, info),
        undone,
        lambda: _forwarding(run, info, forwards),
        lambda: _paths(run, peers),
        lambda: _rules(run, engine, forwards),
        lambda: _gossip_of(run, engine, network, peers),
    )
    for each in looks:
        # One look that fails hides no other.
        with contextlib.suppress(OversshError, OSError, ValueError, KeyError):
            found += each()
    return [vars(cause) for cause in sorted(found, key=lambda cause: KINDS.index(cause.kind))]


def _own_part(info: Mapping[str, Any]) -> Iterator[Cause]:
    swarm = info.get("Swarm") or {}
    state, address = swarm.get("LocalNodeState"), swarm.get("NodeAddr") or ""
    if state not in ("active", "error"):
        yield Cause("engine", f"its engine calls its part in the swarm {state}", "ansible-playbook overssh.swarm.swarm")
    elif not gossip.listens(address):
        yield Cause(
            "gossip_port",
            f"nothing listens on {address} port {gossip.PORT}, so that it takes no part in the swarm's gossip",
            RESTART,
        )


def _nodes(engine: Docker, info: Mapping[str, Any]) -> Iterator[Cause]:
    """The managers' view of each node, by its address; the controller knows the names."""
    if not (info.get("Swarm") or {}).get("ControlAvailable"):
        return
    for node in engine.nodes():
        address = (node.get("Status") or {}).get("Addr") or ""
        status, word = (node.get("Status") or {}).get("State"), (node.get("Spec") or {}).get("Availability")
        hostname = host_name(node)
        if status != "ready":
            yield Cause("node", f"the managers call the node {hostname} {status}", TUNNEL, address)
        elif word != "active":
            there = f"ansible {{host}} -b -a 'docker node update --availability active {node['ID']}'"
            yield Cause("node", f"the node {hostname} takes no containers: its availability is {word}", there, address)


def undone() -> Iterator[Cause]:
    """Things that others undo again and again, so that the watcher leaves them alone."""
    # With another queue or MTU small packets cross all the same.
    said = [
        f"{each['by']} undoes {each['what']} of {each['device']}"
        for each in watcher_unit.devices_left_alone()
        if not each["what"].startswith(("the queue ", "the MTU "))
    ]
    said += [f"{by} removes firewall rules of overssh" for by in watcher_unit.rules_left_alone()]
    for words in said:
        yield Cause(
            "undone",
            f"{words} again and again, so that {watcher_unit.UNIT} leaves it alone for a while; stop that first",
            WATCH,
        )


def _forwarding(run: Runner, info: Mapping[str, Any], forwards: bool) -> Iterator[Cause]:
    family = "ipv6" if ":" in data_path_address(info) else "ipv4"
    devices = [one.name for one in carriers(read_devices(), data_path_address(info))]
    off = [
        name for name in devices if (read_text(f"/proc/sys/net/{family}/conf/{name}/forwarding") or "").strip() == "0"
    ]
    if forwards and devices and len(off) == len(devices):
        yield Cause(
            "forwarding",
            f"net.{family}.conf.{off[0]}.forwarding is 0, as on all of its tunnels, so that it passes on nothing from "
            "node to node; something has set it so, or net.ipv4.ip_forward, since the tunnels were made",
            TUNNEL,
        )


def _paths(run: Runner, peers: Sequence[Peer]) -> Iterator[Cause]:
    """Which peers the underlay reaches, all at the same time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for peer, answers, gossips in pool.map(lambda peer: (peer, *_reaches(run, peer.address)), peers):
            if not answers and gossips != "open":
                way = device_to(run, peer.address)
                why = (
                    f"{peer.address} does not answer a ping by {way}" if way else f"there is no route to {peer.address}"
                )
                yield Cause("underlay", f"{why}, so that the way between the tunnels is broken", TUNNEL, peer.name)
            elif gossips == "silent":
                why = f"{peer.address} answers, but not on TCP port {gossip.PORT}, so that a firewall drops the gossip"
                yield Cause("firewall", why, FIREWALL, peer.name)
            elif gossips == "refused":
                why = f"{peer.address} refuses TCP port {gossip.PORT}, so that its engine gossips with nobody"
                yield Cause("gossip_port", why, "", peer.name)


def _reaches(run: Runner, address: str) -> tuple[bool, str]:
    """Whether a ping is answered, and how the gossip's port is."""
    echo = run(["timeout", "4", "ping", "-n", "-q", "-c", "3", "-i", "0.3", "-W", "1", address], check=False).rc == 0
    try:
        with socket.create_connection((address, gossip.PORT), timeout=PROBE_SECONDS):
            return echo, "open"
    except ConnectionRefusedError:
        return echo, "refused"
    except OSError:
        return echo, "silent"


def _rules(run: Runner, engine: Docker, forwards: bool) -> Iterator[Cause]:
    """Docker's missing rules. Traffic between nodes needs only the jump; the others serve traffic to the outside."""
    for what in docker_rules.missing(run, engine):
        kind = "docker_rules" if forwards and what == docker_rules.JUMP else "nat"
        yield Cause(kind, f"{what}, a rule of Docker's own, is missing", RESTART)


def _gossip_of(run: Runner, engine: Docker, network: str, peers: Sequence[Peer]) -> Iterator[Cause]:
    """The peers that this engine has heard of on the network, and the lines of its log."""
    network_id = str(engine.inspect_network(network)["Id"])
    unknown = {peer.name for peer in peers} & _unheard(run, network_id, peers)
    lines = list(log_lines(_journal(run)))
    dead = next((line for line in lines if DEAD_GOSSIP in line.lower()), "")
    for peer in peers:
        if peer.name in unknown:
            said = dead or next((line for line in lines if peer.address in line or network_id[:10] in line), "")
            log = f"; the log of its engine: {said}" if said else ""
            yield Cause(
                "gossip",
                f"its engine has heard of no container of {peer.name} on {network}, as the swarm's gossip between them "
                f"does not work{log}",
                RESTART,
                peer.name,
            )
    for line in [line for line in lines if network_id[:10] in line or network in line or line == dead][:1]:
        yield Cause("log", f"the log of its engine: {line}", RESTART)


def _unheard(run: Runner, network_id: str, peers: Sequence[Peer]) -> set[str]:
    """The peers that no container's address leads to; empty where the network stands not here at present."""
    spaces = glob.glob(f"/var/run/docker/netns/*-{network_id[:10]}")
    if not spaces:
        return set()
    shown = run(["timeout", "4", "nsenter", f"--net={spaces[0]}", "bridge", "-json", "fdb", "show"], check=False)
    heard = {entry.get("dst") for entry in json.loads(shown.stdout or "[]")}
    return {peer.name for peer in peers if peer.address not in heard}


def _journal(run: Runner) -> str:
    asked = [
        "journalctl",
        "-u",
        "docker",
        "--since",
        LOG_SINCE,
        "-n",
        LOG_COUNT,
        "-o",
        "cat",
        "--no-pager",
        "-g",
        LOG_LINES,
    ]
    return run(["timeout", "5", *asked], check=False).stdout


def log_lines(text: str) -> Iterator[str]:
    """The engine's warnings and errors about its networks, each with its time, newest first."""
    for line in reversed(text.splitlines()):
        found = MESSAGE.match(line)
        if found and found["level"] in ("warning", "error"):
            words = found["words"].replace('\\"', '"')
            error = re.search(r' error="((?:[^"\\]|\\.)*)"', found["more"])
            more = f" ({error[1]})" if error else ""
            yield f"{found['time'].partition('.')[0].rstrip('Z')} {words}{more}"
