# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send ICMP echoes (IPv4) through one device and read the answers that come back through it."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from .._core.errors import OversshError

IPV4_HEADER = 20
ECHO_REPLY, UNREACHABLE, ECHO = 0, 3, 8
ERRORS = (UNREACHABLE, 11, 12)  # these carry the beginning of the packet that they answer
# What Python's socket module does not name: buffers that may be larger than the host's setting (socket(7)).
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
_HEADER = struct.Struct("!BBHHH")


@dataclass(frozen=True)
class Answer:
    """The answer: its sender, the delay, and whether it is a reply or an ICMP error about the echo."""

    source: str
    rtt_ms: float
    reply: bool


def ping(address: str, device: str, timeout: float, size: int = 0) -> Answer | None:
    """Send one echo through the device and wait for an answer that came through it; None where there is none.

    timeout: in seconds; size: of the whole packet in bytes, at least that of an echo.

    An error from the other side, such as a firewall's "administratively prohibited", is an answer too: it has crossed
    the link. A device that is missing, down or without a route gives None.
    """
    identifier, sequence = struct.unpack("!HH", os.urandom(4))
    with _raw() as link:
        sent = time.monotonic()
        try:
            _bind(link, device)
            link.sendto(echo(identifier, sequence, size), (address, 0))
            return _answer(link, identifier, sequence, sent, sent + timeout)
        except OSError:
            return None


def _answer(link: socket.socket, identifier: int, sequence: int, sent: float, deadline: float) -> Answer | None:
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([link], [], [], left)[0]:
            return None
        packet, (source, _port) = link.recvfrom(65535)
        kind = answer_to(packet, identifier, sequence)
        if kind is not None:
            return Answer(source, round((time.monotonic() - sent) * 1000, 3), kind == ECHO_REPLY)


def volley(
    address: str, device: str, size: int, ahead: int, seconds: float, enough: Callable[[list[float]], bool]
) -> list[float]:
    """Keep echoes in flight through the device; return the times of the replies, in seconds since the first echo.

    size: of each packet in bytes; ahead: the most in flight, two at first and one more with each reply; enough: whether
    the times so far suffice. It ends then, after so many seconds, or where the device is missing, down or without a
    route.
    """
    (identifier,) = struct.unpack("!H", os.urandom(2))
    times: list[float] = []
    with _raw() as link:
        started = time.monotonic()
        sequence = answered = 0
        try:
            _bind(link, device)
            for buffer in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
                # The kernel counts more for a packet than its bytes.
                link.setsockopt(socket.SOL_SOCKET, buffer, 4 * ahead * size)
            while not enough(times):
                with suppress(BlockingIOError):  # nobody reads the device, and it may stay so
                    while sequence - answered < min(ahead, 2 + len(times)):
                        link.sendto(echo(identifier, sequence, size), socket.MSG_DONTWAIT, (address, 0))
                        sequence += 1
                left = started + seconds - time.monotonic()
                if left <= 0 or not select.select([link], [], [], left)[0]:
                    break
                replied = replied_to(link.recv(65535), identifier)
                if replied is not None:
                    # Those before it are not coming.
                    answered = max(answered, replied + 1)
                    times.append(time.monotonic() - started)
        except OSError:
            return times
    return times


def _raw() -> socket.socket:
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except PermissionError as error:
        raise OversshError("can't send an ICMP echo: that takes root on the host; set become: true") from error


def _bind(link: socket.socket, device: str) -> None:
    link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")


def echo(identifier: int, sequence: int, size: int = 0) -> bytes:
    """An echo request with its checksum; size: of the whole IPv4 packet in bytes, at least what it needs."""
    body = b"overssh".ljust(size - IPV4_HEADER - _HEADER.size, b"\0")
    draft = _HEADER.pack(ECHO, 0, 0, identifier, sequence) + body
    return _HEADER.pack(ECHO, 0, checksum(draft), identifier, sequence) + body


def answer_to(packet: bytes, identifier: int, sequence: int) -> int | None:
    """The ICMP type of an IPv4 packet that answers this echo with a reply or an error; None otherwise."""
    icmp = _payload(packet)
    if icmp is None:
        return None
    kind, its_id, its_sequence = _fields(icmp)
    if kind == ECHO_REPLY:
        return ECHO_REPLY if (its_id, its_sequence) == (identifier, sequence) else None
    if kind in ERRORS:
        inner = _payload(icmp[_HEADER.size :])
        if inner is not None:
            about, its_id, its_sequence = _fields(inner)
            if (about, its_id, its_sequence) == (ECHO, identifier, sequence):
                return kind
    return None


def replied_to(packet: bytes, identifier: int) -> int | None:
    """The sequence number in an IPv4 packet that replies to an echo with this identifier; None otherwise."""
    icmp = _payload(packet)
    if icmp is None:
        return None
    kind, its_id, its_sequence = _fields(icmp)
    return its_sequence if (kind, its_id) == (ECHO_REPLY, identifier) else None


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def _fields(icmp: bytes) -> tuple[int, int, int]:
    """Type, identifier and sequence number."""
    kind, _code, _sum, identifier, sequence = _HEADER.unpack_from(icmp)
    return kind, identifier, sequence


def _payload(packet: bytes) -> bytes | None:
    """The ICMP message in an IPv4 packet; empty where there is none, or its header is not whole."""
    if len(packet) < IPV4_HEADER or packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_ICMP:
        return None
    icmp = packet[(packet[0] & 0xF) * 4 :]
    return icmp if len(icmp) >= _HEADER.size else None
