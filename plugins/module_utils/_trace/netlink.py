# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the kernel's trace messages over netlink. Source: linux/netfilter/nf_tables.h, linux/netlink.h.

`nft monitor trace` prints them too, in words that differ between versions, and without a sign that it listens.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .._core.errors import OversshError
from .._linux import netlink
from .._nftables.ruleset import ChainKey

NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
NFNLGRP_NFTRACE = 9
SO_RCVBUFFORCE = 33
# Of nlmsg_type: the subsystem nf_tables, and its NFT_MSG_TRACE.
TRACE = 10 << 8 | 17
# Bytes: a burst of packets through long chains fits.
BUFFER = 4 << 20
# More messages than fit in there: the kernel gives twice the room asked for, and counts 512 bytes and more for each.
MOST = 2 * BUFFER // 512

FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
TYPES = {1: "policy", 2: "return", 3: "rule"}
CODES = {-1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return"}
VERDICTS = {0: "drop", 1: "accept", 2: "stolen", 3: "queue", 4: "repeat"}
# NFTA_TRACE_...
TABLE, CHAIN, HANDLE, TYPE, VERDICT, ID, NETWORK, TRANSPORT = 1, 2, 3, 4, 5, 6, 8, 9
IIF, OIF, MARK, POLICY = 10, 12, 14, 16
# NFTA_VERDICT_CODE, within a verdict.
CODE = 1

OVERRUN = (
    "the kernel traces more packets than can be read, and this one may be among those that were lost; somebody else's "
    "rule sets nftrace for many packets: remove it, or have it match fewer"
)


class OverrunError(OversshError):
    """The kernel had more messages than the socket had room for; some are lost."""


@dataclass(frozen=True)
class Header:
    """The packet's header as a base chain first sees it; ports are None where it has none.

    iif, oif: indices of its devices, 0 for none.
    """

    source: str
    destination: str
    protocol: int
    source_port: int | None
    port: int | None
    iif: int = 0
    oif: int = 0
    mark: int = 0


@dataclass(frozen=True)
class Message:
    """One step of one packet through the chains; packet: the kernel's number for it.

    kind: "rule", "return" or "policy"; handle: 0 at a chain's end; header: only in a base chain's first message.
    """

    packet: int
    key: ChainKey
    kind: str
    verdict: str
    handle: int = 0
    header: Header | None = None


# pyroute2 has no class for these messages. With one, its decoder reads all that are recorded alike, but takes 61 to 67
# microseconds for each, and these lines 11 (0.7.2, 0.7.7, 0.8.1 and 0.9.6 on Python 3.11). At 22,000 a second it falls
# behind and loses some; these lines don't. Its NetlinkSocket is no help: that of 0.9 has no add_membership, and keeps
# what it has read where select doesn't see it. The watcher needs .._linux.netlink without pyroute2 in any case.
def messages(data: bytes) -> Iterator[Message]:
    """The trace messages in one read of the socket; other messages are skipped."""
    for received in netlink.messages(data):
        # struct nfgenmsg: the family of the table, two more fields.
        if received.kind == TRACE and len(received.body) >= 4:
            message = _message(received.body[0], dict(netlink.attributes(received.body[4:])))
            if message is not None:
                yield message


def _message(family: int, values: dict[int, bytes]) -> Message | None:
    kind = TYPES.get(_number(values.get(TYPE)))
    if kind is None or ID not in values:
        return None
    key = ChainKey(FAMILIES.get(family, str(family)), _text(values.get(TABLE)), _text(values.get(CHAIN)))
    return Message(
        packet=_number(values[ID]),
        key=key,
        kind=kind,
        verdict=_verdict(values),
        handle=_number(values.get(HANDLE)),
        header=_header(values),
    )


def _verdict(values: dict[int, bytes]) -> str:
    if POLICY in values:
        return VERDICTS.get(_number(values[POLICY]), "")
    code = dict(netlink.attributes(values.get(VERDICT, b""))).get(CODE)
    if code is None or len(code) != 4:
        return ""
    number: int = struct.unpack("!i", code)[0]
    # A drop may carry an error in the upper half; a queue its number.
    return CODES.get(number) or VERDICTS.get(number & 0xFF, "")


def _header(values: dict[int, bytes]) -> Header | None:
    network, transport = values.get(NETWORK, b""), values.get(TRANSPORT, b"")
    read = _network(network)
    if read is None:
        return None
    source, destination, protocol = read
    has_ports = protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) and len(transport) >= 4
    ports = struct.unpack_from("!HH", transport) if has_ports else (None, None)
    devices = {"iif": _number(values.get(IIF)), "oif": _number(values.get(OIF))}
    return Header(source, destination, protocol, ports[0], ports[1], **devices, mark=_number(values.get(MARK)))


def _network(header: bytes) -> tuple[str, str, int] | None:
    """Source, destination and protocol of an IP header."""
    if len(header) >= 20 and header[0] >> 4 == 4:
        return str(ipaddress.IPv4Address(header[12:16])), str(ipaddress.IPv4Address(header[16:20])), header[9]
    if len(header) >= 40 and header[0] >> 4 == 6:
        return str(ipaddress.IPv6Address(header[8:24])), str(ipaddress.IPv6Address(header[24:40])), header[6]
    return None


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", "big")


def _text(value: bytes | None) -> str:
    return (value or b"").rstrip(b"\0").decode(errors="replace")


class Monitor:
    """Receives trace messages from its creation on."""

    def __init__(self) -> None:
        # The number of messages from before an overrun that may still be unread.
        self._stale = 0
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
            self._socket.bind((0, 0))
            # More than an account may have by itself; where root may not either, the usual size has to do.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTRACE)
        except OSError as error:
            raise OversshError(
                f"this kernel does not tell how it traces packets ({error.strerror}); it needs nf_tables, and the task "
                "root's rights: set become: true"
            ) from error

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_unused: Any) -> None:
        self._socket.close()

    def read(self, timeout: float) -> list[Message]:
        """The messages received; empty after timeout seconds without any. OverrunError where some are lost."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                data = self._socket.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._stale = 0
                if not select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    return []
                continue
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    self._stale = MOST
                    raise OverrunError(OVERRUN) from error
                raise OversshError(f"can't read what the kernel traced: {error.strerror}") from error
            # The kernel speaks of an overrun before it gives what it told until then, and adds nothing until that is
            # read: ways that begin there have no end.
            if self._stale:
                self._stale -= 1
            elif found := list(messages(data)):
                return found
            if time.monotonic() > deadline:
                return []
