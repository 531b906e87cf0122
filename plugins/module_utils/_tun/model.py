# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tun device as data, desired and observed; pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .._core.errors import OversshError
from .._linux.systemd import NO_UNIT, UnitState

NAME = re.compile(r"tun(0|[1-9][0-9]{0,9})\Z")
ALIAS = "overssh "
# The kernel's own limit for a tun device.
LARGEST_MTU = 65535
SMALLEST_MTU = 576
# Below this the kernel takes IPv6 off the device.
SMALLEST_MTU_6 = 1280
# IFALIASZ of linux/if.h, less the zero at the end.
LONGEST_ALIAS = 255
# A unit's command line would take these for more than letters.
UNFIT = frozenset("\"'\\%$")
# What the kernel gives a tun device that it has just made.
NEW_MTU = 1500
NEW_TXQUEUELEN = 500
IPV6_METRIC = 1024
# Numbers of linux/rtnetlink.h: the table that everything goes by, and the one of this host's own addresses.
MAIN_TABLE, LOCAL_TABLE = 254, 255


@dataclass(frozen=True)
class Address:
    """An address of the device; peer: the other end of a point-to-point link; prefix: then the peer's."""

    address: str
    prefix: int
    peer: str | None = None

    def __str__(self) -> str:
        return f"{self.address} peer {self.peer}/{self.prefix}" if self.peer else f"{self.address}/{self.prefix}"


@dataclass(frozen=True)
class Route:
    """A route through the device; source: of packets that leave by it; metric: the lower one wins.

    table: the routing table's number.
    """

    destination: str
    source: str | None = None
    metric: int = 0
    via: str | None = None
    table: int = MAIN_TABLE

    @property
    def place(self) -> tuple[str, int, int]:
        """Destination, metric and table; the kernel has one route for each combination."""
        return self.destination, self.metric, self.table

    def __str__(self) -> str:
        parts = [self.destination]
        parts += [f"via {self.via}"] if self.via else []
        parts += [f"src {self.source}"] if self.source else []
        parts += [f"metric {self.metric}"] if self.metric else []
        parts += [f"table {self.table}"] if self.table != MAIN_TABLE else []
        return " ".join(parts)


@dataclass(frozen=True)
class Desired:
    """The desired device; present: False to remove it; forwarding (of IPv4), forwarding6, failover: None to leave it.

    incoming_table: the only routing table for packets that come in over the device, None for the host's usual routing.
    """

    name: str
    present: bool = True
    description: str = ""
    owner: str | None = None
    group: str | None = None
    mtu: int = NEW_MTU
    txqueuelen: int = NEW_TXQUEUELEN
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    up: bool = True
    forwarding: bool | None = None
    forwarding6: bool | None = None
    failover: bool | None = None
    incoming_table: int | None = None
    multi_queue: bool = False
    persist: bool = True
    on_change: str = "fail"

    @property
    def alias(self) -> str:
        """The device's alias, which marks it as ours."""
        return f"{ALIAS}{self.description or self.name}"


@dataclass(frozen=True)
class Device:
    """A device in the kernel; owner, group: names, or numbers without a name, None for anybody.

    is_tun: made for whole IP packets without a header before them, as OpenSSH needs; carrier: a process holds it;
    offload: it hands out packets without checksums; vnet_header: its current or last holder asked for that information;
    forwarding, forwarding6, failover: None where the kernel has no value yet; incoming_table: the only table for
    packets that come in over the device, None for the host's usual routing.
    """

    name: str
    is_tun: bool = True
    alias: str = ""
    owner: str | None = None
    group: str | None = None
    mtu: int = NEW_MTU
    txqueuelen: int = NEW_TXQUEUELEN
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    up: bool = False
    carrier: bool = False
    forwarding: bool | None = False
    forwarding6: bool | None = False
    failover: bool | None = False
    incoming_table: int | None = None
    multi_queue: bool = False
    offload: bool = False
    vnet_header: bool = False

    @property
    def stale_offload(self) -> bool:
        """Whether its offload flags are left over from another program; a running stream sets its own."""
        return self.offload and not (self.carrier and self.vnet_header)

    @property
    def ours(self) -> bool:
        """Whether this collection made the device."""
        return self.alias.startswith(ALIAS)


@dataclass(frozen=True)
class Observed:
    """The device, None where it is missing, and its unit.

    manager_files: by network manager on this host, the text of the file that has it leave the device alone; None for no
    file. unknown: the desired account and group that this host lacks. host_forwards6: whether the whole host forwards
    IPv6, None where the kernel decides by device.
    """

    device: Device | None
    unit: UnitState = NO_UNIT
    manager_files: Mapping[str, str | None] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    host_forwards6: bool | None = None


