# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this host can dial the others, and where it can't, whether its own firewall is the cause.

No connection is made: sshd counts a connection without a login as a fault of its client, and shuts that client out
after some. The first packet is sent, and its answer waited for. The kernel knows of no such connection and resets it.
Only where no answer comes are this host's rules searched for a drop.
"""

from __future__ import annotations

import ipaddress
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._core.command import Runner
from .._core.errors import OversshError
from .._core.files import read_text
from .._linux import proc
from .._linux.packet import first_packet
from .._linux.routes import device_to
from .._nftables import legacy, listing
from .._nftables.accept import TRACKING_PRIORITY
from .._nftables.conditions import UNTRACKED, Packet
from .._nftables.ruleset import Chain, Ruleset
from .._nftables.traversal import Event, Reader, Walker, deciding_rule

SECONDS = 2.0
# When the packet is sent once more, since one alone may be lost.
TRIES = (0.0, 0.6, 1.2)
OUT, BACK = ("output", "postrouting"), ("prerouting", "input")
# What the kernel takes for the ports of its own connections, as far as it is the same everywhere.
EPHEMERAL = (49152, 60999)
HEADER = {4: 20, 6: 40}
RST, SYN_ACK = 0x04, 0x12
SILENT, REFUSED = f"no answer within {SECONDS:g} s", "Connection refused"


@dataclass(frozen=True)
class DialRoute:
    """How packets to a place leave: its address, this host's own address, and the device, "" where unknown."""

    address: str
    source: str
    device: str = ""

    @property
    def family(self) -> str:
        """The address family in nft's words."""
        return "ip6" if ":" in self.address else "ip"


