# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the serving end has further lanes from: sessions that other processes hand over."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import NoReturn

from carrier import carrier_here
from hello import say_hello
from link import LANES_MOST, Growth, Link
from wire import AUTO, LONGEST_HELLO, WANT
from words import EndedError

# Where the first lane of a link takes over the others, among the names that have no file (unix(7)): by device, as a key
# opens one, and by what the two ends call the link.
DOOR = "\0overssh-stream-{}-{}"


def hand_over(name: str, connection: str) -> NoReturn:
    """Give this session to the process that serves the link's first lane, and wait until it has no use for it any more.

    EndedError where there is none. name: of its door; connection: the session's SSH_CONNECTION.
    """
    door = socket.socket(socket.AF_UNIX)
    try:
        door.connect(name)
    except OSError as error:
        raise EndedError("the first lane of the link is gone") from error
    if uid_of(door) != os.getuid():
        raise EndedError("the first lane of the link is not this account's")
    say_hello(1, lanes=AUTO)
    socket.send_fds(door, [b"." + connection.encode()], [0, 1])
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    # sshd takes nothing more for a command that has ended, so this one stays; it may as well be small meanwhile.
    os.dup2(door.fileno(), 0)
    os.execvp("cat", ["cat"])  # noqa: S606 - no shell is needed


def uid_of(near: socket.socket) -> int:
    """Whose the other end of a socket without a network is."""
    return int(struct.unpack("=iII", near.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


class Door(Growth):
    """Where sessions of further lanes are handed over to the process that serves the first one."""

    def __init__(self, name: str) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(name)
        self._listening.listen()
        self._listening.settimeout(0)
        self.descriptor = self._listening.fileno()
        self._asked = 0.0

    def turn(self, link: Link) -> None:
        """Somebody brings a session."""
        with contextlib.suppress(BlockingIOError):
            near, _address = self._listening.accept()
            if uid_of(near) != os.getuid() or len(link.lanes) >= LANES_MOST:
                near.close()
                return
            near.settimeout(1.0)
            connection, descriptors, _flags, _from = socket.recv_fds(near, LONGEST_HELLO, 2)
            if len(descriptors) == 2:
                source, sink = descriptors
                link.add(source, sink, carrier_here(connection[1:].decode(errors="replace")), near.close)

    def see_to(self, link: Link, now: float) -> None:
        """Only the end that dials can open a lane."""
        if link.starved and len(link.lanes) < LANES_MOST and now - self._asked >= 1:
            self._asked = now
            link.outbound.tell(WANT)

    def close(self) -> None:
        """Its name goes with it."""
        self._listening.close()
