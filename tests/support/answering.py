# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers on ports of a node, run as a program there with PORT/PROTOCOL words.

It takes connections and says the word on each, and sends datagrams back. Prints "ready", and then PORT/PROTOCOL and the
sender's address for each that comes.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

ANYWHERE = "0.0.0.0"  # noqa: S104 (it is the firewall that is looked at)


def serve(words: Sequence[str]) -> NoReturn:
    """Answer on these ports until somebody ends the program."""
    waiting = selectors.DefaultSelector()
    for word in words:
        number, _, protocol = word.partition("/")
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind((ANYWHERE, int(number)))
        if protocol == "tcp":
            own.listen()
        waiting.register(own, selectors.EVENT_READ, word)
    print("ready", flush=True)
    while True:
        for key, _ in waiting.select():
            own = key.fileobj  # type: ignore[assignment]
            with contextlib.suppress(OSError):  # who asked is gone, or a firewall lets no answer out
                if own.type == socket.SOCK_DGRAM:
                    data, sender = own.recvfrom(1 << 16)
                    print(key.data, sender[0], flush=True)
                    own.sendto(data, sender)
                else:
                    connection, sender = own.accept()
                    print(key.data, sender[0], flush=True)
                    with connection:
                        connection.sendall(key.data.encode())


if __name__ == "__main__":
    serve(sys.argv[1:])
