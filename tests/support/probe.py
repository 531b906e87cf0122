# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What answers to a packet on a port: run as a program, here or on a node, with HOST and PORT/PROTOCOL words.

All are asked at once. Prints one word for each port: open, refused (nobody listens), rejected (a firewall said so),
silent (dropped, or, for UDP, taken). With --answering before them, who takes a connection has to be the program
answering.py there, otherwise it is intercepted: many a network has something in it that takes connections to anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

SECONDS = 1.5
# What an ICMP "administratively prohibited" and its kin become.
REJECTED = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES)


def answer(host: str, port: int, kind: socket.SocketKind, expected: bytes = b"", seconds: float = SECONDS) -> str:
    """One packet to a port, and what came of it; expected: what whoever takes a connection has to say."""
    with contextlib.closing(socket.socket(socket.AF_INET, kind)) as probe:
        probe.settimeout(seconds)
        try:
            probe.connect((host, port))
            if kind == socket.SOCK_DGRAM:
                probe.send(b"\x08\0\0\0\0\0\x01\0" + b"\xff" * 42)  # a VXLAN header, and a frame to everybody
                probe.recv(1)
            elif expected and not says(probe, expected):
                return "intercepted"
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "silent"
        except OSError as error:
            if error.errno in REJECTED:
                return "rejected"
            raise
        return "open"


def says(connection: socket.socket, expected: bytes) -> bool:
    """Whether this is what comes by a connection."""
    try:
        return connection.recv(len(expected)) == expected
    except OSError:
        return False


if __name__ == "__main__":
    kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
    strict = sys.argv[1] == "--answering"
    host, *words = sys.argv[2:] if strict else sys.argv[1:]
    with ThreadPoolExecutor(len(words)) as pool:
        asked = {}
        for word in words:
            number, _, protocol = word.partition("/")
            expected = word.encode() if strict and protocol == "tcp" else b""
            asked[word] = pool.submit(answer, host, int(number), kinds[protocol], expected)
        print(json.dumps({word: future.result() for word, future in asked.items()}))
