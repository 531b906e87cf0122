# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream helper between two network namespaces with a tun device each, and a pipe in ssh's place."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HELPER = Path(__file__).resolve().parents[2] / "roles" / "tunnel" / "files" / "stream"
PYTHON = [sys.executable, "-I"]
SILENCE = 2.5

# Both programs run inside a namespace. The receiver says what arrived.
RECEIVE = """
import hashlib, socket, sys
listening = socket.create_server((sys.argv[1], 5000), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("ready", flush=True)
taken, _ = listening.accept()
digest = hashlib.sha256()
while got := taken.recv(1 << 20):
    digest.update(got)
print(digest.hexdigest(), flush=True)
"""
SEND = """
import socket, sys
sending, content = socket.create_connection((sys.argv[1], 5000)), sys.stdin.buffer.read()
for _time in range(int(sys.argv[2])):
    sending.sendall(content)
sending.close()
"""
COUNT = """
import select, socket, sys
sockets = []
for flow in range(int(sys.argv[2])):
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    taken.bind((sys.argv[1], 6000 + flow))
    sockets.append(taken)
numbers = {taken: [] for taken in sockets}
print("ready", flush=True)
wait = 30
while ready := select.select(sockets, [], [], wait)[0]:
    for taken in ready:
        numbers[taken].append(int(taken.recv(1500)[:8]))
    wait = 2
for found in numbers.values():
    print(len(found), int(found == sorted(found)), flush=True)
"""
SEND_NUMBERED = """
import socket, sys
flows, each = int(sys.argv[2]), int(sys.argv[3])
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _flow in range(flows)]
for number in range(each):
    for flow, sending in enumerate(sockets):
        sending.sendto(b"%08d" % number + bytes(100), (sys.argv[1], 6000 + flow))
"""


class Side:
    """A network namespace with one tun device."""

    def __init__(self, name: str, device: str, mine: str, theirs: str) -> None:
        self.name, self.device, self.address, self._theirs = name, device, mine, theirs

    def run(self, *argv: str, check: bool = True, data: str | None = None) -> subprocess.CompletedProcess[str]:
        command = ["ip", "netns", "exec", self.name, *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=check, input=data)

    def start(self, *argv: str) -> subprocess.Popen[str]:
        command = ["ip", "netns", "exec", self.name, *argv]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def make_device(self, lanes: int | str = 1, mtu: int = 65000, owner: int = 0) -> None:
        self.run("ip", "link", "delete", self.device, check=False)
        kind = ["multi_queue"] if lanes not in (1, "auto") else []
        self.run("ip", "tuntap", "add", "dev", self.device, "mode", "tun", "user", str(owner), *kind)
        self.run("ip", "link", "set", self.device, "mtu", str(mtu), "up")
        self.run("ip", "address", "add", self.address, "peer", self._theirs, "dev", self.device)

    def serving(self, lanes: int | str = 1, helper: Path = HELPER) -> list[str]:
        words = [*PYTHON, str(helper), "serve", "--device", self.device, "--lanes", str(lanes)]
        return ["ip", "netns", "exec", self.name, *words]


class Dialling:
    """A dialling helper, and the file that it and what it runs write their words to."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("w") as words:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=words)

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def status(self) -> int:
        """How it ends, which it has to do by itself."""
        return self.process.wait(60)


class Pair:
    def __init__(self, folder: Path, helper: Path = HELPER) -> None:
        """helper: the program at both ends."""
        self._helper = helper
        self.near = Side(f"overssh-near-{os.getpid()}", "tun801", "192.0.2.1", "192.0.2.2")
        self.far = Side(f"overssh-far-{os.getpid()}", "tun802", "192.0.2.2", "192.0.2.1")
        self._folder = folder
        self._dialled: list[Dialling] = []
        self.used: list[subprocess.Popen[str]] = []

    def make_devices(self, lanes: int | str = 1, mtu: int = 65000) -> None:
        self.near.make_device(lanes, mtu)
        self.far.make_device(lanes, mtu)

    def dial(self, lanes: int | str = 1, command: list[str] | None = None, silence: float = SILENCE) -> Dialling:
        words = ["dial", "--device", self.near.device, "--lanes", str(lanes), "--peer", "far"]
        serving = command or self.far.serving(lanes, self._helper)
        helper = [*PYTHON, str(self._helper), *words, "--silence", str(silence), "--", *serving]
        log = self._folder / f"dial{len(self._dialled)}.log"
        self._dialled.append(Dialling(["ip", "netns", "exec", self.near.name, *helper], log))
        return self._dialled[-1]

    def connect(self, lanes: int | str = 1) -> Dialling:
        dialling = self.dial(lanes)
        self.until_it_crosses(dialling)
        return dialling

    def crosses(self) -> bool:
        return self.near.run("ping", "-c1", "-W1", self.far.address, check=False).returncode == 0

    def until_it_crosses(self, dialling: Dialling) -> None:
        until(lambda: not dialling.runs or self.crosses())
        assert dialling.runs, dialling.said

    def send(self, megabytes: int, backwards: bool = False) -> None:
        """One TCP connection over the link, its content compared by digest."""
        source, target = (self.far, self.near) if backwards else (self.near, self.far)
        receiver = target.start(sys.executable, "-c", RECEIVE, target.address)
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        content = os.urandom(1 << 20)
        command = ["ip", "netns", "exec", source.name, sys.executable, "-c", SEND, target.address, str(megabytes)]
        subprocess.run(command, input=content, check=True, timeout=120)
        digest = hashlib.sha256(content * megabytes)
        assert receiver.communicate(timeout=60)[0].strip() == digest.hexdigest()

    def helpers(self, end: str) -> list[int]:
        """The helpers' processes of an end, dial or serve."""
        command = ["pgrep", "-f", f"^{sys.executable} -I {self._helper} {end} "]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return [int(word) for word in found.stdout.split()]

    def count_in_order(self, flows: int, each: int) -> list[tuple[int, bool]]:
        """Send so many datagrams in each flow: of each how many arrived, and whether in order."""
        counting = self.far.start(sys.executable, "-c", COUNT, self.far.address, str(flows))
        assert counting.stdout is not None
        assert counting.stdout.readline() == "ready\n"
        self.near.run(sys.executable, "-c", SEND_NUMBERED, self.far.address, str(flows), str(each))
        lines = [line.split() for line in counting.communicate(timeout=120)[0].splitlines()]
        return [(int(count), in_order == "1") for count, in_order in lines]

    def end(self) -> None:
        for end in ("dial", "serve"):
            for process in self.helpers(end):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        for user in self.used:
            user.kill()
        for dialling in self._dialled:
            dialling.process.kill()
            dialling.process.wait()


@contextlib.contextmanager
def pair_of(folder: Path, helper: Path = HELPER) -> Iterator[Pair]:
    """Two namespaces, for as long as they are needed."""
    made = Pair(folder, helper)
    for side in (made.near, made.far):
        subprocess.run(["ip", "netns", "add", side.name], check=True)
        side.run("ip", "link", "set", "lo", "up")
    try:
        yield made
    finally:
        made.end()
        for side in (made.near, made.far):
            subprocess.run(["ip", "netns", "delete", side.name], check=True)


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
