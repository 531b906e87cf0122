# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nft table that has the kernel trace one kind of packet.

This process owns the table. The kernel removes it when the process ends, however it ends.
"""

from __future__ import annotations

import ctypes
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .._core.errors import OversshError
from .._nftables.accept import family_of, network_text
from .._nftables.conditions import Network

# nftables has a binding of its own, the module nftables of python3-nftables (1.0.6, 1.1.3). It is ctypes over the same
# library, and there less often. Debian's nftables brings the library alone; the module means four more packages on
# Debian 12, six on 13. Pythons other than the system's don't have it: PyPI has but copies by others, of 1.0.2. A copy
# may not fit the library: 1.1.3 asks that of 1.0.6 for nft_ctx_input_get_flags. It leaves the table's end to __del__.
LIBRARY = "libnftables.so.1"
# Result and arguments, of nftables/libnftables.h; struct nft_ctx is a pointer that only the library looks behind.
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "nft_ctx_new": (ctypes.c_void_p, [ctypes.c_uint32]),
    "nft_ctx_free": (None, [ctypes.c_void_p]),
    "nft_ctx_buffer_error": (ctypes.c_int, [ctypes.c_void_p]),
    "nft_ctx_get_error_buffer": (ctypes.c_char_p, [ctypes.c_void_p]),
    "nft_run_cmd_from_buffer": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
}
TABLE_PREFIX = "overssh-trace-"
# Before and after everybody else; conntrack itself ends a hook at 2147483647.
FIRST, LAST = -2147483000, 2147483000
# Where the packets come in, for each path, and the hooks after that.
ENTRIES = {"input": "prerouting", "forward": "prerouting", "output": "output"}
LATER = ("input", "forward", "postrouting")
# What the chains at a hook's beginning and end are named, after the hook.
IN, OUT = "_in", "_out"
# A flood of such packets is not traced packet by packet.
LIMIT = "limit rate 10/second burst 5 packets"
MATCHES = {
    # The first packet of a connection.
    "tcp": "tcp flags & (fin | syn | rst | ack) == syn",
    "udp": "meta l4proto udp",
    "icmp": "icmp type echo-request",
    "icmpv6": "icmpv6 type echo-request",
}
VERSIONS = {"icmp": {4}, "icmpv6": {6}}


@dataclass(frozen=True)
class Described:
    """The packet to trace; None and "" stand for any."""

    path: str
    protocol: str
    port: int | None = None
    source_port: int | None = None
    in_interface: str = ""
    source: Network | None = None
    destination: Network | None = None

    @property
    def match(self) -> str:
        """The packet's match in nft's language."""
        words = [f'iifname "{self.in_interface}"'] if self.in_interface else []
        for name, network in (("saddr", self.source), ("daddr", self.destination)):
            if network is not None:
                words.append(f"{family_of(network)} {name} {network_text(network)}")
        words.append(MATCHES[self.protocol])
        for name, port in (("sport", self.source_port), ("dport", self.port)):
            if port is not None:
                words.append(f"{self.protocol} {name} {port}")
        return " ".join(words)

    @property
    def words(self) -> str:
        """The packet in words for people."""
        parts = [self.protocol if self.port is None else f"{self.protocol} {self.port}"]
        parts += [f"from {network_text(self.source)}"] if self.source is not None else []
        parts += [f"to {network_text(self.destination)}"] if self.destination is not None else []
        parts += [f"by {self.in_interface}"] if self.in_interface else []
        return " ".join(parts)

    @property
    def versions(self) -> set[int]:
        """The IP versions that the described values imply; several contradict each other."""
        found: set[int] = {network.version for network in (self.source, self.destination) if network is not None}
        return found | VERSIONS.get(self.protocol, set())


def single(network: Network | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address of a network that is a single address."""
    return network.network_address if network is not None and network.num_addresses == 1 else None


def table_text(name: str, described: Described) -> str:
    """The table: chains that mark the packets where they enter, and empty chains that show how far they come."""
    entry = ENTRIES[described.path]
    marks = f"{described.match} {LIMIT} meta nftrace set 1"
    chains = []
    # A device's own chains come before all others.
    if described.in_interface:
        chains.append(_chain("ingress", f'ingress device "{described.in_interface}"', FIRST, marks))
    chains.append(_chain(f"{entry}{IN}", entry, FIRST, marks))
    chains.append(_chain(f"{entry}{OUT}", entry, LAST))
    for hook in LATER:
        chains.append(_chain(f"{hook}{IN}", hook, FIRST))
        chains.append(_chain(f"{hook}{OUT}", hook, LAST))
    return "\n".join([f"table inet {name} {{", "flags owner;", *chains, "}"])


def _chain(name: str, hook: str, priority: int, rule: str = "") -> str:
    return f"chain {name} {{ type filter hook {hook} priority {priority}; policy accept; {rule}\n}}"


@contextmanager
def armed(text: str) -> Iterator[None]:
    """A context in which the table exists.

    A table belongs to the netlink socket that made it, so a child process can't make it.
    """
    library = _library()
    context = library.nft_ctx_new(0)
    try:
        library.nft_ctx_buffer_error(context)
        if library.nft_run_cmd_from_buffer(context, text.encode()):
            words = (library.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace").split("\n")[0]
            raise OversshError(
                f"can't have the kernel trace the packet: {words.rpartition('Error: ')[2] or 'nft does not say why'}; "
                "it takes Linux 5.12 or later and root's rights"
            )
        yield
    finally:
        library.nft_ctx_free(context)


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise OversshError(f"{LIBRARY} is not on this host; install the package libnftables1") from error
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
