# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's network devices with their addresses: what looks at devices looks here.

The kernel is asked over netlink, without pyroute2: that takes 120 to 150 ms to be imported (0.9.7), which each module
that looks would wait for; a host may lack it, and preflight is to say so; the watcher has the standard library alone.
`ip -json` does not tell whether a process holds a tun device that is down, and /sys/class/net has no addresses.
Sources: linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/if_tun.h.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .._core.errors import OversshError
from .netlink import HEADER, Message, attribute, attributes, messages

NETLINK_ROUTE = 0
RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 20, 22
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x10, 0x300
# A list that changed meanwhile is asked for again so often at most; one that always changes is near enough.
TRIES = 5
# Bytes: more than the kernel tells at once.
AT_ONCE = 1 << 17
# struct ifinfomsg: family, type, index, flags, change; struct ifaddrmsg: family, prefix, flags, scope, index.
LINK, ADDRESS = struct.Struct("=BxHiII"), struct.Struct("=BBBBI")
NUMBER, PORT = struct.Struct("=I"), struct.Struct("!H")
# Attributes of a link; within what is about its kind; and of a request, that counters are left out.
IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_TXQLEN = 3, 4, 10, 13
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_EXT_MASK, IFLA_CARRIER = 18, 20, 29, 33
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND = 1, 2, 4
IFLA_TUN_OWNER, IFLA_TUN_GROUP, IFLA_TUN_TYPE, IFLA_TUN_PI, IFLA_TUN_VNET_HDR, IFLA_TUN_MULTI_QUEUE = 1, 2, 3, 4, 5, 7
IFLA_VXLAN_ID, IFLA_VXLAN_PORT = 1, 15
# With these the kernel lets no device without them have the port: gbp, external, gpe.
IFLA_VXLAN_ALONE = (23, 25, 27)
RTEXT_FILTER_SKIP_STATS = 8
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFF_UP = 0x1
IFF_TUN, IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x0002, 0x0100, 0x1000, 0x4000
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}


@dataclass(frozen=True)
class Tun:
    """What a tun or tap device is.

    flags: of linux/if_tun.h, how it was made and is open; owner, group: numbers, None where it is anybody's.
    """

    flags: int
    owner: int | None = None
    group: int | None = None

    @property
    def whole_packets(self) -> bool:
        """Whether it carries IP packets with nothing before them, as OpenSSH needs it."""
        return self.flags & (IFF_TUN | IFF_NO_PI) == IFF_TUN | IFF_NO_PI

    @property
    def multi_queue(self) -> bool:
        """Whether it was made for several queues."""
        return bool(self.flags & IFF_MULTI_QUEUE)


@dataclass(frozen=True)
class Vxlan:
    """What a VXLAN device is; alone: whether it lets no device of another kind have its port."""

    port: int
    vni: int
    alone: bool


@dataclass(frozen=True)
class Link:
    """A network device without its addresses.

    kind: the kernel's word, "" of hardware; mtu: bytes; txqueuelen: packets; carrier: whether it is connected, and of a
    tun whether a process holds it, also where it is not up; port_of: the name of the device that it is a port of, with
    port_kind for that one's kind, "" where there is none; tun, vxlan: None where it is none.
    """

    name: str
    mtu: int = 0
    index: int = 0
    kind: str = ""
    alias: str = ""
    txqueuelen: int = 0
    up: bool = False
    carrier: bool = False
    port_of: str = ""
    port_kind: str = ""
    tun: Tun | None = None
    vxlan: Vxlan | None = None


@dataclass(frozen=True)
class Address:
    """An address of a device; prefix: in bits, of the peer where the device has one; scope: as `ip` calls it."""

    own: str
    prefix: int
    peer: str | None = None
    scope: str = "global"

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.own else 4


@dataclass(frozen=True)
class Device(Link):
    """A network device with its addresses."""

    addresses: tuple[Address, ...] = ()

    @property
    def own(self) -> tuple[str, ...]:
        """Its own addresses, without prefix."""
        return tuple(address.own for address in self.addresses)


