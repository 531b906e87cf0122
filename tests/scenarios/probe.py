# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What answers to a packet on a port: run as a program, here or on a node, with HOST and PORT/PROTOCOL words.

All are asked at once. Prints one word for each port: open, refused (nobody listens), rejected (a firewall said so),
silent (dropped, or, for UDP, taken).
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


def answer(host: str, port: int, kind: socket.SocketKind) -> str:
    """One packet to a port, and what came of it."""
    with contextlib.closing(socket.socket(socket.AF_INET, kind)) as probe:
        probe.settimeout(SECONDS)
        try:
            probe.connect((host, port))
            if kind == socket.SOCK_DGRAM:
                probe.send(b"\x08\0\0\0\0\0\x01\0" + b"\xff" * 42)  # a VXLAN header, and a frame to everybody
                probe.recv(1)
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "silent"
        except OSError as error:
            if error.errno in REJECTED:
                return "rejected"
            raise
        return "open"


if __name__ == "__main__":
    kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
    with ThreadPoolExecutor(len(sys.argv[2:])) as pool:
        asked = {}
        for word in sys.argv[2:]:
            number, _, protocol = word.partition("/")
            asked[word] = pool.submit(answer, sys.argv[1], int(number), kinds[protocol])
        print(json.dumps({word: future.result() for word, future in asked.items()}))
