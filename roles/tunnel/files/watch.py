# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `ssh -w`, and ends it when packets cross its tunnel no more.

    watch.py --device tun1001 --address 172.30.0.1 --silence 3 -- /usr/bin/ssh -F cloud1.conf -N -T cloud1

ssh itself does not notice: a packet that is too large for its buffer kills the channel, and the connection goes on and
answers keepalives. So the device's counter of packets that came in is watched. While it stands still, the peer is asked
for something, and whatever it says moves the counter; when that stands still for the silence after it has moved once,
ssh is told to end, and whoever runs it starts it again. A peer whose firewall lets nothing back has never moved it.

This process becomes ssh, and a child of it watches. Nothing but the standard library, and nothing that Python 3.6 can't
read, so that it can say there what it needs.
"""

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from typing import NoReturn

VERSION = "1"
OLDEST_PYTHON = (3, 9)
# Where Docker listens, which the firewall's rules let in; any other port's refusal would do as well.
PORT = 7946
LOOKS = 8  # within the silence
PR_SET_PDEATHSIG = 1


class Pulse:
    """When packets last came in over the device, in seconds of the monotonic clock; None before the first."""

    def __init__(self, device: str) -> None:
        self._path = f"/sys/class/net/{device}/statistics/rx_packets"
        self._count = self._read()
        self.heard: float | None = None

    def beats(self, now: float) -> bool:
        """Whether more packets came in since the last look. A device that is gone has none."""
        count, before = self._read(), self._count
        self._count = count
        if count == before:
            return False
        self.heard = now
        return True

    def _read(self) -> int:
        try:
            with open(self._path, encoding="ascii") as counter:
                return int(counter.read())
        except (OSError, ValueError):
            return 0


def ask(address: str) -> "socket.socket | None":
    """Begin a connection to the peer, whose answer, a refusal included, is a packet."""
    question = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    question.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        try:
            question.connect((address, PORT))
        except OSError:  # no way there at the moment: nothing comes back either
            question.close()
            return None
    return question


def watch(options: argparse.Namespace, ssh: int) -> str:
    """Why ssh has to end; an empty string where it has ended itself."""
    pulse, pause = Pulse(options.device), options.silence / LOOKS
    question = None
    while os.getppid() == ssh:
        time.sleep(pause)
        now = time.monotonic()
        if not pulse.beats(now):
            if question is not None:
                question.close()
            question = ask(options.address)
        if pulse.heard is not None and now - pulse.heard > options.silence:
            return f"nothing has come in over {options.device} for {options.silence:g} s"
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