def names() -> frozenset[str]:
    """The names of all devices of the host."""
    return frozenset(name for _index, name in socket.if_nameindex())


def find(name: str) -> Link | None:
    """The device of that name, None where there is none."""
    with _kernel() as kernel:
        return _find(kernel, attribute(IFLA_IFNAME, name.encode() + b"\0"))


def read_links() -> tuple[Link, ...]:
    """All devices of the host, without their addresses."""
    with _kernel() as kernel:
        return _links(kernel)


def read_devices() -> tuple[Device, ...]:
    """All devices of the host with their addresses, in the order in which they were made."""
    with _kernel() as kernel:
        links, addresses = _links(kernel), _addresses(kernel)
    return tuple(Device(**vars(link), addresses=tuple(addresses.get(link.index, ()))) for link in links)


def read_addresses() -> dict[int, list[Address]]:
    """The addresses of each device that has any, by its index."""
    with _kernel() as kernel:
        return _addresses(kernel)


def addresses_of(index: int) -> list[Address]:
    """Those of the device with this index."""
    with _kernel() as kernel:
        return _addresses(kernel, index).get(index, [])


def _kernel() -> socket.socket:
    """A conversation with the kernel; OversshError where there can be none."""
    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
    except OSError as error:
        raise OversshError(f"the kernel can't be asked about its devices: {error.strerror}") from error


def _find(kernel: socket.socket, which: bytes, index: int = 0) -> Link | None:
    request = LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + which + _without_counters()
    try:
        (told,) = _ask(kernel, RTM_GETLINK, request, NLM_F_REQUEST)
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ERANGE, errno.EINVAL):  # the last two: no device can have such a name
            return None
        raise OversshError(f"the kernel does not tell of a device: {error.strerror}") from error
    values = dict(attributes(told.body[LINK.size :]))
    master = _number(values, IFLA_MASTER)
    above = _find(kernel, b"", master) if master else None
    return _link(told, values, {master: above.name} if above else {})


def _links(kernel: socket.socket) -> tuple[Link, ...]:
    told = _dump(kernel, RTM_GETLINK, LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _without_counters())
    read = [(message, dict(attributes(message.body[LINK.size :]))) for message in told]
    named = {LINK.unpack_from(message.body)[2]: _text(values, IFLA_IFNAME) for message, values in read}
    return tuple(sorted((_link(message, values, named) for message, values in read), key=lambda link: link.index))


