# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's part in a swarm, desired and observed."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .._core.errors import OversshError
from .._linux.routes import Route
from .labels import Change, change_of
from .settings import SETTINGS, Settings, settings_of

DEFAULT_PORT = 2377
SMALLEST_MTU, LARGEST_MTU = 576, 65535
# The state of a node that is given its entry by a manager.
LISTED = "listed"
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
# swarmkit prints a SHA-256 in base 36 and fills it up to this length.
DIGEST_LENGTH = 50


@dataclass(frozen=True)
class Desired:
    """The desired part of this node; None where any value will do.

    members: each node's status by its ID, as a manager of that swarm lists them; empty where no manager was asked.
    labels: those of the node that are set, and with None those that are removed; others stay.
    settings: those of the swarm that are given. rotate_tokens: the roles whose join tokens are made anew, once.
    """

    state: str
    advertise_addr: str | None = None
    listen_addr: str | None = None
    data_path_addr: str | None = None
    data_path_port: int | None = None
    default_addr_pool: tuple[str, ...] | None = None
    subnet_size: int | None = None
    bridge_subnet: str | None = None
    bridge_mtu: int | None = None
    bridge_icc: bool = False
    remote_managers: tuple[str, ...] = ()
    join_token: str | None = field(default=None, repr=False)
    cluster_id: str | None = None
    availability: str | None = None
    labels: Change = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    rotate_tokens: tuple[str, ...] = ()
    force: bool = False
    on_change: str = "fail"
    members: Mapping[str, str] = field(default_factory=dict)

    @property
    def founds(self) -> bool:
        """Whether this node creates the swarm: a manager with nobody to join."""
        return self.state == "manager" and not self.remote_managers


@dataclass(frozen=True)
class Entry:
    """A node in the managers' list; reachability is empty for a worker."""

    node_id: str
    hostname: str
    role: str
    availability: str
    status: str
    address: str
    reachability: str = ""
    manager_address: str = ""
    leader: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ground:
    """The settings of the host that matter to a node which enters a swarm.

    addresses: those of its devices, None where more may come before; gossip: whether something listens on the port of
    the swarm's gossip.
    """

    addresses: frozenset[str] | None
    routes: tuple[Route, ...] = ()
    gossip: bool = False


@dataclass(frozen=True)
class Observed:
    """The observed node.

    local_state: the engine's word (inactive, pending, active, error, locked). role, cluster_id and the swarm's settings
    are known where the engine returns them, most of them on managers only; cluster_id and certificate_role are also in
    the node's certificate. listen_addr and data_path_addr: the engine's start values, None where the engine does not
    return them. bridge: the bridge that overlays need exists; bridge_own: we made it; bridge_used: containers are on
    it. doubted: the engine's word is "error", and local_state is the managers' view; see believed(). ground: None
    where the node enters no swarm.
    """

    local_state: str
    error: str = ""
    node_id: str = ""
    node_address: str = ""
    role: str | None = None
    certificate_role: str | None = None
    hostname: str = ""
    cluster_id: str | None = None
    root_ca_digest: str | None = None
    listen_addr: str | None = None
    data_path_addr: str | None = None
    data_path_port: int | None = None
    default_addr_pool: tuple[str, ...] | None = None
    subnet_size: int | None = None
    settings: Settings | None = None
    managers: tuple[str, ...] = ()
    nodes: tuple[Entry, ...] = ()
    underlay_mtu: int | None = None
    bridge: bool = False
    bridge_own: bool = False
    bridge_used: bool = False
    doubted: bool = False
    ground: Ground | None = None

    @property
    def settled(self) -> bool:
        """Whether the state will last.

        A starting engine, and a certificate after a change of role, take seconds. A demoted manager that starts again
        with its old certificate would join the managers' consensus again. It would then break their majority when it
        notices its demotion.
        """
        changing = self.local_state == "active" and self.role == "worker" and self.certificate_role == "manager"
        return self.local_state != "pending" and not changing

    @property
    def leftover_bridge(self) -> bool:
        """Whether the bridge goes with the swarm: it is ours, and no container is on it after the node has left."""
        return self.bridge_own and (self.local_state != "inactive" or not self.bridge_used)

    @property
    def own(self) -> Entry | None:
        """This node's entry in the managers' list; None on a worker."""
        return next((node for node in self.nodes if node.node_id == self.node_id), None)


def standing(node: Entry) -> str:
    """A node's status in one word; "ready" requires of a manager that the others reach it."""
    return node.status if node.reachability in ("", "reachable") else node.reachability


def believed(observed: Observed, members: Mapping[str, str]) -> Observed:
    """The node as its managers see it: they may count a node as ready that its own engine calls failed.

    An engine whose first attempt as a manager failed says "error" until its restart, although it works.
    """
    word = standing(observed.own) if observed.own else members.get(observed.node_id)
    works = observed.local_state == "error" and word == "ready"
    return replace(observed, local_state="active", doubted=True) if works else observed