def check(desired: Desired) -> None:
    """OversshError where the device could never carry a tunnel."""
    if not NAME.match(desired.name):
        raise OversshError(f"'{desired.name}' is no tunN: OpenSSH opens devices of that name only, such as tun1001")
    if not desired.present:
        return
    if not SMALLEST_MTU <= desired.mtu <= LARGEST_MTU:
        raise OversshError(
            f"mtu is {desired.mtu}; a tun device takes {SMALLEST_MTU} to {LARGEST_MTU} bytes, and up to 16380 where "
            "ssh -w shall carry them"
        )
    if desired.mtu < SMALLEST_MTU_6 and any(":" in item.address for item in desired.addresses):
        raise OversshError(
            f"mtu is {desired.mtu}, and addresses has one of IPv6, which takes {SMALLEST_MTU_6} bytes or more; give "
            "the device a larger mtu, or IPv4 addresses only"
        )
    if desired.incoming_table is not None:
        _check_table("incoming_table", desired.incoming_table)
    if desired.txqueuelen < 1:
        raise OversshError(f"txqueuelen is {desired.txqueuelen}; it takes 1 or more packets")
    if not desired.description.isprintable() or UNFIT & set(desired.description):
        raise OversshError(
            f"description is {desired.description!r}; it takes one line of text without quotes, backslash, % and $"
        )
    if len(desired.alias.encode()) > LONGEST_ALIAS:
        raise OversshError(f"description is too long; it takes {LONGEST_ALIAS - len(ALIAS)} bytes")
    places = [route.place for route in desired.routes]
    for place in places:
        if places.count(place) > 1:
            raise OversshError(
                f"routes has two to {place[0]} with metric {place[1]}, and the kernel keeps one; give them two metrics"
            )


def address_from(options: Mapping[str, Any]) -> Address:
    """The address in a module's option; OversshError for a wrong one."""
    text, peer = str(options["address"]), options.get("peer")
    try:
        if peer:
            mine = ipaddress.ip_address(text)
            other = ipaddress.ip_interface(str(peer))
            if mine.version != other.version:
                raise ValueError(f"{text} and {peer} are of two address families")
            return Address(str(mine), other.network.prefixlen, str(other.ip))
        whole = ipaddress.ip_interface(text)
        return Address(str(whole.ip), whole.network.prefixlen)
    except ValueError as error:
        raise OversshError(f"addresses: {error}; give an address such as 172.30.0.2 and its peer") from error


def route_from(options: Mapping[str, Any]) -> Route:
    """The route in a module's option; OversshError for a wrong one."""
    try:
        destination = ipaddress.ip_network(str(options["destination"]))
        source = str(ipaddress.ip_address(str(options["source"]))) if options.get("source") else None
        via = str(ipaddress.ip_address(str(options["via"]))) if options.get("via") else None
    except ValueError as error:
        raise OversshError(f"routes: {error}; give a destination such as 172.30.0.0/16") from error
    # The kernel has no IPv6 route without a metric.
    metric = int(options.get("metric") or 0) or (IPV6_METRIC if destination.version == 6 else 0)
    table = int(options.get("table") or MAIN_TABLE)
    _check_table("routes: table", table)
    return Route(str(destination), source, metric, via, table)


def _check_table(option: str, table: int) -> None:
    if not 1 <= table < 1 << 32 or table == LOCAL_TABLE:
        raise OversshError(
            f"{option} is {table}; a routing table has a number from 1 to {(1 << 32) - 1} other than {LOCAL_TABLE}, "
            "which is the kernel's own"
        )


def device_result(device: Device) -> dict[str, Any]:
    """A device as return values."""
    return {
        "name": device.name,
        "ours": device.ours,
        "description": device.alias[len(ALIAS) :] if device.ours else device.alias,
        "owner": device.owner,
        "group": device.group,
        "mtu": device.mtu,
        "txqueuelen": device.txqueuelen,
        "addresses": [asdict(address) for address in device.addresses],
        "routes": [asdict(route) for route in device.routes],
        "up": device.up,
        "carrier": device.carrier,
        "multi_queue": device.multi_queue,
        "forwarding": device.forwarding,
        "forwarding6": device.forwarding6,
        "failover": device.failover,
        "incoming_table": device.incoming_table,
    }
