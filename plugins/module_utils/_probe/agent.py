# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that runs inside a verification container: it answers probes, and it sends them.

It runs by itself on the host's Python with nothing but the standard library: "agent.py serve" answers, and
"agent.py measure JSON" prints, for each peer of {"peers": [{"name", "host", "address"}], "services": [...], "timeout":
SECONDS, "linger": SECONDS}, what came back: {"peers": {"PEER": {"icmp": {...}, "tcp": ..., "udp": ..., "dns": ...,
"mtu": ...}}, "services": {"SERVICE": {...}}, "done": BOOL}. It is done when each of these peers has said, within linger
seconds, that it has measured this container. service_checks() has what a service is and what is checked of it.
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
# What a task of a service is asked: its ID, and from which address it sees the question come.
WHICH = b"overssh.verify which?"
# The variable of the environment that holds a task's ID.
TASK = "OVERSSH_TASK"
# Each connection to a service goes to the next task. Others may ask at the same time on the way through a node.
ROUNDS = 4
# So much goes through a service's address and back: many packets of any size.
BULK_BYTES = 262144
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
    """A probe got no answer."""


def serve() -> None:
    """Send back every datagram and all data of connections, for ever."""
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
    ready.sendto(_identity(sender[0]) if data == WHICH else data, sender)


def _identity(peer: str) -> bytes:
    """What a task of a service answers to the question which one it is."""
    return f"{os.environ.get(TASK, '')} {peer}".encode()


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
        answers = {WHO: " ".join(sorted(done)).encode(), WHICH: _identity(peer)}
        connection.sendall(answers.get(data, data))
    except OSError:
        data = b""
    if not data:
        waiting.unregister(connection)
        connection.close()


def icmp(address: str, patience: float) -> dict[str, Any]:
    """Send one echo request and wait for its reply; patience: seconds."""
    return {"rtt_ms": _echo_request(address, os.urandom(32), patience)}


def tcp(address: str, patience: float) -> dict[str, Any]:
    """Send a token over a connection and wait for it to come back."""
    token = os.urandom(32)
    started = time.perf_counter()
    with socket.create_connection((address, PORT), timeout=patience) as connection:
        answer = _echo(connection, token)
    return {"rtt_ms": _checked(started, token, answer)}


def _echo(connection: socket.socket, token: bytes) -> bytes:
    """What comes back for a token over a connection, less than it where the connection ends before."""
    connection.sendall(token)
    answer = b""
    while len(answer) < len(token):
        data = connection.recv(len(token) - len(answer))
        if not data:
            break
        answer += data
    return answer


def udp(address: str, patience: float) -> dict[str, Any]:
    """Send a datagram and wait for it to come back."""
    token = os.urandom(32)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(patience)
        sender.connect((address, PORT))
        started = time.perf_counter()
        sender.send(token)
        answer = sender.recv(65535)
    return {"rtt_ms": _checked(started, token, answer)}


def resolves(host: str, addresses: list[str]) -> dict[str, Any]:
    """The name, resolved by what the container has for that, has to give just these addresses."""
    started = time.perf_counter()
    found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None, socket.AF_INET)})
    if found != sorted(addresses):
        raise NoAnswer(f"{host} resolves to {', '.join(found)}, not to {', '.join(sorted(addresses))}")
    return {"ms": _since(started)}


def mtu(address: str) -> dict[str, Any]:
    """Find the largest packet, headers included, that crosses whole; it has to be as large as the interface's MTU."""
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


def _words(error: Exception) -> str:
    """Why a check failed."""
    return "no answer" if isinstance(error, TimeoutError) else str(error)


def attempt(check: Callable[[float], dict[str, Any]], timeout: float) -> dict[str, Any]:
    """The check's result with "ok"; the check is repeated until it passes or timeout seconds have passed.

    check takes the seconds to wait for an answer: longer with each try, and the longest in the last one.
    """
    deadline, patience = time.monotonic() + timeout, FIRST_PATIENCE
    while True:
        started = time.monotonic()
        last = started + patience >= deadline
        try:
            return {"ok": True, **check(PATIENCE if last else patience)}
        except (NoAnswer, OSError) as error:
            reason = _words(error)
        if time.monotonic() >= deadline:
            return {"ok": False, "reason": reason}
        patience = min(PATIENCE, 2 * patience)
        # An immediate refusal would otherwise be asked for again as fast as the processor can.
        time.sleep(max(0.0, min(PATIENCE / 4 - (time.monotonic() - started), deadline - time.monotonic())))


def _attempts(checks: dict[str, Callable[[float], dict[str, Any]]], timeout: float) -> dict[str, dict[str, Any]]:
    """All checks, one after the other; after the time each has one try left."""
    deadline = time.monotonic() + timeout
    return {name: attempt(check, deadline - time.monotonic()) for name, check in checks.items()}


def measure_peer(peer: dict[str, str], timeout: float) -> dict[str, dict[str, Any]]:
    """All checks of one peer; see _attempts."""
    host, address = peer["host"], peer["address"]
    checks: dict[str, Callable[[float], dict[str, Any]]] = {
        "icmp": lambda patience: icmp(address, patience),
        "tcp": lambda patience: tcp(address, patience),
        "udp": lambda patience: udp(address, patience),
        "dns": lambda _patience: resolves(host, [address]),
    }
    # The search repeats its own probes.
    return {**_attempts(checks, timeout), "mtu": attempt(lambda _patience: mtu(address), 0)}


