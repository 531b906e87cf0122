# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first packet of a connection, as bytes; pure."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Union

from .icmp import checksum

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

PROTOCOLS = {
    "tcp": socket.IPPROTO_TCP,
    "udp": socket.IPPROTO_UDP,
    "icmp": socket.IPPROTO_ICMP,
    "icmpv6": socket.IPPROTO_ICMPV6,
}
ECHO_REQUEST = {"icmp": 8, "icmpv6": 128}
SYN, WINDOW, TTL = 0x02, 64240, 64
DATA = b"overssh"


def first_packet(protocol: str, source: Address, destination: Address, source_port: int, port: int) -> bytes:
    """An IP packet: a TCP SYN, a UDP datagram, or an ICMP echo with source_port as its identifier."""
    if protocol == "tcp":
        offset = 5 << 4
        fields = (source_port, port, 1, 0, offset, SYN, WINDOW)
        body = _summed("!HHIIBBH", fields, b"\0\0", protocol, source, destination)
    elif protocol == "udp":
        body = _summed("!HHH", (source_port, port, 8 + len(DATA)), DATA, protocol, source, destination)
    else:
        kind = ECHO_REQUEST[protocol]
        body = _summed("!BB", (kind, 0), struct.pack("!HH", source_port, 1) + DATA, protocol, source, destination)
    return _ip_header(PROTOCOLS[protocol], source, destination, len(body)) + body


def _summed(
    layout: str, fields: tuple[int, ...], rest: bytes, protocol: str, source: Address, destination: Address
) -> bytes:
    """The fields, the checksum of everything, the rest."""
    before = struct.pack(layout, *fields)
    length = len(before) + 2 + len(rest)
    pseudo = b""
    if protocol != "icmp":
        pseudo = source.packed + destination.packed + struct.pack("!II", length, PROTOCOLS[protocol])
    return before + struct.pack("!H", checksum(pseudo + before + b"\0\0" + rest) or 0xFFFF) + rest


def _ip_header(protocol: int, source: Address, destination: Address, length: int) -> bytes:
    addresses = source.packed + destination.packed
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, length, protocol, TTL) + addresses
    draft = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, TTL, protocol, 0) + addresses
    return draft[:10] + struct.pack("!H", checksum(draft)) + draft[12:]