def _addresses(kernel: socket.socket, only: int | None = None) -> dict[int, list[Address]]:
    found: dict[int, list[Address]] = {}
    for message in _dump(kernel, RTM_GETADDR, ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        family, prefix, _flags, scope, index = ADDRESS.unpack_from(message.body)
        if only not in (None, index):
            continue
        values = dict(attributes(message.body[ADDRESS.size :]))
        # Where there is a peer, or with IPv4, the address is the other end's, and may be this one's.
        if family in (socket.AF_INET, socket.AF_INET6) and IFA_ADDRESS in values:
            other = socket.inet_ntop(family, values[IFA_ADDRESS])
            own = socket.inet_ntop(family, values[IFA_LOCAL]) if IFA_LOCAL in values else other
            peer = other if other != own else None
            found.setdefault(index, []).append(Address(own, prefix, peer, SCOPES.get(scope, str(scope))))
    return found


def _without_counters() -> bytes:
    return attribute(IFLA_EXT_MASK, NUMBER.pack(RTEXT_FILTER_SKIP_STATS))


def _dump(kernel: socket.socket, kind: int, request: bytes) -> list[Message]:
    """All that the kernel has of a kind."""
    told: list[Message] = []
    for _try in range(TRIES):
        try:
            told = list(_ask(kernel, kind, request, NLM_F_REQUEST | NLM_F_DUMP))
        except OSError as error:
            raise OversshError(f"the kernel does not tell of its devices: {error.strerror}") from error
        if not any(message.flags & NLM_F_DUMP_INTR for message in told):
            break
    return [message for message in told if message.kind != NLMSG_DONE]


def _ask(kernel: socket.socket, kind: int, request: bytes, flags: int) -> Iterator[Message]:
    """What the kernel answers, of a list with its end; OSError where it refuses."""
    kernel.send(HEADER.pack(HEADER.size + len(request), kind, flags, 0, 0) + request)
    while True:
        for message in messages(kernel.recv(AT_ONCE)):
            ends = message.kind in (NLMSG_ERROR, NLMSG_DONE)
            refused = -struct.unpack_from("=i", message.body)[0] if ends else 0
            if refused:
                raise OSError(refused, os.strerror(refused))
            yield message
            if ends or flags & NLM_F_DUMP != NLM_F_DUMP:
                return


def _link(message: Message, values: Mapping[int, bytes], named: Mapping[int, str]) -> Link:
    _family, _type, index, flags, _change = LINK.unpack_from(message.body)
    info = dict(attributes(values.get(IFLA_LINKINFO, b"")))
    data = dict(attributes(info.get(IFLA_INFO_DATA, b"")))
    kind = _text(info, IFLA_INFO_KIND)
    return Link(
        name=_text(values, IFLA_IFNAME),
        mtu=_number(values, IFLA_MTU),
        index=index,
        kind=kind,
        alias=_text(values, IFLA_IFALIAS),
        txqueuelen=_number(values, IFLA_TXQLEN),
        up=bool(flags & IFF_UP),
        carrier=_byte(values, IFLA_CARRIER) == 1,
        port_of=named.get(_number(values, IFLA_MASTER), ""),
        port_kind=_text(info, IFLA_INFO_SLAVE_KIND),
        tun=_tun(data) if kind == "tun" else None,
        vxlan=_vxlan(data) if kind == "vxlan" else None,
    )


def _tun(data: Mapping[int, bytes]) -> Tun:
    flags = _byte(data, IFLA_TUN_TYPE)
    for kind, flag in ((IFLA_TUN_MULTI_QUEUE, IFF_MULTI_QUEUE), (IFLA_TUN_VNET_HDR, IFF_VNET_HDR)):
        flags |= flag if _byte(data, kind) else 0
    flags |= 0 if _byte(data, IFLA_TUN_PI) else IFF_NO_PI
    owner, group = (NUMBER.unpack(data[kind])[0] if kind in data else None for kind in (IFLA_TUN_OWNER, IFLA_TUN_GROUP))
    return Tun(flags, owner, group)


def _vxlan(data: Mapping[int, bytes]) -> Vxlan:
    port = PORT.unpack(data[IFLA_VXLAN_PORT])[0] if IFLA_VXLAN_PORT in data else 0
    # Some of them have no value and are there or not.
    alone = any(data[kind] != b"\0" for kind in IFLA_VXLAN_ALONE if kind in data)
    return Vxlan(port, _number(data, IFLA_VXLAN_ID), alone)


def _number(values: Mapping[int, bytes], kind: int) -> int:
    return int(NUMBER.unpack(values[kind])[0]) if kind in values else 0


def _byte(values: Mapping[int, bytes], kind: int) -> int:
    return values[kind][0] if kind in values else 0


def _text(values: Mapping[int, bytes], kind: int) -> str:
    return values.get(kind, b"").rstrip(b"\0").decode(errors="replace")


def carriers(devices: Iterable[Device], address: str) -> tuple[Device, ...]:
    """The devices that have this address; a hub has the same one on each of its tunnels."""
    return tuple(device for device in devices if _same(device.own, address))


def smallest_mtu(devices: Iterable[Device], address: str) -> int | None:
    """The smallest MTU of the devices that have this address, None where none has it."""
    return min((device.mtu for device in carriers(devices, address)), default=None)


def _same(addresses: Iterable[str], wanted: str) -> bool:
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError:
        return False
    return any(ipaddress.ip_address(one) == address for one in addresses)