def problems(run: Runner, dials: Sequence[Mapping[str, Any]], nft: bool) -> list[str]:
    """Sentences on each place that this host can't dial.

    dials: the places, each with peer, host and port; nft: whether the host has nft.
    """
    ends: list[tuple[str, DialRoute | None]] = [("", None)] * len(dials)
    threads = [
        threading.Thread(target=_try, args=(ends, index, dial["host"], int(dial["port"])), daemon=True)
        for index, dial in enumerate(dials)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + SECONDS + 1
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    rulesets: list[Ruleset] | None = None
    said = []
    for dial, (why, way) in zip(dials, list(ends)):
        if not why:
            continue
        place = f"can't dial {dial['peer']} at {dial['host']} port {dial['port']}"
        own = None
        if way is not None and why != REFUSED and nft:
            rulesets = _rulesets(run) if rulesets is None else rulesets
            there = DialRoute(way.address, way.source, device_to(run, way.address))
            own = next((text for one in rulesets for text in obstacles(one, there, int(dial["port"]))), None)
        said.append(f"{place}: {own or _elsewhere(why, way)}.")
    return said


def _try(ends: list[tuple[str, DialRoute | None]], index: int, host: str, port: int) -> None:
    """Put at the index of ends why the place can't be dialled, empty where it can, and the way there."""
    try:
        address = str(socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        ends[index] = (f"this host can't resolve the name {host} ({error.strerror or error})", None)
        return
    try:
        way = DialRoute(address, _source(address))
    except OSError as error:
        ends[index] = (f"it has no way there ({error.strerror or error})", None)
        return
    try:
        ends[index] = ("" if connected(address, port) else knock(way, port), way)
    except PermissionError:  # no raw sockets in this container: then nothing is known
        return
    except OSError as error:  # what an ICMP message said
        ends[index] = (error.strerror or str(error), way)


def _elsewhere(why: str, way: DialRoute | None) -> str:
    """The advice where no rule of this host is the cause."""
    if why == REFUSED:
        return f"nothing listens there ({why}); set overssh_dial_host and overssh_dial_port to where its sshd does"
    if way is None:
        return f"{why}; set overssh_dial_host to an address that this host reaches"
    return (
        f"{why}, and no rule of this host drops it; open that port in the firewall there or on the way, or set "
        "overssh_dial_host and overssh_dial_port to where its sshd can be reached"
    )


def _source(address: str) -> str:
    """This host's address for packets to another one; OSError where there is no way. Nothing is sent."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as asked:
        asked.connect((address, 9))
        return str(asked.getsockname()[0])


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connected(address: str, port: int) -> bool:
    """Whether this host has a TCP connection to that place already, such as a link that is up."""
    wanted = ipaddress.ip_address(address)
    for name in ("tcp", "tcp6"):
        for row in map(str.split, (read_text(f"/proc/thread-self/net/{name}") or "").splitlines()[1:]):
            there, _colon, number = row[2].rpartition(":")
            if row[3] == proc.ESTABLISHED and int(number, 16) == port and _unpacked(there) == wanted:
                return True
    return False


def _unpacked(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as /proc/net/tcp writes it: words of 32 bits in the host's own order."""
    words = [struct.pack("=I", int(text[at : at + 8], 16)) for at in range(0, len(text), 8)]
    found = ipaddress.ip_address(b"".join(words))
    return getattr(found, "ipv4_mapped", None) or found


def knock(way: DialRoute, port: int) -> str:
    """Why a first packet gets no answer, "" where it gets one; PermissionError where none can be sent.

    The kernel reports a drop by an outgoing rule to the sender; that counts as no answer.
    """
    here, there = ipaddress.ip_address(way.source), ipaddress.ip_address(way.address)
    own = random.randint(*EPHEMERAL)  # noqa: S311  # nothing hangs on it
    packet = first_packet("tcp", here, there, own, port)[HEADER[here.version] :]
    with socket.socket(_family(way.address), socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.connect((way.address, 0))
        begun = time.monotonic()
        for until in (*TRIES[1:], SECONDS):
            _send(raw, packet)
            while (left := begun + until - time.monotonic()) > 0:
                ready, _writing, _errors = select.select([raw], [], [], left)
                flags = _answer(raw.recv(4096), own, port, here.version) if ready else 0
                if flags & SYN_ACK == SYN_ACK:
                    return ""
                if flags & RST:
                    return REFUSED
    return SILENT


def _send(raw: socket.socket, packet: bytes) -> None:
    """Send it, or not, where a rule of this host says so."""
    try:
        raw.send(packet)
    except PermissionError:
        return


def _answer(packet: bytes, own: int, port: int, version: int) -> int:
    """The flags of a TCP packet from that port to ours, 0 of any other. IPv6 comes without its header."""
    tcp = packet[(packet[0] & 0x0F) * 4 :] if version == 4 else packet
    if len(tcp) < 14 or struct.unpack("!HH", tcp[:4]) != (port, own):
        return 0
    return tcp[13]


def _rulesets(run: Runner) -> list[Ruleset]:
    """The rules of nft, and those of iptables-legacy where there are any; none where they can't be read."""
    reads: tuple[Callable[[], Ruleset], ...] = (
        lambda: listing.ruleset(run),
        lambda: legacy.observe(run).ruleset,
    )
    found = []
    for read in reads:
        try:
            found.append(read())
        except OversshError:
            continue
    return found


def obstacles(ruleset: Ruleset, way: DialRoute, port: int) -> Iterator[str]:
    """The rules that may drop a new connection's packets or the answers, each with what to do; pure."""
    walker = Walker(ruleset, Reader(ruleset))
    for hook in (*OUT, *BACK):
        for base in ruleset.base_chains(hook, {way.family, "inet"}):
            event = walker.first_drop(base, _packet(way, port, hook, base.priority))
            if event is not None:
                yield _words(ruleset, base, event, way, port, hook)


def _packet(way: DialRoute, port: int, hook: str, priority: int) -> Packet:
    here, there = ipaddress.ip_network(way.source), ipaddress.ip_network(way.address)
    untracked = hook in ("output", "prerouting") and priority < TRACKING_PRIORITY
    if hook in OUT:
        return Packet(
            family=way.family,
            state=UNTRACKED if untracked else "new",
            hook=hook,
            iif="",
            oif=way.device or None,
            protocol="tcp",
            port=(port, port),
            source=here,
            destination=there,
        )
    return Packet(
        family=way.family,
        state=UNTRACKED if untracked else "established",
        hook=hook,
        iif=way.device or None,
        oif="",
        protocol="tcp",
        source=there,
        destination=here,
    )


def _words(ruleset: Ruleset, base: Chain, event: Event, way: DialRoute, port: int, hook: str) -> str:
    rule = deciding_rule(ruleset, event)
    what = (
        f"the policy {base.policy} of {base.key}"
        if rule is None
        else f"{rule.text or rule.comment!r} in {event.deciding.key}"
    )
    if hook in OUT:
        return f"this host's own firewall drops it, by {what}; accept tcp port {port} to {way.address} before that"
    return (
        f"this host's own firewall drops the answers, by {what}; accept packets of established connections before that"
    )
