# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of nft_trace: has the kernel trace one packet, and returns its path."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Optional

from .._core.command import Runner
from .._core.errors import OversshError
from .._linux.packet import Address, first_packet
from .._nftables import ours
from .._nftables.accept import interfaces_from
from .._nftables.conditions import Network
from . import inject as trace_inject
from .loss import lost, unsent
from .netlink import Monitor, OverrunError
from .path import TracePath, TracePaths
from .sender import PAUSE, Sender
from .table import TABLE_PREFIX, Described, armed, single, table_text
from .verdict import Observed, answer

# Seconds that a packet of which something was seen has to come to its end.
PATIENCE = 1.0
LONGEST = 600
# Those that nothing else on the host is likely to use.
EPHEMERAL = (49152, 65535)

NO_DESTINATION = "destination is missing: say which address the packet is sent to"

Send = Optional[Callable[[], None]]


def described_from(options: Mapping[str, Any]) -> Described:
    """The packet that a task's options describe; OversshError names the wrong option."""
    in_interface = options.get("in_interface") or ""
    described = Described(
        path=options["path"],
        protocol=options["protocol"],
        port=_port(options, "port"),
        source_port=_port(options, "source_port"),
        in_interface="".join(interfaces_from([in_interface] if in_interface else [], "", "in_interface")),
        source=_network(options, "source"),
        destination=_network(options, "destination"),
    )
    _check(described, options)
    return described


def _check(described: Described, options: Mapping[str, Any]) -> None:
    """OversshError where the options don't go together."""
    ported = described.protocol in ("tcp", "udp")
    if not ported and (described.port or described.source_port or options.get("peer_port")):
        raise OversshError(f"ports belong to the protocols tcp and udp, not to {described.protocol}")
    if ported and described.port is None:
        raise OversshError(f"port is missing: say which {described.protocol} port the packet is for")
    if len(described.versions) > 1:
        raise OversshError("protocol, source and destination have no address family in common")
    if described.path == "output" and (described.in_interface or options.get("peer")):
        raise OversshError("a packet of path output is this host's own: it has no in_interface, and no peer sends it")
    if options.get("peer"):
        _target(described, options)
        _port(options, "peer_port")
    if options.get("inject") and single(described.destination) is None and not _to_inlet(described, options):
        raise OversshError(NO_DESTINATION)
    if options.get("inject") and described.path != "output" and not described.in_interface:
        raise OversshError("in_interface is missing: say by which interface the packet shall seem to have come in")
    if options.get("inject") and described.source is not None and single(described.source) is None:
        raise OversshError(f"source is {described.source}; with inject it takes one address")
    if not 1 <= int(options.get("timeout") or 0) <= LONGEST:
        raise OversshError(f"timeout takes 1 to {LONGEST} seconds")


def probe_from(options: Mapping[str, Any]) -> dict[str, Any]:
    """The peer's packets, as _trace.sender takes them; OversshError for wrong options."""
    described = described_from(options)
    source = single(described.source)
    return {
        "protocol": described.protocol,
        "destination": str(_target(described, options)),
        "port": _port(options, "peer_port") or described.port,
        "source": source and str(source),
        "source_port": described.source_port,
    }


def _target(described: Described, options: Mapping[str, Any]) -> Address:
    """The address that the peer sends to."""
    there = _network(options, "peer_destination") or described.destination
    if there is None:
        raise OversshError(NO_DESTINATION)
    address = single(there)
    if address is None or not described.versions <= {address.version}:
        raise OversshError(f"a peer can't send this packet to {there}; that takes one address, of the packet's family")
    return address


def _to_inlet(described: Described, options: Mapping[str, Any]) -> bool:
    """Whether the packet goes to the address of the interface that it comes in by."""
    return bool(options.get("inject")) and described.path == "input" and described.destination is None


def _port(options: Mapping[str, Any], name: str) -> int | None:
    value = options.get(name)
    if value is not None and not 1 <= int(value) <= 65535:
        raise OversshError(f"{name} is {value}; it takes 1 to 65535")
    return None if value is None else int(value)


def _network(options: Mapping[str, Any], name: str) -> Network | None:
    value = options.get(name)
    if not value:
        return None
    try:
        return ipaddress.ip_network(str(value))
    except ValueError as error:
        raise OversshError(f"{name} is {value!r}, which is no address or network: {error}") from error


def trace(run: Runner, described: Described, inject: bool, timeout: float) -> dict[str, Any]:
    """Wait for the packet, at most timeout seconds, and return the answer; inject: make the packet, too."""
    if described.in_interface:
        trace_inject.read_inlet(described.in_interface)
    ways = TracePaths(f"{TABLE_PREFIX}{os.getpid()}")
    with contextlib.ExitStack() as stack:
        send = stack.enter_context(_sender(run, described)) if inject else None
        monitor = stack.enter_context(Monitor())
        stack.enter_context(armed(table_text(f"{TABLE_PREFIX}{os.getpid()}", described)))
        _watch(monitor, ways, send, timeout)
    names = dict(socket.if_nameindex())
    way = ways.best()
    why = _why(run, described, way, names) if inject or way.first is not None else ""
    return answer(Observed(described, way, ours.ruleset(run), names, lost=why, waited=timeout))


def _why(run: Runner, described: Described, way: TracePath, names: Mapping[int, str]) -> str:
    """What is to blame where no rule is, "" where that isn't known."""
    if way.passed or way.decided:
        return ""
    if way.first is not None:
        return lost(run, way, names)
    return unsent(run, str(single(described.destination))) if described.path == "output" else ""


def _watch(monitor: Monitor, ways: TracePaths, send: Send, timeout: float) -> None:
    """Until a packet has come to its end, or has had the time for it, or none has come in time.

    OverrunError where one may have come and was lost.
    """
    given = deadline = time.monotonic() + timeout
    overrun: OverrunError | None = None
    while not ways.best().ended and time.monotonic() < deadline:
        if send is not None and not ways:
            send()
        begun = bool(ways)
        try:
            ways.add(monitor.read(min(PAUSE, max(0.0, deadline - time.monotonic()))))
        except OverrunError as error:
            ways.forget()
            deadline, overrun = given, error
        if ways and not begun:
            deadline = time.monotonic() + PATIENCE
    if overrun is not None and not ways:
        raise overrun


@contextlib.contextmanager
def _sender(run: Runner, described: Described) -> Iterator[Callable[[], None]]:
    """What makes the packet anew at each call."""
    source, destination = single(described.source), single(described.destination)
    port = described.port or 0
    if described.path == "output":
        probe = {"protocol": described.protocol, "destination": str(destination), "port": port}
        sender = Sender({**probe, "source": source and str(source), "source_port": described.source_port})
        with contextlib.closing(sender):
            yield sender.send
        return
    here = trace_inject.read_inlet(described.in_interface)
    source, destination = trace_inject.ends(here, min(described.versions, default=None), source, destination)
    with trace_inject.injector(run, here) as inject:

        def send() -> None:
            # A port that no connection is known of: the answer is about a new one.
            source_port = described.source_port or random.randint(*EPHEMERAL)  # noqa: S311  # nothing hangs on it
            inject(first_packet(described.protocol, source, destination, source_port, port))

        yield send
