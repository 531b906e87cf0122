# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bench runs inside a node; standard library only. Every command prints one line of JSON.

All nodes of the lab are on one kernel: its clock and its count of busy processor time are everybody's.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import socketserver
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

STAMP = struct.Struct("!d")
# As much as a pipe holds, and no less than what ssh reads at once.
BLOCK = 64 * 1024
# A server gives up what was broken off after ten seconds.
BUSY_SECONDS = 15
# iperf3 makes its connections one after the other.
CONNECT_SECONDS = 0.5
# What answers fetches and counts datagrams. A datagram begins with its flow's number.
ANSWER_PORT, NUMBER = 5202, struct.Struct("!I")
FETCH_BYTES, FETCH_SECONDS, FETCHES = 100_000, 30.0, 4
DATAGRAM_BYTES, DATAGRAMS_PER_SECOND = 200, 50
# Those of IPv4 and UDP; the pause of one that sends at a pace; as many packets are a flood.
HEADERS_BYTES, PACE_SECONDS, ARRIVING, DISCARD_PORT = 28, 0.001, 50, 9
# A transfer has by then what it gets; as long may datagrams still be on their way after it.
SETTLE_SECONDS = 1.0


def busy_seconds() -> float:
    """Processor time of the whole machine that was not idle, since it was started."""
    with Path("/proc/stat").open(encoding="ascii") as stat:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, stat.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def within(namespace: str) -> list[str]:
    """The words that run a command in the network of a process, given by its id; none for this node's own."""
    return ["nsenter", f"--target={namespace}", "--net"] if namespace else []


def round_trips(text: str) -> list[float]:
    """The milliseconds of every answer that ping printed."""
    return [float(found) for found in re.findall(r"time=([\d.]+) ms", text)]


def ping(namespace: str, target: str, seconds: float, interval: float) -> subprocess.Popen[str]:
    """A ping that runs for so long, lost packets or not."""
    words = ["ping", "-n", "-i", str(interval), "-w", str(max(1, round(seconds))), target]
    return subprocess.Popen([*within(namespace), *words], stdout=subprocess.PIPE, text=True)


def idle(namespace: str, target: str, seconds: float) -> dict[str, Any]:
    """Round trips while nothing else is going on."""
    return {"pings": round_trips(ping(namespace, target, seconds, 0.01).communicate()[0])}


def iperf3(words: list[str], seconds: float) -> dict[str, Any]:
    """A client's report; a server that is still at what was broken off before is asked again."""
    for _ in range(BUSY_SECONDS):
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 10, check=False)
            report: dict[str, Any] = json.loads(done.stdout or "{}")
        except (subprocess.TimeoutExpired, ValueError):
            return {"error": "iperf3 came to no end"}
        if "busy" not in report.get("error", ""):
            break
        time.sleep(1)
    return report


def transfer(namespace: str, target: str, seconds: float, streams: int, *more: str) -> dict[str, Any]:
    """One iperf3 run with a ping beside it; the processor's time from its first to its last moment."""
    words = [*within(namespace), "iperf3", "--client", target, "--json", "--interval", "0"]
    words += ["--connect-timeout", "3000", "--time", f"{seconds:g}", "--parallel", str(streams), *more]
    pinging = ping(namespace, target, seconds, 0.03)
    before, started = busy_seconds(), time.monotonic()
    report = iperf3(words, seconds + streams * CONNECT_SECONDS)
    took, after = time.monotonic() - started, busy_seconds()
    pinging.send_signal(signal.SIGINT)
    pings = round_trips(pinging.communicate()[0])
    keep = ("sum_received", "sum_received_bidir_reverse")
    ends = {key: report["end"][key] for key in keep if key in report.get("end", {})}
    return {"error": report.get("error"), "end": ends, "busy": after - before, "seconds": took, "pings": pings}


class _Answer(socketserver.BaseRequestHandler):
    """One connection: "f" and 100 KB are answered by a byte, "c" and a flow's number by how many datagrams came."""

    arrived: ClassVar[Counter[bytes]] = Counter()

    def handle(self) -> None:
        with self.request.makefile("rb") as source:
            if source.read(1) == b"f":
                source.read(FETCH_BYTES)
                self.request.sendall(b".")
            else:
                self.request.sendall(NUMBER.pack(self.arrived[source.read(NUMBER.size)]))


