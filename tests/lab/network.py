# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two networks that the engine keeps apart: the cloud's, and the one behind the edges' NAT."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .docker_engine import docker, inspect
from .settings import Settings
from .shell import LabError, last_line, run

Network = ipaddress.IPv4Network
# Where free subnets are looked for. The collection's own defaults, and what engines inside the nodes give
# their bridges, must stay free.
_POOLS = (Network("10.100.0.0/16"), Network("192.168.128.0/17"), Network("10.64.0.0/12"))
_RESERVED = (
    Network("172.16.0.0/12"),
    *(Network(f"10.{number}.0.0/16") for number in range(200, 210)),
)
_DIAL_PORTS = range(2222, 2300)


@dataclass(frozen=True)
class LabNetwork:
    """One side of the lab as it stands on the engine."""

    name: str
    identity: str
    subnet: Network
    gateway: str

    def address(self, number: int) -> str:
        """The address of the side's `number`-th node, after the gateway."""
        return str(self.subnet.network_address + 1 + number)


def parse_routes(text: str) -> list[Network]:
    """The destinations of /proc/net/route, without the default route."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 8:
            continue
        # The kernel prints the addresses as numbers of the machine's own byte order, little-endian on all we run on.
        destination, mask = (int.from_bytes(bytes.fromhex(words[index]), "little") for index in (1, 7))
        if mask:
            found.append(Network((destination, bin(mask).count("1"))))
    return found


def free_subnets(busy: Iterable[Network]) -> Iterator[Network]:
    """Subnets nobody uses, best first."""
    taken = [*busy, *_RESERVED]
    for pool in _POOLS:
        for subnet in pool.subnets(new_prefix=24):
            if not any(subnet.overlaps(other) for other in taken):
                yield subnet


def _busy() -> list[tuple[str, Network]]:
    """Who uses which subnet on this machine."""
    routes = Path("/proc/net/route").read_text(encoding="utf-8")
    found = [("a route of this machine", route) for route in parse_routes(routes)]
    for network in inspect("network", *docker("network", "ls", "--quiet").split()):
        for part in network["IPAM"]["Config"] or []:
            subnet = ipaddress.ip_network(part.get("Subnet", "::/128"), strict=False)
            if isinstance(subnet, Network):
                found.insert(0, (f"the Docker network {network['Name']}", subnet))
    return found


def _as_lab_network(found: dict[str, Any]) -> LabNetwork:
    part = found["IPAM"]["Config"][0]
    return LabNetwork(found["Name"], found["Id"], Network(part["Subnet"]), part["Gateway"])


def overlapping(wanted: Network, busy: Iterable[tuple[str, Network]]) -> str | None:
    """Who is in the way of a subnet, in words."""
    for owner, subnet in busy:
        if subnet.overlaps(wanted):
            return f"it overlaps {subnet}, {owner}"
    return None


def _create(settings: Settings, name: str, wanted: Network | None, variable: str) -> LabNetwork:
    labels = [word for item in settings.labels.items() for word in ("--label", "=".join(item))]
    candidates = free_subnets(subnet for _owner, subnet in _busy()) if wanted is None else iter([wanted])
    reason = "every candidate overlaps a route of this machine"
    for subnet in candidates:
        gateway = str(subnet.network_address + 1)
        done = run(
            "docker", "network", "create", *labels, "--subnet", str(subnet), "--gateway", gateway, name, check=False
        )
        if done.returncode == 0:
            return _as_lab_network(inspect("network", name)[0])
        reason = last_line(done.stderr.decode(errors="replace"))
        # Another lab may have taken the subnet since we looked; anything else would only repeat itself.
        if "overlap" not in reason.lower():
            break
    raise LabError(f"no subnet for {name} ({reason}): set {variable} to a free one")


def ensure_networks(settings: Settings, usable: Collection[str]) -> tuple[LabNetwork, LabNetwork]:
    """The cloud's network and the edges'; those in `usable` are ours to keep. Nothing is made unless both can be."""
    sides = (("cloud", settings.cloud_subnet), ("edge", settings.edge_subnet))
    standing = {}
    for side, wanted in sides:
        name, variable = settings.network(side), f"LAB_{side.upper()}_SUBNET"
        if name not in usable:
            if wanted is not None and (obstacle := overlapping(wanted, _busy())):
                raise LabError(f"{variable}={wanted} is busy: {obstacle}; choose another")
            continue
        network = standing[side] = _as_lab_network(inspect("network", name)[0])
        if wanted is not None and wanted != network.subnet:
            raise LabError(f"the lab stands on {network.subnet}, {variable} says {wanted}: take the lab down first")
        if network.subnet.num_addresses < settings.nodes + 4:
            raise LabError(f"{network.subnet} of {name} is too small for LAB_NODES={settings.nodes}: take the lab down")
    cloud, edge = (
        standing.get(side) or _create(settings, settings.network(side), wanted, f"LAB_{side.upper()}_SUBNET")
        for side, wanted in sides
    )
    return cloud, edge


def free_ports(address: str, taken: Collection[int]) -> Iterator[int]:
    """Ports of the edges' gateway where nobody listens yet, other than those taken."""
    for port in _DIAL_PORTS:
        if port in taken:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
        yield port
    raise LabError(f"ports {_DIAL_PORTS[0]} to {_DIAL_PORTS[-1]} of {address} are all in use: free one of them")
