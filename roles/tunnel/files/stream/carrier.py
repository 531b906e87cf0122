# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The TCP connection below a session: which one it is, and the kernel's figures of it."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

from wire import HELLO_SECONDS

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, net/tcp_states.h
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, INET_DIAG_INFO, TCP_ESTABLISHED = 4, 20, 2, 1
NLM_F_REQUEST, NLM_F_DUMP, NLMSG_DONE = 1, 0x300, 3
# A message's head; what is asked for; the two ends of a connection, its device and its cookie; what follows these.
MESSAGE, DIAG = struct.Struct("=IHHII"), struct.Struct("=BBBxI")
ENDS, NO_COOKIE = struct.Struct("!HH16s16s"), struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
IDENTITY, OWNER, ATTRIBUTES = slice(20, 68), slice(80, 84), 88
ATTRIBUTE = struct.Struct("=HH")
# linux/tcp.h: where these stand in struct tcp_info.
TCPI_SND_MSS, TCPI_UNACKED, TCPI_SACKED, TCPI_RTT = 16, 24, 28, 68
TCPI_NOTSENT, TCPI_MIN_RTT, TCPI_DELIVERY_RATE = 144, 148, 160


class Seen:
    """What struct tcp_info says of a connection.

    round_trip, least: of late and the shortest of some minutes, in microseconds; in_flight, unsent: bytes that are on
    their way, and that wait in its socket; rate: bytes per second that were delivered.
    """

    def __init__(self, info: bytes) -> None:
        size, unacked, sacked, self.round_trip, self.unsent, self.least = (
            int.from_bytes(info[at : at + 4], sys.byteorder)
            for at in (TCPI_SND_MSS, TCPI_UNACKED, TCPI_SACKED, TCPI_RTT, TCPI_NOTSENT, TCPI_MIN_RTT)
        )
        self.in_flight = size * (unacked - sacked)
        self.rate = int.from_bytes(info[TCPI_DELIVERY_RATE : TCPI_DELIVERY_RATE + 8], sys.byteorder)


class Carrier:
    """The TCP connection that a session goes over, as the kernel shows it to anybody (sock_diag(7))."""

    def __init__(self, family: int, identity: bytes) -> None:
        """identity: its ends, device and cookie, as the kernel spells them."""
        self.far = far_end(family, identity)
        self._socket = _diag_socket()
        # The kernel has answered when a question has been sent.
        self._socket.setblocking(False)
        body = DIAG.pack(family, socket.IPPROTO_TCP, 1 << INET_DIAG_INFO - 1, 1 << TCP_ESTABLISHED) + identity
        self._question = MESSAGE.pack(MESSAGE.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0) + body

    def look(self) -> Seen | None:
        """The kernel's present figures; None where there is no such connection (any more)."""
        try:
            self._socket.send(self._question)
            answer = self._socket.recv(65536)
        except OSError:
            return None
        if MESSAGE.unpack_from(answer)[1] != SOCK_DIAG_BY_FAMILY:
            return None
        place = ATTRIBUTES
        while place + ATTRIBUTE.size <= len(answer):
            length, kind = ATTRIBUTE.unpack_from(answer, place)
            if kind == INET_DIAG_INFO and length >= ATTRIBUTE.size + TCPI_DELIVERY_RATE + 8:
                return Seen(answer[place + ATTRIBUTE.size : place + length])
            place += max(ATTRIBUTE.size, length + 3 & ~3)
        return None


def _diag_socket() -> socket.socket:
    asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
    asking.settimeout(1.0)
    return asking


def carrier_here(connection: str) -> Carrier | None:
    """That of the session which sshd has started a process for; connection: what that has in SSH_CONNECTION."""
    try:
        client, client_port, server, server_port = connection.split()
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        far, near = (socket.inet_pton(family, address.partition("%")[0]) for address in (client, server))
        return Carrier(family, ENDS.pack(int(server_port), int(client_port), near, far) + NO_COOKIE)
    except (ValueError, OSError):
        return None


def identities() -> set[bytes]:
    """Every TCP connection of this account on this host; none where it may not ask."""
    with contextlib.suppress(OSError):
        return {identity for _family, identity in connections()}
    return set()


def carrier_of(command: list[str], before: set[bytes]) -> Carrier | None:
    """That of the ssh which this command started, where exactly one connection there is new since before."""
    ends = ends_of(command)
    if ends is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        return carrier_to(
            {
                (place[0], ends[1], socket.inet_pton(place[0], str(place[4][0]).partition("%")[0]).ljust(16, b"\0"))
                for place in socket.getaddrinfo(ends[0], None, type=socket.SOCK_STREAM)
            },
            before,
        )
    return None


def carrier_beside(first: Carrier | None, before: set[bytes]) -> Carrier | None:
    """That of another ssh to the same place, where exactly one connection there is new since before."""
    with contextlib.suppress(OSError):
        return carrier_to({first.far}, before) if first else None
    return None


def carrier_to(places: set[tuple[int, int, bytes]], before: set[bytes]) -> Carrier | None:
    """The one connection to these far ends that is new since before; None where there is none, or are several."""
    new = [
        (family, identity)
        for family, identity in connections()
        if identity not in before and far_end(family, identity) in places
    ]
    return Carrier(*new[0]) if len(new) == 1 else None


def far_end(family: int, identity: bytes) -> tuple[int, int, bytes]:
    """The family, the port and the address that a connection goes to."""
    _near_port, port, _near, address = ENDS.unpack_from(identity)
    return family, port, address


def ends_of(command: list[str]) -> tuple[str, int] | None:
    """The host and the port that an ssh command connects to; None where it goes through something else, or is none."""
    try:
        done = subprocess.run(
            [command[0], "-G", *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=HELLO_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = dict(line.partition(" ")[::2] for line in done.stdout.decode(errors="replace").splitlines())
    if any(said.get(way, "none") != "none" for way in ("proxyjump", "proxycommand")):
        return None
    try:
        return said["hostname"], int(said["port"])
    except (KeyError, ValueError):
        return None


def connections() -> Iterator[tuple[int, bytes]]:
    """The family and the identity of every TCP connection of this account on this host."""
    mine = os.getuid()
    for family in (socket.AF_INET, socket.AF_INET6):
        with _diag_socket() as asking:
            body = DIAG.pack(family, socket.IPPROTO_TCP, 0, 1 << TCP_ESTABLISHED) + bytes(ENDS.size + len(NO_COOKIE))
            flags = NLM_F_REQUEST | NLM_F_DUMP
            asking.send(MESSAGE.pack(MESSAGE.size + len(body), SOCK_DIAG_BY_FAMILY, flags, 0, 0) + body)
            more = True
            while more:
                answer = asking.recv(65536)
                place, more = 0, bool(answer)
                while place + MESSAGE.size <= len(answer):
                    length, kind = MESSAGE.unpack_from(answer, place)[:2]
                    found = answer[place : place + length]
                    if kind != SOCK_DIAG_BY_FAMILY:  # the end of it, or an error
                        more = False
                        break
                    if int.from_bytes(found[OWNER], sys.byteorder) == mine:
                        yield family, found[IDENTITY]
                    place += max(MESSAGE.size, length + 3 & ~3)
