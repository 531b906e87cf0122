# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that runs inside a verification container: it answers probes, and it sends them.

It runs by itself on the host's Python with nothing but the standard library: "agent.py serve" answers, and
"agent.py measure JSON" prints, for each peer of {"peers": [{"name", "host", "address"}], "timeout": SECONDS, "linger":
SECONDS}, what came back: {"peers": {"PEER": {"icmp": {...}, "tcp": ..., "udp": ..., "dns": ..., "mtu": ...}}, "done":
BOOL}. It is done when each of these peers has said, within linger seconds, that it has measured this container.
"""

from __future__ import annotations

import concurrent.futures
import fcntl
import json
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

PORT = 7337
# What a peer that has measured this container sends, and what its own measurement asks it then.
BYE, WHO = b"overssh.verify bye", b"overssh.verify who?"
ASKING_SECONDS = 0.02
# A lost packet is sent again after this many seconds, until the check's time is over. The first ones are waited for
# less long: they get lost while the news of a new container is still on its way.
PATIENCE = 1.0
FIRST_PATIENCE = 0.25
# No IPv4 network may have a smaller one: the search for the largest packet starts here.
SMALLEST_PACKET = 576
IP_AND_ICMP_HEADERS = 28
# Linux numbers that Python's socket module does not name.
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3
SIOCGIFADDR, SIOCGIFMTU = 0x8915, 0x8921
ECHO_REQUEST = 8


class NoAnswer(Exception):  # noqa: N818 (it is an answer of the network, not a fault of the program)
    """A probe that nothing came back for."""


def serve() -> None:
    """Send back every datagram and everything that comes over a connection, for ever."""
    waiting = selectors.DefaultSelector()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("0.0.0.0", PORT))  # noqa: S104 (the container has no address but the network under test)
    listener = socket.create_server(("0.0.0.0", PORT), backlog=64)  # noqa: S104
    listener.setblocking(False)
    done: set[str] = set()
    waiting.register(datagrams, selectors.EVENT_READ, _echo_datagram)
    waiting.register(listener, selectors.EVENT_READ, lambda ready: _accept(ready, waiting, done))
    while True:
        for key, _events in waiting.select():
            key.data(key.fileobj)


def _echo_datagram(ready: socket.socket) -> None:
    data, sender = ready.recvfrom(65535)
    ready.sendto(data, sender)


def _accept(listener: socket.socket, waiting: selectors.BaseSelector, done: set[str]) -> None:
    connection, (peer, _port) = listener.accept()
    connection.settimeout(PATIENCE)
    waiting.register(connection, selectors.EVENT_READ, lambda ready: _echo_stream(ready, waiting, peer, done))


def _echo_stream(connection: socket.socket, waiting: selectors.BaseSelector, peer: str, done: set[str]) -> None:
    """Send back what came; done: the addresses of those who have measured this container."""
    try:
        data = connection.recv(65535)
        if data == BYE:
            done.add(peer)
        connection.sendall(" ".join(sorted(done)).encode() if data == WHO else data)
    except OSError:
        data = b""
    if not data:
        waiting.unregister(connection)
        connection.close()


def icmp(address: str, patience: float) -> dict[str, Any]:
    """One echo request and its reply; patience: seconds."""
    return {"rtt_ms": _echo_request(address, os.urandom(32), patience)}


def tcp(address: str, patience: float) -> dict[str, Any]:
    """A connection, and a token that has to come back over it."""
    token = os.urandom(32)
    started = time.perf_counter()
    with socket.create_connection((address, PORT), timeout=patience) as connection:
        connection.sendall(token)
        answer = b""
        while len(answer) < len(token):
            data = connection.recv(len(token) - len(answer))
            if not data:
                break
            answer += data
    return {"rtt_ms": _checked(started, token, answer)}


def udp(address: str, patience: float) -> dict[str, Any]:
    """A datagram that has to come back."""
    token = os.urandom(32)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(patience)
        sender.connect((address, PORT))
        started = time.perf_counter()
        sender.send(token)
        answer = sender.recv(65535)
    return {"rtt_ms": _checked(started, token, answer)}


def dns(host: str, address: str) -> dict[str, Any]:
    """The peer's name, resolved by what the container has for that, has to give the peer's address."""
    started = time.perf_counter()
    found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None, socket.AF_INET)})
    if found != [address]:
        raise NoAnswer(f"{host} resolves to {', '.join(found)}, not to {address}")
    return {"ms": _since(started)}


def mtu(address: str) -> dict[str, Any]:
    """The largest packet, headers included, that crosses whole; it has to be as large as the interface allows."""
    wanted = interface_mtu(address)
    if _fits(address, wanted):
        return {"bytes": wanted}
    low, high = SMALLEST_PACKET, wanted
    if not _fits(address, low):
        raise NoAnswer(f"not even packets of {low} bytes cross")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(address, middle) else (low, middle)
    raise NoAnswer(f"packets over {low} bytes are lost, the interface's MTU is {wanted}")


def _fits(address: str, size: int) -> bool:
    """Whether an echo of this size, with the don't-fragment bit set, comes back; one loss is forgiven."""
    for _attempt in range(2):
        try:
            _echo_request(address, os.urandom(size - IP_AND_ICMP_HEADERS), PATIENCE, whole=True)
        except (NoAnswer, OSError):
            continue
        return True
    return False


