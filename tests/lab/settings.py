# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user may say about a lab, all of it through the environment."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .shell import LabError

RELEASES = ("trixie", "bookworm", "forky")
# Their systemd, 258 and later, knows control groups v2 only.
NEED_CGROUP2 = frozenset({"forky"})
DEFAULT_NAME = "overssh"
# A node is a system container, or a container around a virtual machine: a Linux kernel of the node's own.
CONTAINERS, MACHINES = "container", "vm"
OPERATOR = "ops"
# Files of the lab's state.
KEY = "id_ed25519"
KNOWN_HOSTS = "known_hosts"
HOST_KEY = "host_key_"
LABEL = "overssh.lab"
HOME_LABEL = "overssh.lab.home"
SPEC_LABEL = "overssh.lab.spec"
_NODES_MAX = 50


@dataclass(frozen=True)
class Settings:
    """One lab: its name, size, Debian release, and where its files stand."""

    name: str
    nodes: int
    hubs: int
    release: str
    cloud_subnet: ipaddress.IPv4Network | None
    edge_subnet: ipaddress.IPv4Network | None
    mirror: str | None
    project: Path
    packages: tuple[str, ...] = ()
    kind: str = CONTAINERS

    @property
    def state(self) -> Path:
        """The directory of this lab's key, known hosts and inventory."""
        top = self.project / ".lab"
        return top if self.name == DEFAULT_NAME else top / self.name

    @property
    def engine_state(self) -> Path:
        """Where the daemons that the lab starts keep their logs; all labs of a checkout share them."""
        return self.project / ".lab" / "engine"

    @property
    def labels(self) -> dict[str, str]:
        """What marks a resource as made by this lab of this checkout."""
        return {LABEL: self.name, HOME_LABEL: str(self.state)}

    @property
    def node_names(self) -> list[str]:
        """The hubs first, then the spokes."""
        return [*self.hub_names, *(f"edge{number}" for number in range(1, self.nodes - self.hubs + 1))]

    @property
    def hub_names(self) -> list[str]:
        """The nodes that the others can dial."""
        return [f"cloud{number}" for number in range(1, self.hubs + 1)]

    def container(self, node: str) -> str:
        """The container's name of a node."""
        return f"{self.name}-{node}"

    def volume(self, node: str) -> str:
        """The volume under a node's /var/lib/docker."""
        return f"{self.name}-{node}-docker"

    def network(self, side: str) -> str:
        """The Docker network of a side, `cloud` or `edge`."""
        return f"{self.name}-{side}"


def _subnet(environment: Mapping[str, str], variable: str, nodes: int) -> ipaddress.IPv4Network | None:
    text = environment.get(variable, "")
    if not text:
        return None
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise LabError(f"{variable} is not an IPv4 network: {error}") from error
    if subnet.num_addresses < nodes + 4:
        raise LabError(f"{variable}={text} has too few addresses for LAB_NODES={nodes}")
    return subnet


def _packages(environment: Mapping[str, str]) -> tuple[str, ...]:
    words = environment.get("LAB_PACKAGES", "").split()
    for word in words:
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", word):
            raise LabError(f"LAB_PACKAGES has {word}, which is no Debian package's name; separate names by spaces")
    return tuple(sorted(set(words)))


def read_settings(environment: Mapping[str, str], project: Path) -> Settings:
    """Check every variable before anything is done with any of them."""
    name = environment.get("LAB_NAME") or DEFAULT_NAME
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,29}", name) or name == "engine":
        raise LabError(f"LAB_NAME={name} must be 1 to 30 of a-z, 0-9 and -, begin with a letter, and not be `engine`")
    count = environment.get("LAB_NODES") or "3"
    if not re.fullmatch(r"[0-9]{1,4}", count) or not 2 <= int(count) <= _NODES_MAX:
        raise LabError(f"LAB_NODES={count} must be a number from 2 to {_NODES_MAX}: hubs and spokes")
    hubs = environment.get("LAB_HUBS") or "1"
    if not re.fullmatch(r"[0-9]{1,4}", hubs) or not 1 <= int(hubs) < int(count):
        raise LabError(f"LAB_HUBS={hubs} must be a number from 1 to LAB_NODES less one, {int(count) - 1}")
    release = environment.get("LAB_RELEASE") or RELEASES[0]
    if release not in RELEASES:
        raise LabError(f"LAB_RELEASE={release} is not known: it is one of {', '.join(RELEASES)}")
    kind = environment.get("LAB_KIND") or CONTAINERS
    if kind not in (CONTAINERS, MACHINES):
        raise LabError(f"LAB_KIND={kind} is not known: it is {CONTAINERS} or {MACHINES}")
    cloud = _subnet(environment, "LAB_CLOUD_SUBNET", int(count))
    edge = _subnet(environment, "LAB_EDGE_SUBNET", int(count))
    if cloud is not None and edge is not None and cloud.overlaps(edge):
        raise LabError(f"LAB_CLOUD_SUBNET={cloud} and LAB_EDGE_SUBNET={edge} overlap: give each its own")
    mirror = environment.get("LAB_MIRROR") or None
    return Settings(name, int(count), int(hubs), release, cloud, edge, mirror, project, _packages(environment), kind)
