# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends packets of one kind. By itself it is a program for a second host: it goes to the background, tells its process,
sends a few packets a second, and ends after a while whatever happens. Standard library only.

    probe.py '{"protocol": "tcp", "destination": "192.0.2.1", "port": 22, "seconds": 10}'
    probe.py '{"stop": 4711}'
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from typing import Any

# Stands in the command line of such a program, which is its text.
MARK = "overssh-trace-probe"
# Seconds between two packets.
PAUSE = 0.25
ECHO_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
ICMP = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}


class Sender:
    """Sends one packet of the protocol to destination (an address) and port with every send()."""

    def __init__(self, probe: Mapping[str, Any]) -> None:
        """probe: protocol and destination, and optionally port, source and source_port."""
        self._protocol = str(probe["protocol"])
        self._destination = str(probe["destination"])
        self._port = int(probe.get("port") or 0)
        self._source = str(probe.get("source") or "")
        self._source_port = int(probe.get("source_port") or 0)
        self._family = socket.AF_INET6 if ":" in self._destination else socket.AF_INET
        self._kept: socket.socket | None = None

    def send(self) -> None:
        """Send one packet; a refusal by the network or by this host's firewall is no error here."""
        self.close()
        self._kept = self._open()
        self._kept.setblocking(False)
        with contextlib.suppress(OSError):
            if self._protocol == "tcp":
                self._kept.connect((self._destination, self._port))
            elif self._protocol == "udp":
                self._kept.sendto(b"overssh", (self._destination, self._port))
            else:
                self._kept.sendto(_echo(self._family), (self._destination, 0))

    def close(self) -> None:
        """Close the last packet's socket; TCP may repeat that packet until then."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _open(self) -> socket.socket:
        if self._protocol == "tcp":
            found = socket.socket(self._family, socket.SOCK_STREAM)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif self._protocol == "udp":
            found = socket.socket(self._family, socket.SOCK_DGRAM)
        else:
            found = self._icmp()
        if self._source or self._source_port:
            try:
                found.bind((self._source, self._source_port))
            except OSError:
                # An address that is put in its place on the way isn't one of this host's.
                with contextlib.suppress(OSError):
                    found.bind(("", self._source_port))
        return found

    def _icmp(self) -> socket.socket:
        """A socket that anybody may have, where the host lets them; else root's."""
        try:
            return socket.socket(self._family, socket.SOCK_DGRAM, ICMP[self._family])
        except OSError:
            return socket.socket(self._family, socket.SOCK_RAW, ICMP[self._family])


def _echo(family: int) -> bytes:
    """An echo request; the kernel fills in what is missing, but for a raw IPv4 socket, where this sum is right."""
    identifier = os.getpid() & 0xFFFF
    words = (ECHO_REQUEST[socket.AddressFamily(family)] << 8, identifier, 1)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", words[0] >> 8, 0, 0xFFFF - total, identifier, 1)


def run(probe: Mapping[str, Any]) -> None:
    """Send until probe["seconds"] have passed."""
    deadline = time.monotonic() + float(probe["seconds"])
    sender = Sender(probe)
    while time.monotonic() < deadline:
        sender.send()
        time.sleep(PAUSE)
    sender.close()


def stop(process: int) -> None:
    """End the sender with this process id, where it still runs."""
    with contextlib.suppress(OSError), open(f"/proc/{process}/cmdline", "rb") as opened:
        if MARK.encode() in opened.read():
            os.kill(process, signal.SIGTERM)


def main(argument: str) -> int:
    """Send one packet in the foreground, as proof that it can be sent at all, and the rest in the background."""
    probe = json.loads(argument)
    if "stop" in probe:
        stop(int(probe["stop"]))
        return 0
    try:
        Sender(probe).send()
    except OSError as error:
        sys.stderr.write(f"can't send {probe['protocol']} to {probe['destination']}: {error}\n")
        return 1
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        # Until then the end of this session would be the child's as well.
        os.read(reading, 1)
        try:
            os.write(1, f"{child}\n".encode())
        except OSError:
            # Who asked has gone, and nobody else could stop it.
            os.kill(child, signal.SIGTERM)
            return 1
        return 0
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    os.close(writing)
    run(probe)
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
