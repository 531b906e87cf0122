# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watchdog of ssh -w on the real kernel, with a program in ssh's place that can fall silent and live on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

WATCHDOG = Path(__file__).resolve().parents[2] / "roles" / "tunnel" / "files" / "watch.py"
SILENCE = 1.0
# A peer that answers echo requests; not before SIGUSR2, not after SIGUSR1.
RELAY = """
import fcntl, os, signal, struct
answers = False
def now(number, _frame):
    global answers
    answers = number == signal.SIGUSR2
signal.signal(signal.SIGUSR1, now)
signal.signal(signal.SIGUSR2, now)
device = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"tun1001", 0x1001))
print("begun", flush=True)
while True:
    packet = os.read(device, 65536)
    if answers and packet[9] == 1 and packet[20] == 8:
        # As a peer answers an echo request: turned round, and the checksum follows the type.
        answer = bytearray(packet)
        answer[12:16], answer[16:20] = packet[16:20], packet[12:16]
        answer[20] = 0
        sum = int.from_bytes(packet[22:24], "big") + 0x0800
        answer[22:24] = (sum % 0xFFFF).to_bytes(2, "big")
        os.write(device, bytes(answer))
"""


class Watched:
    """The watchdog, which has become the program in ssh's place."""

    def __init__(self, namespace: str, log: Path) -> None:
        words = ["--device", "tun1001", "--address", "172.30.0.1", "--silence", str(SILENCE)]
        argv = [sys.executable, "-I", str(WATCHDOG), *words, "--", sys.executable, "-c", RELAY]
        self._log = log
        with log.open("w") as written:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *argv], stdout=subprocess.PIPE, stderr=written, text=True
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "begun\n"

    def lives(self, seconds: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is None

    def said(self) -> str:
        return self._log.read_text()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    name = f"overssh-watch-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in (
            "tuntap add dev tun1001 mode tun",
            "address add 172.30.0.2 peer 172.30.0.1 dev tun1001",
            "link set tun1001 up",
            "link set lo up",
        ):
            subprocess.run(["ip", "-n", name, *words.split()], check=True)
        everybody = "net.ipv4.ping_group_range=0 2147483647"
        subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", everybody], check=True)
        found = Watched(name, tmp_path / "log")
        yield found
        found.process.kill()
        found.process.wait()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_tunnel_that_fell_silent_is_ended(watched: Watched) -> None:
    watched.process.send_signal(signal.SIGUSR2)
    assert watched.lives(4 * SILENCE), "what the watchdog asks is answered"
    watched.process.send_signal(signal.SIGUSR1)
    assert watched.process.wait(20) == -signal.SIGTERM
    assert watched.said() == "overssh-watch: ended: nothing has come back over tun1001 for 1 s\n"


def test_a_tunnel_that_never_answered_is_left_alone(watched: Watched) -> None:
    assert watched.lives(4 * SILENCE)
    assert watched.said() == ""


def test_the_watchdog_goes_with_the_program(watched: Watched) -> None:
    (child,) = children(watched.process.pid)
    watched.process.kill()
    watched.process.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()
