# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `ssh -w`, and ends it when packets cross its tunnel no more.

    watch.py --device tun1001 --address 172.30.0.1 --silence 3 -- /usr/bin/ssh -F cloud1.conf -N -T cloud1

ssh itself does not notice: a packet that is too large for its buffer kills the channel, one way or both, and the
connection goes on and answers keepalives. So the peer is pinged through the tunnel, several times within the silence.
When nothing has come back for the silence, after something did once, ssh is ended, and whoever runs it starts it
again. A peer whose firewall lets nothing back has never answered. Where the host lets no account ping (the kernel's
ping_group_range), the device's counter of packets that came in has to do, which sees a tunnel that is dead both ways.

This process becomes ssh, and a child of it watches. Nothing but the standard library, and nothing that Python 3.6 can't
read, so that it can say there what it needs.
"""

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import struct
import sys
import time
from typing import NoReturn

VERSION = "1"
OLDEST_PYTHON = (3, 9)
LOOKS = 8  # within the silence
PR_SET_PDEATHSIG = 1


ECHO_REQUEST = struct.Struct("!BBHHH")


class Ping:
    """Echo requests to the peer and what comes back; PermissionError where accounts may not."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        self._socket.setblocking(False)
        self._address = address
        self._number = 0

    def answered(self) -> bool:
        """Whether anything came back since the last look; asks again."""
        found = False
        while True:
            try:
                self._socket.recv(1 << 16)
            except OSError:  # nothing more, or nothing that came from the peer
                break
            found = True
        self._number = (self._number + 1) % (1 << 16)
        with contextlib.suppress(OSError):  # no way there at the moment: nothing comes back either
            # The kernel fills in checksum and identifier.
            self._socket.sendto(ECHO_REQUEST.pack(8, 0, 0, 0, self._number), (self._address, 0))
        return found


class Counter:
    """The packets that came in over the device."""

    def __init__(self, device: str) -> None:
        self._path = f"/sys/class/net/{device}/statistics/rx_packets"
        self._count = self._read()

    def answered(self) -> bool:
        """Whether more came in since the last look. A device that is gone has none."""
        count, before = self._read(), self._count
        self._count = count
        return count != before

    def _read(self) -> int:
        try:
            with open(self._path, encoding="ascii") as counter:
                return int(counter.read())
        except (OSError, ValueError):
            return 0


def watch(options: argparse.Namespace, ssh: int) -> str:
    """Why ssh has to end; an empty string where it has ended itself."""
    try:
        peer: Ping | Counter = Ping(options.address)
    except PermissionError:
        peer = Counter(options.device)
    heard = None
    while os.getppid() == ssh:
        time.sleep(options.silence / LOOKS)
        now = time.monotonic()
        if peer.answered():
            heard = now
        elif heard is not None and now - heard > options.silence:
            return f"nothing has come back over {options.device} for {options.silence:g} s"
    return ""


def say(text: str) -> None:
    """One line for whoever reads the log."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"overssh-watch: {text}\n")


def watch_and_end(options: argparse.Namespace, ssh: int) -> NoReturn:
    """The child's whole life."""
    # Where the C library has no such call, the loop sees in its own time that ssh has gone.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    reason = watch(options, ssh)
    if reason:
        say(f"ended: {reason}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(ssh, signal.SIGTERM)
    os._exit(0)


def main() -> int:
    """Become ssh, and leave a child that watches; 2 where that can't be."""
    if sys.version_info < OLDEST_PYTHON:
        say(
            "refused: it takes Python {}.{} or later, and {} is {}.{}".format(
                *OLDEST_PYTHON, sys.executable, *sys.version_info
            )
        )
        return 2
    if sys.argv[1:] == ["version"]:
        sys.stdout.write(f"{VERSION}\n")
        return 0
    parser = argparse.ArgumentParser(description="ssh -w with a look at what crosses it.")
    parser.add_argument("--device", required=True, help="the tun device of this end")
    parser.add_argument("--address", required=True, help="the peer's address at its end of the tunnel")
    parser.add_argument("--silence", type=float, default=3.0, help="seconds without a packet after which ssh ends")
    parser.add_argument("command", nargs="+", help="ssh and its arguments, after --")
    options = parser.parse_args()
    ssh = os.getpid()
    if os.fork() == 0:
        watch_and_end(options, ssh)
    try:
        os.execv(options.command[0], options.command)  # noqa: S606 (no shell is what it takes)
    except OSError as error:
        say(f"refused: {options.command[0]} can't be started ({error.strerror})")
        return 2


if __name__ == "__main__":
    sys.exit(main())