def forgotten(observed: Observed, members: Mapping[str, str]) -> bool:
    """Whether the managers have removed the node; its own engine is not informed and still says it is a member."""
    return bool(members and observed.node_id) and observed.node_id not in members


def desired_of(params: Mapping[str, Any]) -> Desired:
    """The desired part, from the module's options; OversshError for a wrong address."""
    listen, pool = params.get("listen_addr"), params.get("default_addr_pool")
    return Desired(
        state=params["state"],
        advertise_addr=_address("advertise_addr", params.get("advertise_addr")),
        listen_addr=_endpoint("listen_addr", listen) if listen else None,
        data_path_addr=_address("data_path_addr", params.get("data_path_addr")),
        data_path_port=params.get("data_path_port"),
        default_addr_pool=_pool(pool) if pool else None,
        subnet_size=params.get("subnet_size"),
        bridge_subnet=_subnet(params.get("bridge_subnet")),
        bridge_mtu=_mtu(params.get("bridge_mtu")),
        bridge_icc=bool(params.get("bridge_icc")),
        remote_managers=tuple(_endpoint("remote_managers", one) for one in params.get("remote_managers") or ()),
        join_token=params.get("join_token"),
        cluster_id=params.get("cluster_id"),
        availability=params.get("availability"),
        labels=change_of(params.get("labels")),
        settings=settings_of(params),
        rotate_tokens=tuple(sorted(set(params.get("rotate_tokens") or ()))),
        force=bool(params.get("force")),
        on_change=params.get("on_change") or "fail",
        members={str(node): str(word) for node, word in (params.get("members") or {}).items()},
    )


def refuse_misplaced(params: Mapping[str, Any]) -> None:
    """OversshError for an option with a state that would not look at it."""
    alien = [name for name in (*SETTINGS, "rotate_tokens") if params.get(name) not in (None, [])]
    if alien and (params["state"] != "manager" or params.get("remote_managers")):
        raise OversshError(
            f"{', '.join(alien)} would change the whole swarm and not one node; give it with state: manager and "
            "without remote_managers, on the node that creates the swarm or on any of its managers"
        )
    if params.get("labels") and params["state"] not in ("manager", LISTED):
        raise OversshError(
            f"labels with state: {params['state']} would be set by nobody; managers keep them, so do it on a manager, "
            f"with state: {LISTED} and node"
        )


def _subnet(text: str | None) -> str | None:
    try:
        return str(ipaddress.IPv4Network(text)) if text else None
    except ValueError as error:
        raise OversshError(f"bridge_subnet takes a network such as 172.18.0.0/16: {error}") from error


def _mtu(number: int | None) -> int | None:
    if number is not None and not SMALLEST_MTU <= number <= LARGEST_MTU:
        raise OversshError(f"bridge_mtu is {number}; it takes a number of bytes from {SMALLEST_MTU} to {LARGEST_MTU}")
    return number


def endpoint(text: str) -> tuple[str, int]:
    """Host and port of ADDRESS, ADDRESS:PORT, or [ADDRESS]:PORT; the default is the swarm's port."""
    if text.startswith("["):
        host, _bracket, rest = text[1:].partition("]")
        return host, int(rest[1:]) if rest.startswith(":") else DEFAULT_PORT
    if text.count(":") == 1:
        host, port = text.split(":")
        return host, int(port)
    return text, DEFAULT_PORT


def joined(host: str, port: int) -> str:
    """ADDRESS:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def root_ca_digest(certificate: str) -> str:
    """The digest of the swarm's root certificate as in join tokens: SHA-256 of its PEM text, in base 36."""
    number = int(hashlib.sha256(certificate.encode()).hexdigest(), 16)
    digits = ""
    while number:
        number, digit = divmod(number, len(BASE36))
        digits = BASE36[digit] + digits
    return digits.rjust(DIGEST_LENGTH, "0")


def token_digest(token: str | None) -> str | None:
    """The root certificate's digest in a join token, SWMTKN-1-DIGEST-SECRET or SWMTKN-2-FIPS-DIGEST-SECRET."""
    parts = (token or "").split("-")
    if parts[0] != "SWMTKN" or len(parts) not in (4, 5):
        return None
    return parts[-2]


def _address(option: str, text: str | None) -> str | None:
    if not text:
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise OversshError(
            f"{option} is {text}, which is no IP address; the swarm needs the address itself, because it can't follow "
            "a device or a name whose address changes"
        ) from error


def _endpoint(option: str, text: str) -> str:
    try:
        host, port = endpoint(text)
        address = str(ipaddress.ip_address(host))
        if not 0 < port < 65536:
            raise ValueError(f"{port} is no port")
    except ValueError as error:
        raise OversshError(f"{option} is {text}; it takes an IP address with a port such as 172.30.0.1:2377") from error
    return joined(address, port)


def _pool(pool: Iterable[str]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(one)) for one in pool)
    except ValueError as error:
        raise OversshError(f"default_addr_pool takes networks such as 10.201.0.0/16: {error}") from error
