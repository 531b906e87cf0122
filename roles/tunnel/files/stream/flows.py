# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that wait, flow by flow."""

from __future__ import annotations

import socket
from collections import deque

from wire import VNET_HEADER

# A flow that was idle sends QUANTUM bytes before it takes turns. A connection inside takes long to recover from a
# dropped packet on a long path, and its packets come in bursts where the path loses some. So its queue may be long for
# a while, and packets are dropped, ever more of them, once it has taken longer than a target for an interval, but not
# of FEWEST: nobody sends less than these.
QUANTUM, FEWEST = 16 * 1024, 4

# The protocols whose packets begin with two ports, and the places of fields in IP headers (RFC 791, 8200).
PORTED = (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
PLAIN_IPV4, MORE_FRAGMENTS_AND_OFFSET = 0x45, 0x3FFF
IPV4_HEADER, IPV6_HEADER, PORTS = 20, 40, 4


class Flow:
    """The packets of one flow that wait, each with the time at which it came, and how many bytes they are together."""

    __slots__ = ("deficit", "drop_at", "drops", "size", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.size, self.deficit = 0, QUANTUM
        # When one is to be dropped for the queue's sake, and how many were.
        self.drop_at, self.drops = float("inf"), 0


class Flows:
    """Packets that wait, by flow: one that was idle passes those that send much, and these take turns.

    So whoever sends much waits for himself, and those packets pass him that keep a swarm together. (The ideas are
    FQ-CoDel's, RFC 8290.)
    """

    def __init__(self) -> None:
        self._flows: dict[bytes, Flow] = {}
        self._new: deque[bytes] = deque()
        self._old: deque[bytes] = deque()
        self.size = self.dropped = 0

    def __contains__(self, key: bytes) -> bool:
        """Whether packets of this flow wait."""
        flow = self._flows.get(key)
        return flow is not None and flow.size > 0

    def put(self, key: bytes, packet: bytes, now: float) -> None:
        """A packet of this flow, behind its virtio-net header, came now (seconds)."""
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = Flow()
            self._new.append(key)
        flow.waiting.append((now, packet))
        flow.size += len(packet)
        self.size += len(packet)

    def shorten(self, limit: int) -> None:
        """Drop until no more than limit bytes wait: the older half of what the longest flow has, as often as needed."""
        while self.size > limit:
            longest = max(self._flows.values(), key=lambda flow: flow.size)
            for _packet in range((len(longest.waiting) + 1) // 2):
                self._drop(longest)

    def take(self, now: float, target: float, interval: float) -> bytes | None:
        """The packet that leaves next, None where none waits.

        Of a flow whose packets have been waiting longer than target for interval (seconds), some are dropped.
        """
        while self._new or self._old:
            turns = self._new or self._old
            key = turns.popleft()
            flow = self._flows[key]
            if flow.deficit <= 0:
                flow.deficit += QUANTUM
                self._old.append(key)
                continue
            self._keep_short(flow, now, target, interval)
            if flow.waiting:
                turns.appendleft(key)
                packet = self._first(flow)
                flow.deficit -= len(packet)
                return packet
            # One that comes and goes takes its turn, too.
            if turns is self._new:
                self._old.append(key)
            else:
                del self._flows[key]
        return None

    def _keep_short(self, flow: Flow, now: float, target: float, interval: float) -> None:
        while flow.waiting and now - flow.waiting[0][0] >= target:
            flow.drop_at = min(flow.drop_at, now + interval)
            if now < flow.drop_at or len(flow.waiting) <= FEWEST:
                return
            flow.drops += 1
            flow.drop_at = now + interval / flow.drops**0.5
            self._drop(flow)
        flow.drop_at, flow.drops = float("inf"), 0

    def _drop(self, flow: Flow) -> None:
        self._first(flow)
        self.dropped += 1

    def _first(self, flow: Flow) -> bytes:
        packet = flow.waiting.popleft()[1]
        flow.size -= len(packet)
        self.size -= len(packet)
        return packet


def flow_of(packet: bytes) -> bytes:
    """What all packets of a flow have alike: protocol, addresses, and ports where each packet has them.

    It distinguishes the flows in a VXLAN as well, as the kernel makes the outer source port of the inner flow.
    """
    header = packet[VNET_HEADER : VNET_HEADER + IPV6_HEADER + PORTS]
    if len(header) > IPV4_HEADER and header[0] == PLAIN_IPV4:
        whole = not int.from_bytes(header[6:8], "big") & MORE_FRAGMENTS_AND_OFFSET
        return header[9:10] + header[12 : IPV4_HEADER + (PORTS if whole and header[9] in PORTED else 0)]
    if len(header) > IPV6_HEADER and header[0] >> 4 == 6:
        return header[6:7] + header[8 : IPV6_HEADER + (PORTS if header[6] in PORTED else 0)]
    return b""