def answer() -> dict[str, Any]:
    """The far end of beside, for as long as it is let."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", ANSWER_PORT))
    with socketserver.ThreadingTCPServer(("", ANSWER_PORT), _Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        while True:
            _Answer.arrived[datagrams.recv(DATAGRAM_BYTES)[: NUMBER.size]] += 1


def fetches(target: str, begin: float, end: float) -> tuple[list[float], int]:
    """Milliseconds that 100 KB took over each of a few fresh connections, and the bytes of those that ended in time.

    begin, end: by the monotonic clock. They go the way of the transfer, from connecting to the far end's word that it
    has them: as long as a fetch from the other side takes.
    """
    took, in_time = [], 0
    for number in range(FETCHES):
        time.sleep(max(0.0, begin + (end - begin) * number / FETCHES - time.monotonic()))
        started = time.monotonic()
        if started > end:
            break
        with contextlib.suppress(OSError), socket.create_connection((target, ANSWER_PORT), FETCH_SECONDS) as connection:
            connection.sendall(b"f" + bytes(FETCH_BYTES))
            if connection.recv(1):
                took.append((time.monotonic() - started) * 1000)
                in_time += FETCH_BYTES if time.monotonic() <= end else 0
    return took, in_time


def datagrams(target: str, flow: bytes, begin: float, end: float) -> int:
    """Send a flow of 50 datagrams a second, and say how many; begin, end: by the monotonic clock."""
    sent, due = 0, begin
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            source.sendto(flow.ljust(DATAGRAM_BYTES, b"\0"), (target, ANSWER_PORT))
            sent, due = sent + 1, due + 1 / DATAGRAMS_PER_SECOND
    return sent


def arrived(target: str, flow: bytes, sent: int) -> int:
    """How many of a flow's datagrams have come to the far end, those included that still come."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        with socket.create_connection((target, ANSWER_PORT), FETCH_SECONDS) as connection:
            connection.sendall(b"c" + flow)
            (count,) = NUMBER.unpack(connection.recv(NUMBER.size, socket.MSG_WAITALL))
        if count >= sent or time.monotonic() > deadline:
            return int(count)
        time.sleep(0.1)


def beside(target: str, seconds: float) -> dict[str, Any]:
    """A transfer of one connection, and beside it a ping, fetches and a flow of datagrams."""
    flow = NUMBER.pack(time.time_ns() % 2**32)
    begin = time.monotonic() + min(SETTLE_SECONDS, seconds / 2)
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(2) as pool:
        fetching = pool.submit(fetches, target, begin, end)
        sending = pool.submit(datagrams, target, flow, begin, end)
        report = transfer("", target, seconds, 1)
        (found, fetched_bytes), sent = fetching.result(), sending.result()
    fetched = {"fetches": found, "fetched_bytes": fetched_bytes}
    return {**report, **fetched, "datagrams": {"sent": sent, "arrived": arrived(target, flow, sent)}}


def flood(target: str, seconds: float, pace: float, length: int) -> dict[str, Any]:
    """Send datagrams to a port that nobody listens on; pace: how many a second; length: bytes of their IP packets."""
    words, sent, started = bytes(length - HEADERS_BYTES), 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        while (passed := time.monotonic() - started) < seconds:
            due = int(passed * pace)
            while sent < due:
                source.sendto(words, (target, DISCARD_PORT))
                sent += 1
            time.sleep(PACE_SECONDS)
    return {"packets": sent}


def unasked() -> dict[str, int]:
    """How many datagrams have come to ports that nobody listens on, by the kernel's count."""
    heads, values = (
        line.split()[1:] for line in Path("/proc/net/snmp").read_text(encoding="ascii").splitlines() if "Udp:" in line
    )
    return {"packets": int(dict(zip(heads, values, strict=True))["NoPorts"])}


def arrivals(seconds: float) -> dict[str, Any]:
    """How many of those come in so much time, once they come."""
    deadline, before = time.monotonic() + FETCH_SECONDS, unasked()["packets"]
    while unasked()["packets"] - before < ARRIVING and time.monotonic() < deadline:
        time.sleep(PACE_SECONDS)
    before, started = unasked()["packets"], time.monotonic()
    time.sleep(seconds)
    return {"packets": unasked()["packets"] - before, "seconds": time.monotonic() - started}


