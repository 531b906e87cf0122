# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line between the two nodes: a program of ours in a container of its own, as it works on both networks."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.lab.docker_engine import docker, inspect

from ..nodes import Pair
from ..process import BenchError
from .lines import Line, Way

SOURCE = Path(__file__).with_name("wan.c")
DEVICE, ENDS = "wan0", ("10.99.0.1", "10.99.0.2")
# Losses come in the same order in every run.
SEED = 7


class Emulator:
    """The running program."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        self._program = program
        self._lock = threading.Lock()
        self._changing: threading.Thread | None = None
        self._still = threading.Event()

    def _order(self, words: str) -> str:
        with self._lock:
            assert self._program.stdin is not None and self._program.stdout is not None
            self._program.stdin.write(f"{words}\n")
            self._program.stdin.flush()
            answer = self._program.stdout.readline().strip()
        if not answer:
            raise BenchError("the emulated line has ended")
        return answer

    def _set(self, way: Way, direction: int) -> None:
        values = (way.mbit_s, way.delay_ms, way.queue_ms, way.loss, way.burst)
        self._order(" ".join(map(str, (direction, *values))))

    def become(self, line: Line) -> None:
        """Be this line from now on."""
        self._hold_still()
        # A is the node that is dialled.
        self._set(line.back, 0)
        self._set(line.there, 1)
        if line.rates:
            self._still.clear()
            self._changing = threading.Thread(target=self._change, args=(line,), daemon=True)
            self._changing.start()

    def _change(self, line: Line) -> None:
        number = 0
        while not self._still.wait(1.0):
            rate = line.rates[number % len(line.rates)]
            number += 1
            for direction, way in enumerate((line.back, line.there)):
                with suppress(BenchError):
                    self._set(replace(way, mbit_s=rate), direction)

    def _hold_still(self) -> None:
        self._still.set()
        if self._changing:
            self._changing.join()
            self._changing = None

    def counts(self) -> dict[str, list[int]]:
        """Packets that passed, were lost and were dropped as the queue was full, back and there."""
        numbers = list(map(int, self._order("counts").split()))
        return {"back": numbers[:3], "there": numbers[3:]}

    def close(self) -> None:
        """End the program; its devices go with it."""
        self._hold_still()
        assert self._program.stdin is not None
        self._program.stdin.close()
        try:
            self._program.wait(20)
        except subprocess.TimeoutExpired:
            self._program.kill()


@contextmanager
def emulator(pair: Pair, control: str | None = None) -> Iterator[Emulator]:
    """A line between the nodes, with an address at each end; control: the congestion control of what goes over it."""
    containers: list[dict[str, Any]] = inspect("container", *(node.container for node in pair.both))
    name, image = f"{pair.name}-wan", containers[0]["Config"]["Image"]
    pids = [str(found["State"]["Pid"]) for found in containers]
    script = f"tcc -o /tmp/wan /tmp/wan.c && exec /tmp/wan {' '.join(pids)} {SEED}"
    words = ["docker", "run", "--rm", "--interactive", "--pid=host", "--network=none", "--name", name]
    words += ["--cap-add=NET_ADMIN", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE", "--device=/dev/net/tun"]
    words += ["--security-opt=apparmor=unconfined", "--security-opt=seccomp=unconfined"]
    words += ["--volume", f"{SOURCE}:/tmp/wan.c:ro", "--entrypoint", "sh", image, "-c", script]
    docker("rm", "--force", name, check=False)
    program = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert program.stdout is not None and program.stderr is not None
    if program.stdout.readline().strip() != "up":
        program.kill()
        raise BenchError(f"no line could be emulated: {program.stderr.read().strip()[-300:]}")
    line = Emulator(program)
    try:
        for node, here, there in zip(pair.both, ENDS, ENDS[::-1], strict=True):
            node.sh(
                f"ip address add {here} peer {there} dev {DEVICE}; ip link set {DEVICE} up txqueuelen 20000;"
                " ! nft list chain inet filter input >/dev/null 2>&1 ||"
                f" nft insert rule inet filter input iifname {DEVICE} accept"
            )
            if control:
                # A container may not change the sysctl; a route may name what the kernel has.
                node.sh(f"ip route replace {there} dev {DEVICE} src {here} congctl {control}")
        yield line
    finally:
        line.close()
