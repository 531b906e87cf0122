# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tun devices of this host as the kernel has them; only looks."""

from __future__ import annotations

import contextlib
import grp
import ipaddress
import pwd
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .._core.errors import OversshError
from .._linux import tun_ioctl
from .._linux.devices import IFF_VNET_HDR, Link, Tun, find, read_addresses, read_links
from .._linux.devices import Address as DeviceAddress
from .._linux.systemd import UNIT_FOLDER
from .._watcher.devices import names_in
from . import routing
from .model import ALIAS, LOCAL_TABLE, Address, Device, Route

try:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError
except ImportError:
    IPRoute = None

# Numbers of linux/rtnetlink.h.
RTPROT_KERNEL, RTN_UNICAST = 2, 1


@contextlib.contextmanager
def netlink() -> Iterator[Any]:
    """A conversation with the kernel; what it refuses arrives as OversshError."""
    if IPRoute is None:
        raise OversshError(
            f"the Python library pyroute2 is missing for {sys.executable} on this host; install the package "
            "python3-pyroute2"
        )
    try:
        with IPRoute() as kernel:
            yield kernel
    except NetlinkError as error:
        raise OversshError(f"the kernel refuses it: {error.args[1] if len(error.args) > 1 else error}") from error


def read_devices(kernel: Any) -> list[Device]:
    """Every tun device of this host, those of others too."""
    return _devices(kernel, read_links())


def read_named(kernel: Any, names: Iterable[str]) -> dict[str, Device]:
    """The tun devices of these names, as far as there are such, and no other: a hub has hundreds."""
    return {device.name: device for device in _devices(kernel, filter(None, map(find, names)))}


def our_names() -> list[str]:
    """The names of all devices of ours, those too that are to come at the next boot."""
    here = (link.name for link in read_links() if link.tun is not None and link.alias.startswith(ALIAS))
    return sorted({*here, *names_in(UNIT_FOLDER)})


def _devices(kernel: Any, links: Iterable[Link]) -> list[Device]:
    """The tun devices among them.

    The kernel tells addresses, routes and rules of all devices at once, or takes as long for those of one.
    """
    tuns = [(link, link.tun) for link in links if link.tun is not None]
    if not tuns:
        return []
    addresses, routes, tables = read_addresses(), _routes(kernel), routing.incoming_tables(kernel)
    return [
        _device(link, tun, _addresses(addresses.get(link.index, ())), routes[link.index], tables.get(link.name))
        for link, tun in tuns
    ]


def _device(
    link: Link, tun: Tun, addresses: tuple[Address, ...], routes: list[Route], incoming_table: int | None
) -> Device:
    return Device(
        name=link.name,
        is_tun=tun.whole_packets,
        multi_queue=tun.multi_queue,
        alias=link.alias,
        owner=_named(tun.owner, lambda uid: pwd.getpwuid(uid).pw_name),
        group=_named(tun.group, lambda gid: grp.getgrgid(gid).gr_name),
        mtu=link.mtu,
        txqueuelen=link.txqueuelen,
        addresses=addresses,
        routes=tuple(routes),
        up=link.up,
        carrier=link.carrier,
        forwarding=routing.forwarding(link.name),
        forwarding6=routing.forwarding_6(link.name),
        failover=routing.failover(link.name),
        incoming_table=incoming_table,
        offload=tun_ioctl.offloads(link.name),
        vnet_header=bool(tun.flags & IFF_VNET_HDR),
    )


def _named(number: int | None, name_of: Callable[[int], str]) -> str | None:
    """An account or a group as its name; the number where it has none, None where there is no owner."""
    if number is None:
        return None
    try:
        return name_of(number)
    except KeyError:
        return str(number)


def _addresses(found: Iterable[DeviceAddress]) -> tuple[Address, ...]:
    """Those that somebody gave the device, without the kernel's own on every IPv6 interface."""
    return tuple(
        Address(each.own, each.prefix, each.peer)
        for each in found
        if not ipaddress.ip_address(each.peer or each.own).is_link_local
    )


def _routes(kernel: Any) -> dict[int, list[Route]]:
    """The routes through each device, by its index."""
    found: dict[int, list[Route]] = defaultdict(list)
    for family in routing.FAMILIES:
        everywhere = "0.0.0.0" if family == routing.AF_INET else "::"  # noqa: S104 (a default route's destination)
        for entry in kernel.get_routes(family=family):
            table = entry.get_attr("RTA_TABLE") or entry["table"]
            if entry["proto"] == RTPROT_KERNEL or entry["type"] != RTN_UNICAST or table == LOCAL_TABLE:
                continue
            found[entry.get_attr("RTA_OIF")].append(
                Route(
                    destination=f"{entry.get_attr('RTA_DST') or everywhere}/{entry['dst_len']}",
                    source=entry.get_attr("RTA_PREFSRC"),
                    metric=entry.get_attr("RTA_PRIORITY") or 0,
                    via=entry.get_attr("RTA_GATEWAY"),
                    table=table,
                )
            )
    return found