def service_checks(service: dict[str, Any], balancer: str | None) -> dict[str, Callable[[float], dict[str, Any]]]:
    """The checks of a service, which is {"name", "endpoint_mode", "address", "tasks": [{"id", "address"}]}.

    dns: its name gives its address, or where it has none (dnsrr) those of its tasks; tasks: tasks.NAME gives those of
    its tasks; each: every task answers at its own address; vip and vip_udp: connections and datagrams to its address
    reach every task in turn, and come from the network's load balancer on this node; bulk: a quarter of a MiB comes
    back whole. balancer: that load balancer's address, empty where it is not known, None on a kernel without IPVS, on
    which there are no checks of the last three.
    """
    name, tasks = service["name"], service["tasks"]
    addresses = sorted(task["address"] for task in tasks)
    vip = service["address"]
    checks: dict[str, Callable[[float], dict[str, Any]]] = {
        "dns": lambda _patience: resolves(name, [vip] if vip else addresses),
        "tasks": lambda _patience: resolves(f"tasks.{name}", addresses),
        "each": lambda patience: _each_task(tasks, patience),
    }
    if vip and balancer is not None:
        wanted = {task["id"] for task in tasks}
        checks["vip"] = lambda patience: in_turn(wanted, lambda: which_tcp(vip, PORT, patience), balancer)
        checks["vip_udp"] = lambda patience: in_turn(wanted, lambda: which_udp(vip, PORT, patience), balancer)
        checks["bulk"] = lambda _patience: _bulk(vip)
    return checks


def _each_task(tasks: list[dict[str, str]], patience: float) -> dict[str, Any]:
    """Every task answers at its own address, and is the one that has it."""
    slowest = 0.0
    for task in tasks:
        started = time.perf_counter()
        try:
            found, _seen = which_tcp(task["address"], PORT, patience)
        except OSError as error:
            raise NoAnswer(f"{task['address']} on {task['node']}: {_words(error)}") from error
        if found != task["id"]:
            raise NoAnswer(f"{task['address']} is not the task on {task['node']}, but {found or 'no task'}")
        slowest = max(slowest, _since(started))
    return {"rtt_ms": slowest}


def in_turn(wanted: set[str], ask: Callable[[], tuple[str, str]], source: str = "") -> dict[str, Any]:
    """Ask for two rounds or more, until every task has answered and none was asked in vain.

    A task that is gone and still has its turn is met in the second round. source: the address that they have to see
    the questions come from.
    """
    seen: dict[str, int] = {}
    slowest, troubles = 0.0, 0
    for question in range(ROUNDS * len(wanted)):
        started = time.perf_counter()
        try:
            task, peer = ask()
        except OSError:
            troubles += 1
            continue
        if task not in wanted:
            raise NoAnswer(f"{task or 'something else'} answered, which is no task of this service")
        if source and peer != source:
            raise NoAnswer(f"a task sees {peer} in the place of {source}")
        seen[task] = seen.get(task, 0) + 1
        slowest = max(slowest, _since(started))
        if question + 1 >= 2 * len(wanted) and wanted <= set(seen) and not troubles:
            return {"tasks": len(seen), "rtt_ms": slowest}
    lost = f", {troubles} of {ROUNDS * len(wanted)} questions had no answer" if troubles else ""
    raise NoAnswer(f"{len(seen)} of {len(wanted)} tasks answered{lost}")


def which_tcp(address: str, port: int, patience: float) -> tuple[str, str]:
    """The ID of the task that a connection leads to, and the address from which that sees it come."""
    with socket.create_connection((address, port), timeout=patience) as connection:
        connection.sendall(WHICH)
        return _told(connection.recv(65535))


def which_udp(address: str, port: int, patience: float) -> tuple[str, str]:
    """The same of a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(patience)
        sender.connect((address, port))
        sender.send(WHICH)
        return _told(sender.recv(65535))


def _told(answer: bytes) -> tuple[str, str]:
    task, _blank, peer = answer.decode(errors="replace").partition(" ")
    return task, peer


def _bulk(address: str) -> dict[str, Any]:
    """Send much and get it back, in pieces that fit what an echo holds."""
    piece = os.urandom(16384)
    started = time.perf_counter()
    with socket.create_connection((address, PORT), timeout=PATIENCE * 4) as connection:
        for _piece in range(BULK_BYTES // len(piece)):
            _checked(started, piece, _echo(connection, piece))
    return {"bytes": BULK_BYTES, "ms": _since(started)}


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Every peer's checks, by the peer's name, and whether all peers are done with this container."""
    peers, timeout = order["peers"], float(order["timeout"])
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
        results = list(pool.map(lambda peer: measure_peer(peer, timeout), peers))
        reached = [peer["address"] for peer, result in zip(peers, results) if result["tcp"]["ok"]]
        list(pool.map(lambda address: _exchange(address, BYE), reached))
    found = {peer["name"]: result for peer, result in zip(peers, results)}
    services = {
        service["name"]: _attempts(service_checks(service, order.get("balancer")), timeout)
        for service in order.get("services", [])
    }
    return {
        "peers": found,
        "services": services,
        "done": all_done({peer["address"] for peer in peers}, float(order["linger"])),
    }


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
    """A container's answer to a message, empty without one."""
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
