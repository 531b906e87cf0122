# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tun devices of this host as the kernel has them; only looks."""

from __future__ import annotations

import contextlib
import grp
import ipaddress
import os
import pwd
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .._core.errors import OversshError
from .._core.files import read_text
from .._linux import tun_ioctl
from .._linux.systemd import UNIT_FOLDER
from .._watcher.devices import names_in
from . import routing
from .model import ALIAS, LOCAL_TABLE, NEW_TXQUEUELEN, Address, Device, Route

try:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError
except ImportError:
    IPRoute = None

# Numbers of linux/rtnetlink.h and linux/if.h.
IFF_UP = 0x1
RTPROT_KERNEL, RTN_UNICAST = 2, 1
# A device for whole IP packets.
PLAIN = tun_ioctl.IFF_TUN | tun_ioctl.IFF_NO_PI


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
    return _devices(kernel, [link for link in kernel.get_links() if _is_tun(_name(link))])


def read_named(kernel: Any, names: Iterable[str]) -> dict[str, Device]:
    """The tun devices of these names, as far as there are such, and no other: a hub has hundreds."""
    links: list[Any] = []
    for name in names:
        index = read_text(sys_path(name, "ifindex"))
        links += kernel.get_links(int(index)) if index and _is_tun(name) else ()
    return {device.name: device for device in _devices(kernel, links)} if links else {}


def our_names() -> list[str]:
    """The names of all devices of ours, those too that are to come at the next boot."""
    here = [
        name for name in os.listdir("/sys/class/net") if (read_text(sys_path(name, "ifalias")) or "").startswith(ALIAS)
    ]
    return sorted({*filter(_is_tun, here), *names_in(UNIT_FOLDER)})


def sys_path(name: str, what: str) -> str:
    """Where the kernel shows something of a device."""
    return f"/sys/class/net/{name}/{what}"


def _is_tun(name: str) -> bool:
    return os.path.exists(sys_path(name, "tun_flags"))


def _name(link: Any) -> str:
    return str(link.get_attr("IFLA_IFNAME"))


def _devices(kernel: Any, links: Iterable[Any]) -> list[Device]:
    """The kernel tells addresses, routes and rules of all devices at once, or takes as long for those of one."""
    addresses, routes, tables = _addresses(kernel), _routes(kernel), routing.incoming_tables(kernel)
    return [_device(link, addresses[link["index"]], routes[link["index"]], tables.get(_name(link))) for link in links]


def _device(link: Any, addresses: list[Address], routes: list[Route], incoming_table: int | None) -> Device:
    name = _name(link)
    flags = tun_ioctl.flags(name)
    queue = link.get_attr("IFLA_TXQLEN")
    return Device(
        name=name,
        is_tun=flags & PLAIN == PLAIN,
        multi_queue=bool(flags & tun_ioctl.IFF_MULTI_QUEUE),
        alias=link.get_attr("IFLA_IFALIAS") or "",
        owner=_named(read_text(sys_path(name, "owner")), lambda uid: pwd.getpwuid(uid).pw_name),
        group=_named(read_text(sys_path(name, "group")), lambda gid: grp.getgrgid(gid).gr_name),
        mtu=link.get_attr("IFLA_MTU"),
        txqueuelen=NEW_TXQUEUELEN if queue is None else queue,
        addresses=tuple(addresses),
        routes=tuple(routes),
        up=bool(link["flags"] & IFF_UP),
        carrier=bool(link.get_attr("IFLA_CARRIER")),
        forwarding=routing.forwarding(name),
        forwarding6=routing.forwarding_6(name),
        failover=routing.failover(name),
        incoming_table=incoming_table,
        offload=tun_ioctl.offloads(name),
        vnet_header=bool(flags & tun_ioctl.IFF_VNET_HDR),
    )


def _named(number: str | None, name_of: Callable[[int], str]) -> str | None:
    """An account or a group as its name; the number where it has none, None where there is no owner."""
    value = int((number or "-1").strip())
    if value == tun_ioctl.NOBODY_IN_PARTICULAR:
        return None
    try:
        return name_of(value)
    except KeyError:
        return str(value)


def _addresses(kernel: Any) -> dict[int, list[Address]]:
    """The addresses of each device, by its index."""
    found: dict[int, list[Address]] = defaultdict(list)
    for entry in kernel.get_addr():
        other, mine = entry.get_attr("IFA_ADDRESS"), entry.get_attr("IFA_LOCAL")
        if ipaddress.ip_address(other).is_link_local:
            continue  # the kernel's own, on every IPv6 interface
        prefix = entry["prefixlen"]
        found[entry["index"]].append(Address(mine, prefix, other) if mine and mine != other else Address(other, prefix))
    return found


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