def interface_mtu(address: str) -> int:
    """The MTU, in bytes, of the interface that leads to the address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((address, PORT))
        mine = asking.getsockname()[0]
        for _index, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            try:
                held = fcntl.ioctl(asking, SIOCGIFADDR, request)
            except OSError:
                continue
            if socket.inet_ntoa(held[20:24]) == mine:
                size: int = struct.unpack_from("i", fcntl.ioctl(asking, SIOCGIFMTU, request), 16)[0]
                return size
    raise NoAnswer(f"no interface has the address {mine}")


def _echo_request(address: str, payload: bytes, patience: float, whole: bool = False) -> float:
    """Milliseconds until the reply, over an unprivileged ICMP socket; whole: never fragmented on the way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as sender:
        sender.settimeout(patience)
        if whole:
            sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
        sender.connect((address, 0))
        started = time.perf_counter()
        # The kernel fills in checksum and identifier.
        sender.send(struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, 0, 1) + payload)
        answer = sender.recv(65535)
    return _checked(started, payload, answer[8:])


def _checked(started: float, sent: bytes, received: bytes) -> float:
    if received != sent:
        raise NoAnswer("something else came back than was sent")
    return _since(started)


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)


def attempt(check: Callable[[float], dict[str, Any]], timeout: float) -> dict[str, Any]:
    """The check's result with "ok", tried again until it passes or timeout seconds are over.

    check takes how long to wait for an answer, in seconds: longer from try to try, and in the last one as long as ever.
    """
    deadline, patience = time.monotonic() + timeout, FIRST_PATIENCE
    while True:
        started = time.monotonic()
        last = started + patience >= deadline
        try:
            return {"ok": True, **check(PATIENCE if last else patience)}
        except (NoAnswer, OSError) as error:
            reason = "no answer" if isinstance(error, TimeoutError) else str(error)
        if time.monotonic() >= deadline:
            return {"ok": False, "reason": reason}
        patience = min(PATIENCE, 2 * patience)
        # An immediate refusal would otherwise be asked for again as fast as the processor can.
        time.sleep(max(0.0, min(PATIENCE / 4 - (time.monotonic() - started), deadline - time.monotonic())))


def measure_peer(peer: dict[str, str], timeout: float) -> dict[str, dict[str, Any]]:
    """All checks of one peer, one after the other; once the time is over, each has one try left."""
    host, address = peer["host"], peer["address"]
    deadline = time.monotonic() + timeout
    checks: dict[str, Callable[[float], dict[str, Any]]] = {
        "icmp": lambda patience: icmp(address, patience),
        "tcp": lambda patience: tcp(address, patience),
        "udp": lambda patience: udp(address, patience),
        "dns": lambda _patience: dns(host, address),
    }
    found = {name: attempt(check, deadline - time.monotonic()) for name, check in checks.items()}
    # The search repeats its own probes.
    return {**found, "mtu": attempt(lambda _patience: mtu(address), 0)}


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Every peer's checks, by the peer's name, and whether all of them are done with this container."""
    peers, timeout = order["peers"], float(order["timeout"])
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
        results = list(pool.map(lambda peer: measure_peer(peer, timeout), peers))
        reached = [peer["address"] for peer, result in zip(peers, results) if result["tcp"]["ok"]]
        list(pool.map(lambda address: _exchange(address, BYE), reached))
    found = {peer["name"]: result for peer, result in zip(peers, results)}
    return {"peers": found, "done": all_done({peer["address"] for peer in peers}, float(order["linger"]))}


def all_done(addresses: set[str], linger: float) -> bool:
    """Whether each of these says, within linger seconds, that it has measured this container."""
    deadline = time.monotonic() + linger
    while linger:
        if addresses <= set(_exchange("127.0.0.1", WHO).decode().split()):
            return True
        if time.monotonic() >= deadline:
            break
        time.sleep(ASKING_SECONDS)
    return False


def _exchange(address: str, message: bytes) -> bytes:
    """What a container answers to a message, nothing where it does not."""
    try:
        with socket.create_connection((address, PORT), timeout=PATIENCE) as connection:
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(65535)
    except OSError:
        return b""


def main(arguments: list[str]) -> int:
    """The program's two uses; 2 for any other."""
    if arguments == ["serve"]:
        serve()
    elif len(arguments) == 2 and arguments[0] == "measure":
        sys.stdout.write(json.dumps(measure(json.loads(arguments[1]))) + "\n")
    else:
        sys.stderr.write("usage: agent.py serve | agent.py measure JSON\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