def pipe(seconds: float, ssh: list[str]) -> dict[str, Any]:
    """Zeros through ssh, into nothing, once the session is there: `dd | ssh HOST 'cat >/dev/null'`."""
    sink = subprocess.Popen([*ssh, "echo; cat >/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert sink.stdin is not None and sink.stdout is not None
    sink.stdout.readline()
    before, started, ssh_before = busy_seconds(), time.monotonic(), processor_seconds(str(sink.pid))
    source = subprocess.Popen(["dd", "if=/dev/zero", "bs=64k"], stdout=sink.stdin, stderr=subprocess.PIPE)
    sink.stdin.close()
    time.sleep(seconds)
    ssh_seconds = processor_seconds(str(sink.pid))
    source.send_signal(signal.SIGINT)
    told = source.communicate()[1]
    sink.wait(30)
    took, after = time.monotonic() - started, busy_seconds()
    copied = re.search(rb"^(\d+) bytes", told, re.MULTILINE)
    count = int(copied[1]) if copied else 0
    return {"bytes": count, "busy": after - before, "seconds": took, "ssh": ssh_seconds - ssh_before}


def echo(count: int, ssh: list[str]) -> dict[str, Any]:
    """Round trips of single bytes through an ssh with `cat` at its far end."""
    trips = []
    with subprocess.Popen([*ssh, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as session:
        assert session.stdin is not None and session.stdout is not None
        for _ in range(count + 1):
            started = time.monotonic()
            session.stdin.write(b"x")
            session.stdout.read(1)
            trips.append((time.monotonic() - started) * 1000)
            time.sleep(0.005)
        session.stdin.close()
    return {"pings": trips[1:]}  # the first one waited for the session


def delay(seconds: float, bits_per_second: float, ssh: list[str]) -> dict[str, Any]:
    """How long blocks take through an ssh that carries so much; 0 for all that it can."""
    with subprocess.Popen([*ssh], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as session:
        assert session.stdin is not None and session.stdout is not None
        session.stdout.readline()  # the far end is there
        block, pause = bytearray(BLOCK), BLOCK * 8 / bits_per_second if bits_per_second else 0.0
        due = time.monotonic()
        end = due + seconds
        while due < end:
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            STAMP.pack_into(block, 0, time.monotonic())
            view = memoryview(block)
            while view:
                view = view[session.stdin.write(view) or 0 :]
            due = max(due + pause, time.monotonic() - pause)  # what was missed is not made up for in a burst
        session.stdin.close()
        answer: dict[str, Any] = json.loads(session.stdout.read())
    return answer


def sink() -> dict[str, Any]:
    """The far end of delay."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    source = io.BufferedReader(io.FileIO(0), BLOCK)
    block, delays, started = bytearray(BLOCK), [], time.monotonic()
    while source.readinto(block) == BLOCK:
        delays.append((time.monotonic() - STAMP.unpack_from(block)[0]) * 1000)
    took = time.monotonic() - started
    return {"delays_median": statistics.median(delays), "gbit_s": len(delays) * BLOCK * 8 / took / 1e9}


def rest(seconds: float) -> dict[str, Any]:
    """How busy the machine is without us."""
    before, started = busy_seconds(), time.monotonic()
    time.sleep(seconds)
    return {"busy": busy_seconds() - before, "seconds": time.monotonic() - started}


def command_line(process: str) -> list[str]:
    """The words that a process was started with."""
    return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")


def memory(word: str) -> dict[str, Any]:
    """The peak resident memory, in MB, of each process that has this word on its command line."""
    peaks = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = command_line(process.name)
            peak = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text(encoding="utf-8"))
            if peak and word in words and "python" in words[0]:
                peaks.append(round(int(peak[1]) / 1000, 1))
    return {"peaks": peaks}


def stat_of(process: str) -> tuple[str, list[str]]:
    """A process's name, and what /proc/PID/stat has after it, from its state on (proc_pid_stat(5))."""
    text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    name, _, fields = text.partition("(")[2].rpartition(")")
    return name, fields.split()


def processor_seconds(process: str) -> float:
    """What a process has used so far, its threads with it."""
    _name, fields = stat_of(process)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def link_processes(device: str) -> dict[str, Any]:
    """The processor seconds of a stream's helpers on this node, and of each ssh or sshd that they talk through."""
    parents, names, helpers = {}, {}, []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = command_line(process.name)
            names[process.name], fields = stat_of(process.name)
            parents[process.name] = fields[1]
            if "python" in words[0] and ["--device", device] in [words[at : at + 2] for at in range(len(words))]:
                helpers.append(process.name)
    # One that dials has ssh as its child; one that serves has sshd above it, whose listener uses nothing meanwhile.
    talk = {process for process, parent in parents.items() if parent in helpers and names[process] == "ssh"}
    for helper in helpers:
        above = parents[helper]
        while above in parents:
            if names[above].startswith("sshd"):
                talk.add(above)
            above = parents[above]
    return {"helper": sum(map(processor_seconds, helpers)), "ssh": sum(map(processor_seconds, talk))}


COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    "idle": idle,
    "transfer": transfer,
    "answer": answer,
    "beside": beside,
    "flood": flood,
    "unasked": unasked,
    "arrivals": arrivals,
    "pipe": pipe,
    "echo": echo,
    "delay": delay,
    "sink": sink,
    "rest": rest,
    "memory": memory,
    "link_processes": link_processes,
}

if __name__ == "__main__":
    json.dump(COMMANDS[sys.argv[1]](*json.loads(sys.argv[2])), sys.stdout)
