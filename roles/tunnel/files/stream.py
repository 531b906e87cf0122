# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One end of a stream link: whole packets between a tun device and the standard input and output of an ssh session.

    stream.py dial --device tun1001 --lanes auto --silence 2.5 --peer cloud1 -- ssh -F cloud1.conf -T cloud1
    stream.py serve --device tun1002 --lanes auto

The dialling end runs ssh, once for each lane; the serving end is the command that ssh's key is bound to there. Each
says hello with a line, then frames go both ways: four bytes, of which the first is the kind and the rest the length,
and for a packet what the tun device gives and takes, a virtio-net header and the packet (linux/virtio_net.h). Thanks to
that header a packet may be a TCP segment of 64 KiB that nobody has cut or summed up yet (linux/if_tun.h).

A link of a fixed number of lanes has a process and a queue of the device for each, so that it uses several processors.
One of `--lanes auto` has one process at each end and begins with one lane. Where the window of an ssh session is all
that holds packets back, it opens more, and closes them again once they have been of no use for a while. Packets go by
whichever lane has room and have a number then, by which the far end puts each flow in order.

A peer that says nothing for a while is gone, as each end says at least that it is alive. Whatever goes wrong ends the
process with one line on standard error; whoever runs it starts it again.

Nothing but the standard library, and nothing that Python 3.6 can't read, so that it can say there what it needs.
"""

import argparse
import contextlib
import errno
import fcntl
import gc
import json
import os
import re
import secrets
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import syslog
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

# What the two ends speak; both have to have the same.
VERSION = "1"
OLDEST_PYTHON = (3, 9)

HELLO = b"OVERSSH-STREAM "
LONGEST_HELLO = 4096
# ssh has its own time-out for the connection; this one is for everything until the far end's helper answers.
HELLO_SECONDS = 60.0
# What the far end's login prints, as a global sshrc does, is passed over; its helper has so long to speak after that.
PASSING_SECONDS = 10.0
TAKE_OVER_SECONDS = 5.0

HEAD = struct.Struct("!I")
# A question has the time at which it left, an answer how long the question was on its way, both in microseconds of
# clocks that have nothing to do with each other: only how that changes says something.
QUESTION, REPLY = struct.Struct("!IQ"), struct.Struct("!Iq")
PACKET, BEAT, ASK, ANSWER = 0x50, 0x42, 0x41, 0x52
# A packet with a number: its own, and how far before it the one is that it follows, 0 where it need not wait for any.
NUMBERED, NUMBER = 0x4E, struct.Struct("!QI")
# This end has more to send than its lanes take, sends nothing more over this lane, has given up all but the first.
WANT, LEAVE, CUT = 0x57, 0x4C, 0x43
LENGTHS = {BEAT: 0, ASK: QUESTION.size - HEAD.size, ANSWER: REPLY.size - HEAD.size, WANT: 0, LEAVE: 0, CUT: 0}
NO_TIME = 1 << 62
LENGTH = 0xFFFFFF
VNET_HEADER = 10
LARGEST = VNET_HEADER + 65535
SMALLEST = VNET_HEADER + 1

# Packets are read off the device until there is none left or so many bytes are together, and written at once.
BATCH = 128 * 1024
TURNS = 512
INBOUND_ROOM, INBOUND_LEAST = 1024 * 1024, 256 * 1024
# A queue holds what goes out in this time at the rate that was measured, within these bounds, and the pipe behind it
# less than that: a full queue delays everything that comes after it.
QUEUE_SECONDS, PIPE_SECONDS = 0.002, 0.001
QUEUE_LEAST, QUEUE_MOST = 32 * 1024, 2 * 1024 * 1024
# On longer paths than this (microseconds) each flow has a queue of its own: one that was idle sends QUANTUM bytes
# before it takes turns. A connection inside takes long to recover from a dropped packet there, and its packets come in
# bursts where the path loses some. So its queue may be long for a while, and packets are dropped, ever more of them,
# once it has taken longer than TARGET for INTERVAL (seconds), but not of FEWEST: nobody sends less than these.
LONG_PATH = 3_000
QUANTUM, TARGET, INTERVAL, FEWEST = 16 * 1024, 0.005, 0.1, 4
# What a flow may have sent of late, in bytes, to be one that sends little: about a fifth of what it sends in a second.
LITTLE = 32 * 1024
PIPE_LEAST, PIPE_MOST = 64 * 1024, 1024 * 1024
# A full queue still takes packets as small as those that keep a swarm together, up to so much more.
SMALL, SMALL_ROOM = 1500, 64 * 1024
CONTROL_ROOM = 16 * 1024
TUNE_SECONDS = 0.1
# So many bytes may be on their way: as many as keep the delay they make in pipe, ssh and network near the aimed one.
WINDOW_LEAST, WINDOW_FIRST, WINDOW_MOST = 64 * 1024, 1024 * 1024, 16 * 1024 * 1024
# The delay aimed at, in microseconds: a quarter of the round trip, as BBR sends that much more to see whether a line
# has become faster, within these bounds.
DELAY, LONGEST_DELAY = 10_000, 25_000
EPOCH_SECONDS = 10.0
ASKS_A_WINDOW, ASK_LEAST = 4, 16 * 1024
# Where there is no queue for several round trips, the window grows by up to so many times what would make one.
FASTEST = 1024.0
# The least window and still a long delay: after so many answers the path is left empty, to see how long it is now, and
# not again for so many seconds, or ever more where it was in vain.
STUCK, EMPTY_AGAIN_SECONDS, EMPTY_LONGEST_SECONDS = 4, 2.0, 60.0
# What TCP can't send yet waits in its socket, where nothing passes it. It is to last for so many seconds: enough until
# the next look. Where it did not, it is more for a while.
AHEAD_SECONDS, AHEAD_LONGEST, LOOK_SECONDS = 0.01, 0.08, 0.004
AHEAD_SHRINKS = 0.99
# What TCP has not seen for minutes, a round trip as short as it once was, is over where it is so many times as long.
GROWN = 1.5
# TCP's way has to be most of the whole one; the rest may be a second leg, which it does not know.
WHOLE_WAY, WHOLE_WAY_SLACK = 0.8, 2_000
# What an ssh session may have under way is OpenSSH's own (channels.h, CHAN_SES_WINDOW_DEFAULT). A link of lanes "auto"
# opens one more where a session was found waiting for it STARVED times more often than not, up to so many; closes one
# where all that was carried for so many seconds would have fit half of one; and after a failure waits so many seconds
# before it tries again, and ever longer.
SESSION_WINDOW, STARVED, LANES_MOST = 2 * 1024 * 1024, 5, 8
IDLE_SECONDS, RETRY_SECONDS, RETRY_LONGEST = 60.0, 60.0, 3600.0
# So many lanes may open one right after the other, and later ones after so many seconds each. A firewall may let in but
# a few connections from one place in a while (ufw's limit is five in 30 s), and an administrator is to be among them.
LANES_SOON, LANE_SECONDS = 3, 10.0
AUTO = "auto"
# So many bytes may wait for the packets before them, and so many packets come after one that is missing.
ARRIVALS_MOST, MISSING_MOST = 16 * 1024 * 1024, 1 << 17
# For so long a line may stand still, or nearly so, before all its lanes but the first are given up.
STANDING_SECONDS = 1.5
# The first lane may be silent for so many times longer where others are not.
FIRST_LANE_SILENCES = 4
# Where the first lane of a link takes over the others, among the names that have no file (unix(7)): by device, as a key
# opens one, and by what the two ends call the link.
DOOR = "\0overssh-stream-{}-{}"
# How often an end says within the allowed silence that it is alive, if it has nothing else to say.
BEATS = 5

# linux/if_tun.h, linux/fcntl.h
CLONE_DEVICE = "/dev/net/tun"
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ, TUNSETVNETLE = 0x400454CA, 0x400454D0, 0x400454D8, 0x400454DC
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x0001, 0x1000, 0x4000, 0x0100
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 0x01, 0x02, 0x04
F_SETPIPE_SZ = 1031

# The protocols whose packets begin with two ports, and the places of fields in IP headers (RFC 791, 8200).
PORTED = (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
PLAIN_IPV4, MORE_FRAGMENTS_AND_OFFSET = 0x45, 0x3FFF
IPV4_HEADER, IPV6_HEADER, PORTS = 20, 40, 4

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, net/tcp_states.h
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, INET_DIAG_INFO, TCP_ESTABLISHED = 4, 20, 2, 1
NLM_F_REQUEST, NLM_F_DUMP, NLMSG_DONE = 1, 0x300, 3
# A message's head; what is asked for; the two ends of a connection, its device and its cookie; what follows these.
MESSAGE, DIAG = struct.Struct("=IHHII"), struct.Struct("=BBBxI")
ENDS, NO_COOKIE = struct.Struct("!HH16s16s"), struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
IDENTITY, OWNER, ATTRIBUTES = slice(20, 68), slice(80, 84), 88
ATTRIBUTE = struct.Struct("=HH")
# linux/tcp.h: where these stand in struct tcp_info.
TCPI_SND_MSS, TCPI_UNACKED, TCPI_SACKED, TCPI_RTT = 16, 24, 28, 68
TCPI_NOTSENT, TCPI_MIN_RTT, TCPI_DELIVERY_RATE = 144, 148, 160


class RefusedError(Exception):
    """Why this can't work; trying again brings the same."""


class EndedError(Exception):
    """Why the session is over; another one may last longer."""


class ClosedError(EndedError):
    """The session ended under this end."""


class StoppedError(Exception):
    """Somebody told this process to end."""


class Path:
    """How long a path takes when it is empty: the least that was seen of late. All times are microseconds."""

    def __init__(self) -> None:
        self.base = self._lowest = float("inf")

    def see(self, delay: float) -> None:
        """So long it took this time."""
        self.base, self._lowest = min(self.base, delay), min(self._lowest, delay)

    def found_empty(self, delay: float) -> bool:
        """So long it took with nothing else on it; whether that is longer than before."""
        longer = delay > self.base + DELAY / 2
        self.base = self._lowest = delay
        return longer

    def next_epoch(self) -> bool:
        """Forget what is older than one epoch; whether it was never as short in that as it had been before."""
        longer = self._lowest > self.base + DELAY / 2
        self.base, self._lowest = self._lowest, float("inf")
        return longer


class Window:
    """How many bytes may be on their way to the far end.

    ssh and its TCP connection take megabytes that they can't send yet, and on a slow path everything after them waits
    for seconds. So the far end is asked again and again how long a question took to it, and the window follows how much
    longer that is than on an empty path. (The idea is LEDBAT's, RFC 6817.)

    Where a packet of TCP's is lost, all that came after it waits for it at the far end, so that a question takes one
    round trip longer, and no queue is to blame. TCP itself times every packet apart; where it can be asked, the window
    goes by that, and what it holds back from the far end's program does not count as under way. All times are
    microseconds.
    """

    def __init__(self, least: int) -> None:
        self._least, self._size = max(WINDOW_LEAST, least), float(WINDOW_FIRST)
        self._asked, self._carried = Path(), Path()
        self._round_trip = float("inf")
        self._epoch_ends = self._empty_again = 0.0
        self._empty_pause = EMPTY_AGAIN_SECONDS
        self._draining = self._stuck = 0
        self._emptying = False
        self._changed, self._faster = 0.0, FASTEST

    @property
    def size(self) -> int:
        """The window in bytes; small for a moment now and then, to see how fast an empty path is, or closed."""
        if self._emptying:
            return 0
        return self._least if self._draining else int(self._size)

    @property
    def round_trip(self) -> float:
        """The shortest time that a question and its answer took."""
        return self._round_trip

    def grown(self, round_trip: float) -> None:
        """For minutes it has not taken less than this round trip."""
        self._round_trip = round_trip

    @property
    def _aimed(self) -> float:
        return max(DELAY, min(self._round_trip / 4, LONGEST_DELAY))

    def learn(
        self,
        delay: float,
        round_trip: float,
        under_way: int,
        last: bool,
        limited: bool,
        now: float,
        carried: "float | None" = None,
    ) -> None:
        """An answer came: so long was its question on its way, by clocks that differ, and so long they were together.

        under_way: bytes; last: whether no other question is under way; limited: whether the window held packets back;
        now: seconds; carried: TCP's own round trip, where it is known.
        """
        self._round_trip = min(self._round_trip, round_trip)
        told = [(self._asked, delay)] + ([(self._carried, carried)] if carried else [])
        self._follow_base(told, last, now)
        path, took = told[-1]
        queue = took - path.base
        # What a change does is seen by questions that left after it.
        if now - round_trip / 1e6 >= self._changed and (limited or queue > self._aimed) and under_way > self._least / 2:
            self._fit(queue, limited, now, self._size if carried is None else min(self._size, under_way))
        self._see_whether_stuck(queue > self._aimed and self._size <= self._least and limited, now)

    def _fit(self, queue: float, limited: bool, now: float, made_it: float) -> None:
        """Change the window so that the queue, in microseconds, is as long as aimed at: they grow by the same bytes.

        made_it: so many bytes made that queue.
        """
        fitting = (self._round_trip + self._aimed) / (self._round_trip + queue)
        if queue > self._aimed:
            self._size, self._faster = max(self._least, made_it * max(0.5, fitting)), 1.0
        elif limited:
            # A line that has become faster is followed ever faster.
            self._size = min(WINDOW_MOST, self._size * min(2.0, 1 + (fitting - 1) * self._faster))
            self._faster = min(2 * self._faster, FASTEST) if queue < self._aimed / 2 else 1.0
        self._changed = now

    def _follow_base(self, told: "list[tuple[Path, float]]", last: bool, now: float) -> None:
        if self._draining:
            self._draining -= 1
            if not self._draining:
                # All of them, so no any() that stops at the first.
                longer = sum(path.found_empty(took) for path, took in told) > 0
                # A path that is as long as before is slow, and not asked so often.
                self._empty_pause = EMPTY_AGAIN_SECONDS if longer else min(2 * self._empty_pause, EMPTY_LONGEST_SECONDS)
        for path, took in told:
            path.see(took)
        if self._emptying and last:
            # The next question finds nothing before it.
            self._emptying, self._draining = False, 1
        if now >= self._epoch_ends:
            # A queue that was never empty in all that time looks like a longer path, and only draining tells.
            if sum(path.next_epoch() for path, _took in told):
                self._draining = 2
            self._epoch_ends = now + EPOCH_SECONDS

    def _see_whether_stuck(self, now_stuck: bool, now: float) -> None:
        """With the least window and a long delay the path may have become longer, or be that slow."""
        self._stuck = self._stuck + 1 if now_stuck else 0
        if self._stuck >= STUCK and now >= self._empty_again:
            self._stuck, self._emptying, self._empty_again = 0, True, now + self._empty_pause


class Seen:
    """What struct tcp_info says of a connection.

    round_trip, least: of late and the shortest of some minutes, in microseconds; in_flight, unsent: bytes that are on
    their way, and that wait in its socket; rate: bytes per second that were delivered.
    """

    def __init__(self, info: bytes) -> None:
        size, unacked, sacked, self.round_trip, self.unsent, self.least = (
            int.from_bytes(info[at : at + 4], sys.byteorder)
            for at in (TCPI_SND_MSS, TCPI_UNACKED, TCPI_SACKED, TCPI_RTT, TCPI_NOTSENT, TCPI_MIN_RTT)
        )
        self.in_flight = size * (unacked - sacked)
        self.rate = int.from_bytes(info[TCPI_DELIVERY_RATE : TCPI_DELIVERY_RATE + 8], sys.byteorder)


class Carrier:
    """The TCP connection that a session goes over, as the kernel tells of it to anybody (sock_diag(7))."""

    def __init__(self, family: int, identity: bytes) -> None:
        """identity: its ends, device and cookie, as the kernel spells them."""
        self.far = far_end(family, identity)
        self._socket = _diag_socket()
        # The kernel has answered when a question has been sent.
        self._socket.setblocking(False)
        body = DIAG.pack(family, socket.IPPROTO_TCP, 1 << INET_DIAG_INFO - 1, 1 << TCP_ESTABLISHED) + identity
        self._question = MESSAGE.pack(MESSAGE.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0) + body

    def look(self) -> "Seen | None":
        """What the kernel tells now; None where there is no such connection (any more)."""
        try:
            self._socket.send(self._question)
            answer = self._socket.recv(65536)
        except OSError:
            return None
        if MESSAGE.unpack_from(answer)[1] != SOCK_DIAG_BY_FAMILY:
            return None
        place = ATTRIBUTES
        while place + ATTRIBUTE.size <= len(answer):
            length, kind = ATTRIBUTE.unpack_from(answer, place)
            if kind == INET_DIAG_INFO and length >= ATTRIBUTE.size + TCPI_DELIVERY_RATE + 8:
                return Seen(answer[place + ATTRIBUTE.size : place + length])
            place += max(ATTRIBUTE.size, length + 3 & ~3)
        return None


def _diag_socket() -> socket.socket:
    asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
    asking.settimeout(1.0)
    return asking


def carrier_here(told: str) -> "Carrier | None":
    """That of the session which sshd has started a process for; told: what that has in SSH_CONNECTION."""
    try:
        client, client_port, server, server_port = told.split()
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        far, near = (socket.inet_pton(family, address.partition("%")[0]) for address in (client, server))
        return Carrier(family, ENDS.pack(int(server_port), int(client_port), near, far) + NO_COOKIE)
    except (ValueError, OSError):
        return None


def identities() -> "set[bytes]":
    """Every TCP connection of this account on this host; none where it may not ask."""
    with contextlib.suppress(OSError):
        return {identity for _family, identity in connections()}
    return set()


def carrier_of(command: "list[str]", before: "set[bytes]") -> "Carrier | None":
    """That of the ssh which this command started, where exactly one connection there is new since before."""
    ends = ends_of(command)
    if ends is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        return carrier_to(
            {
                (place[0], ends[1], socket.inet_pton(place[0], str(place[4][0]).partition("%")[0]).ljust(16, b"\0"))
                for place in socket.getaddrinfo(ends[0], None, type=socket.SOCK_STREAM)
            },
            before,
        )
    return None


def carrier_beside(first: "Carrier | None", before: "set[bytes]") -> "Carrier | None":
    """That of another ssh to the same place, where exactly one connection there is new since before."""
    with contextlib.suppress(OSError):
        return carrier_to({first.far}, before) if first else None
    return None


def carrier_to(places: "set[tuple[int, int, bytes]]", before: "set[bytes]") -> "Carrier | None":
    """The one connection to these far ends that is new since before; None where there is none, or are several."""
    new = [
        (family, identity)
        for family, identity in connections()
        if identity not in before and far_end(family, identity) in places
    ]
    return Carrier(*new[0]) if len(new) == 1 else None


def far_end(family: int, identity: bytes) -> "tuple[int, int, bytes]":
    """The family, the port and the address that a connection goes to."""
    _near_port, port, _near, address = ENDS.unpack_from(identity)
    return family, port, address


def ends_of(command: "list[str]") -> "tuple[str, int] | None":
    """The host and the port that an ssh command connects to; None where it goes through something else, or is none."""
    try:
        done = subprocess.run(
            [command[0], "-G", *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=HELLO_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = dict(line.partition(" ")[::2] for line in done.stdout.decode(errors="replace").splitlines())
    if any(said.get(way, "none") != "none" for way in ("proxyjump", "proxycommand")):
        return None
    try:
        return said["hostname"], int(said["port"])
    except (KeyError, ValueError):
        return None


def connections() -> "Iterator[tuple[int, bytes]]":
    """The family and the identity of every TCP connection of this account on this host."""
    mine = os.getuid()
    for family in (socket.AF_INET, socket.AF_INET6):
        with _diag_socket() as asking:
            body = DIAG.pack(family, socket.IPPROTO_TCP, 0, 1 << TCP_ESTABLISHED) + bytes(ENDS.size + len(NO_COOKIE))
            flags = NLM_F_REQUEST | NLM_F_DUMP
            asking.send(MESSAGE.pack(MESSAGE.size + len(body), SOCK_DIAG_BY_FAMILY, flags, 0, 0) + body)
            more = True
            while more:
                answer = asking.recv(65536)
                place, more = 0, bool(answer)
                while place + MESSAGE.size <= len(answer):
                    length, kind = MESSAGE.unpack_from(answer, place)[:2]
                    found = answer[place : place + length]
                    if kind != SOCK_DIAG_BY_FAMILY:  # the end of it, or an error
                        more = False
                        break
                    if int.from_bytes(found[OWNER], sys.byteorder) == mine:
                        yield family, found[IDENTITY]
                    place += max(MESSAGE.size, length + 3 & ~3)


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

    def take(self, now: float, target: float, interval: float) -> "bytes | None":
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


class Waiting:
    """What waits for the lanes of a link.

    Where there are several, the first one is for flows that send little: all that the others have under way, or lost,
    does not delay those.
    """

    def __init__(self) -> None:
        self._little, self._much = Flows(), Flows()
        self._several = False
        # Bytes that wait.
        self.size = 0
        # What each flow sent of late, in bytes.
        self._sent: dict[bytes, int] = {}

    @property
    def dropped(self) -> int:
        """Packets that were."""
        return self._little.dropped + self._much.dropped

    def size_for(self, first: bool) -> int:
        """How many bytes wait for the first lane, or for any other one."""
        return self._little.size if first and self._several else self.size

    def put(self, packet: bytes, now: float) -> None:
        """A packet, behind its virtio-net header, came now (seconds)."""
        key, flows = flow_of(packet), self._little
        if self._several:
            sent = self._sent[key] = self._sent.get(key, 0) + len(packet)
            # Packets of a flow all wait in one place, or they would pass each other.
            if key in self._much or (sent > LITTLE and key not in self._little):
                flows = self._much
        elif key in self._much:
            flows = self._much
        flows.put(key, packet, now)
        self.size += len(packet)
        if self.size > QUEUE_MOST:
            less, more = sorted((self._little, self._much), key=lambda flows: flows.size)
            more.shorten(QUEUE_MOST - less.size)
            self.size = self._little.size + self._much.size

    def take(self, first: bool, now: float, target: float, interval: float) -> "bytes | None":
        """The packet that leaves next by the first lane, or by any other one, None where there is none for it."""
        one, other = (self._little, self._much) if first else (self._much, self._little)
        packet = one.take(now, target, interval)
        if packet is None and not (first and self._several):
            packet = other.take(now, target, interval)
        self.size = self._little.size + self._much.size
        return packet

    def tick(self, several: bool) -> None:
        """Called ten times a second; several: whether packets may leave by several lanes."""
        self._several = several
        self._sent = {key: sent // 2 for key, sent in self._sent.items() if sent > 1}


def flow_of(packet: bytes) -> bytes:
    """What all packets of a flow have alike: protocol, addresses, and ports where each packet has them.

    What a VXLAN carries is told apart by it as well, as the kernel makes the outer source port of the inner flow.
    """
    header = packet[VNET_HEADER : VNET_HEADER + IPV6_HEADER + PORTS]
    if len(header) > IPV4_HEADER and header[0] == PLAIN_IPV4:
        whole = not int.from_bytes(header[6:8], "big") & MORE_FRAGMENTS_AND_OFFSET
        return header[9:10] + header[12 : IPV4_HEADER + (PORTS if whole and header[9] in PORTED else 0)]
    if len(header) > IPV6_HEADER and header[0] >> 4 == 6:
        return header[6:7] + header[8 : IPV6_HEADER + (PORTS if header[6] in PORTED else 0)]
    return b""


class Numbered:
    """The last packet of a flow: its number, its lane, and where it ends there.

    before: the same two of those before it that had not arrived for sure when it left, the last one of each other lane;
    free: whether it waits for none.
    """

    __slots__ = ("before", "free", "lane", "number", "place")

    def __init__(self, number: int, lane: "Outbound", place: int) -> None:
        self.number, self.lane, self.place = number, lane, place
        self.before: list[tuple[Outbound, int]] = []
        self.free = True

    def follow(self, last: "Numbered") -> None:
        """It is the next one of the same flow."""
        not_arrived = [(lane, place) for lane, place in [*last.before, (last.lane, last.place)] if lane.arrived < place]
        self.free = not not_arrived or (last.lane is self.lane and last.free)
        if not self.free:
            # What went by the same lane has arrived when this one has.
            self.before = [(lane, place) for lane, place in not_arrived if lane is not self.lane]

    @property
    def delivered(self) -> bool:
        """Whether the far end is known to have given it to its device."""
        return all(lane.arrived >= place for lane, place in [*self.before, (self.lane, self.place)])


class Numbering:
    """The numbers of packets that go by several lanes.

    A packet has to wait at the far end for the one before it in its flow, unless that has been delivered for sure, or
    went by the same lane and had to wait for none itself.
    """

    def __init__(self) -> None:
        self._number = 0
        self._last: dict[bytes, Numbered] = {}

    def number(self, packet: bytes, lane: "Outbound", place: int) -> "tuple[int, int]":
        """The number of a packet, and how far before it the one is that it has to wait for, 0 for none.

        lane, place: by which it leaves, and where it ends there.
        """
        self._number += 1
        key = flow_of(packet)
        last, found = self._last.get(key), Numbered(self._number, lane, place)
        self._last[key] = found
        if last is None:
            return self._number, 0
        found.follow(last)
        return self._number, 0 if found.free else self._number - last.number

    def forget(self) -> None:
        """What has been delivered is waited for by none."""
        self._last = {key: last for key, last in self._last.items() if not last.delivered}


class Arrivals:
    """Packets that came by several lanes, in the order of each flow."""

    def __init__(self) -> None:
        # All up to the floor have been delivered, or are no longer waited for, and these above it.
        self._floor = self._highest = 0
        self._above: set[int] = set()
        # By the number of the one that each waits for: when it came, its own number, and the packet.
        self._waiting: dict[int, tuple[float, int, bytes]] = {}
        self._size = 0

    def take(self, number: int, distance: int, packet: "memoryview", now: float) -> "list[memoryview | bytes]":
        """What may be delivered now (seconds) that this packet has come, which follows the one so far before it."""
        self._highest = max(self._highest, number)
        before = number - distance
        if distance and before > self._floor and before not in self._above:
            if before in self._waiting:
                raise EndedError("the far end sent two packets that follow the same one")
            self._waiting[before] = (now, number, bytes(packet))
            self._size += len(packet)
            return self.give_up() if self._size > ARRIVALS_MOST else []
        found: list[memoryview | bytes] = [packet]
        self._came(number)
        while number in self._waiting:
            _came, number, follower = self._waiting.pop(number)
            self._size -= len(follower)
            found.append(follower)
            self._came(number)
        # Where many are missing, they are not coming.
        return found + self.give_up() if len(self._above) > MISSING_MOST else found

    def _came(self, number: int) -> None:
        if number != self._floor + 1:
            if number > self._floor:
                self._above.add(number)
            return
        self._floor = number
        while self._floor + 1 in self._above:
            self._floor += 1
            self._above.remove(self._floor)

    def late(self, now: float, patience: float) -> "list[memoryview | bytes]":
        """What has to be delivered without those before it, where one has been waiting for so long (seconds)."""
        came = next(iter(self._waiting.values()), (now,))[0]
        return self.give_up() if now - came > patience else []

    def give_up(self) -> "list[memoryview | bytes]":
        """All that waits, in order: what is missing went with its lane."""
        found: list[memoryview | bytes] = [
            packet for _came, _number, packet in sorted(self._waiting.values(), key=_number_of)
        ]
        self._waiting.clear()
        self._above.clear()
        self._size, self._floor = 0, self._highest
        return found


def _number_of(waiting: "tuple[float, int, bytes]") -> int:
    return waiting[1]


class Pace:
    """How many bytes may be handed to ssh, going by what its TCP connection holds.

    What TCP can't send yet waits in its socket, and nothing passes it there; where nothing waits, TCP is idle. So a
    little more is handed over than it sends until the next look. No more than a window is to be on its way, as TCP
    itself may fill the queues of a whole path.
    """

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        # Whether TCP knows the whole way, and not the first of two legs.
        self.knows = False
        # Whether it was the window that held packets back.
        self.limited = False
        self._seen: Seen | None = None
        self._looked = 0.0
        self._since = 0
        self._ahead, self._held = AHEAD_SECONDS, False

    @property
    def under_way(self) -> int:
        """Bytes between this end's program and the far end's kernel, as of the last look."""
        return self._since + (self._seen.in_flight + self._seen.unsent if self._seen else 0)

    def wrote(self, count: int) -> None:
        """So many bytes were handed over."""
        self._since += count

    def round_trip(self, least: float) -> "float | None":
        """TCP's own one of late, None where it does not know the whole way; least: the shortest of a question's."""
        seen = self._carrier.look()
        self.knows = seen is not None and seen.least + WHOLE_WAY_SLACK >= WHOLE_WAY * least
        return seen.round_trip if seen is not None and self.knows else None

    def look(self) -> "Seen | None":
        """What TCP tells at this moment."""
        return self._carrier.look()

    def room(self, now: float, rate: float, window: int) -> int:
        """How many bytes may be handed over now (seconds) at a rate in bytes per second."""
        if now - self._looked >= LOOK_SECONDS:
            self._look(now)
        seen = self._seen
        if seen is None:
            return 0
        rate = max(rate, seen.rate)
        waiting = max(0, seen.unsent + self._since - int(rate * (now - self._looked)))
        ahead, rest = max(int(rate * self._ahead), ASK_LEAST) - waiting, window - self.under_way
        self._held, self.limited = ahead <= 0, rest <= 0 < ahead
        return min(ahead, rest)

    def _look(self, now: float) -> None:
        self._seen = self._carrier.look()
        self._looked, self._since = now, 0
        if self._seen is None:
            self.knows = False
        elif self._held and not self._seen.unsent:
            self._ahead = min(2 * self._ahead, AHEAD_LONGEST)
        else:
            self._ahead = max(AHEAD_SECONDS, AHEAD_SHRINKS * self._ahead)


class Outbound:
    """Packets on their way from the device into the session.

    Two buffers take turns: one is written while the other one fills, so nothing is ever moved. While the session takes
    nothing, packets go on being read and are dropped beyond a limit in bytes, as a router does it. Left in the device's
    own queue, which counts packets and not bytes, they would delay all that follow. On a long path, where there is more
    time and more to wait for, they are kept apart by flow instead.
    """

    def __init__(
        self, device: int, sink: int, least: int, carrier: "Carrier | None" = None, first: "Outbound | None" = None
    ) -> None:
        """first: that of the link's first lane, which reads the device for this one, too."""
        room = (QUEUE_MOST + SMALL_ROOM if first is None else BATCH) + HEAD.size + NUMBER.size + LARGEST
        room += QUESTION.size + CONTROL_ROOM
        self._device, self._sink, self._least = device, sink, least
        self._pace = Pace(carrier) if carrier else None
        self._filling, self._leaving = bytearray(room), bytearray(room)
        self._end = self._begin = self._stop = 0
        # Beats and answers pass the window and what waits for it: if both ends waited for answers, none would come.
        self._control = bytearray()
        self._limit, self._pipe, self._rate = least, 0, 0.0
        # How long the path is, in seconds, where it is long; and what waits there.
        self._long = 0.0
        self.flows: Waiting = Waiting() if first is None else first.flows
        self._first = first is None
        self._scratch: memoryview = memoryview(bytearray(LARGEST)) if first is None else first._scratch
        # Whether packets may leave by this lane; their numbers, once the link has had several.
        self.open, self.leaving = True, False
        self.numbering: Numbering | None = None if first is None else first.numbering
        self._window = Window(least)
        self._open_window()
        # Where questions end, in each buffer; and of those under way the place in the stream and when they left.
        self._waiting_questions: list[int] = []
        self._questions: deque[int] = deque()
        self._asked: deque[tuple[int, int]] = deque()
        self._unasked = 0
        # Up to where the far end is known to have everything.
        self.arrived = 0
        self.full, self._starved = False, 0
        self.sent = self._too_much = 0

    @property
    def dropped(self) -> int:
        """Packets that were, as the link was full."""
        return self._too_much + self.flows.dropped

    @property
    def round_trip(self) -> float:
        """The shortest time that a question and its answer took, in seconds, where the path is long, and else 0."""
        return self._long

    @property
    def starved(self) -> bool:
        """Whether the session's window is what holds packets back: neither the line nor the processor."""
        return self._starved >= STARVED and self._rate * self._long > SESSION_WINDOW / 2

    @property
    def blocked(self) -> bool:
        """Whether something waits that the session or the window did not let go yet."""
        if self._begin < self._stop or self._end > 0:
            return True
        return self.flows.size > 0 and self.open and self.flows.size_for(self._first) > 0

    @property
    def paced(self) -> "Pace | None":
        """What is known of the connection below, where that is enough to go by."""
        return self._pace if self._long and self._pace and self._pace.knows else None

    @property
    def patience(self) -> "float | None":
        """After how many seconds more may leave of what waits, where nobody says so; None where nothing does."""
        return LOOK_SECONDS if self._long and not self.full and self.blocked and self.paced else None

    def gather(self) -> None:
        """Read what the device has."""
        if self._long or self.flows.size or self.numbering:
            self._gather_flows()
        else:
            self._gather_batch()

    def _gather_batch(self) -> None:
        device, buffer, end = self._device, self._filling, self._end
        view, blocked = memoryview(buffer), self.blocked
        most = self._limit if blocked else self._batch
        for _turn in range(TURNS):
            if end >= most and not blocked:
                break
            try:
                length = os.readv(device, [view[end + 4 : end + 4 + LARGEST]])
            except BlockingIOError:
                break
            if end < most or (length <= SMALL and end < most + SMALL_ROOM):
                HEAD.pack_into(buffer, end, PACKET << 24 | length)
                end += 4 + length
            else:
                self._too_much += 1
        self._fill_to(end)

    def _fill_to(self, end: int) -> None:
        self._unasked += end - self._end
        self._end = end
        if self._unasked >= self._spacing:
            self.ask()

    def _gather_flows(self) -> None:
        # Read into memory of their own, which has to be as large as any, they would leave large holes between them.
        now, scratch = time.monotonic(), self._scratch
        for _turn in range(TURNS):
            try:
                length = os.readv(self._device, [scratch])
            except BlockingIOError:
                break
            self.flows.put(bytes(scratch[:length]), now)

    def ask(self) -> None:
        """Ask the far end how long a question took that leaves after all that waits in the buffer."""
        self._end += QUESTION.size
        self._waiting_questions.append(self._end)
        self._unasked = 0

    def flush(self) -> None:
        """Write until everything is gone, or the session or the window takes no more."""
        while not self.full and (self._begin < self._stop or self._take_next()):
            if self._questions:
                now = time.monotonic_ns() // 1000
                for end in self._questions:
                    if end - QUESTION.size >= self._begin:
                        QUESTION.pack_into(
                            self._leaving, end - QUESTION.size, ASK << 24 | QUESTION.size - HEAD.size, now
                        )
            try:
                written = os.write(self._sink, memoryview(self._leaving)[self._begin : self._stop])
            except BlockingIOError:
                written = 0
            self._begin += written
            self.sent += written
            if self._long and self._pace:
                self._pace.wrote(written)
            self.full = self._begin < self._stop
            while self._questions and self._questions[0] <= self._begin:
                self._asked.append((self.sent - self._begin + self._questions.popleft(), now))

    def _take_next(self) -> bool:
        """Move on to what passes the window and what fits it; whether there is any."""
        self._begin = self._stop = 0
        may_leave = self._window_open if self._end else self._fill_from_flows()
        if may_leave:
            self._filling, self._leaving = self._leaving, self._filling
            self._stop, self._end = self._end, 0
            self._questions.extend(self._waiting_questions)
            self._waiting_questions.clear()
        if self._control:
            end = self._stop + len(self._control)
            self._leaving[self._stop : end] = self._control
            self._stop = end
            self._control.clear()
        return self._stop > 0

    @property
    def _window_open(self) -> bool:
        # Where no question is under way there is none whose answer would open it.
        return not self._asked or self.sent - self.arrived < self._room

    def _may_leave(self, now: float) -> int:
        """How many bytes of what waits by flow."""
        pace = self.paced
        if pace:
            return min(BATCH, pace.room(now, self._rate, self._room))
        return self._batch if self._window_open else 0

    def _fill_from_flows(self) -> bool:
        """Move what may leave now into the buffer; whether there is any."""
        if not self.flows.size or not self.open or not self.flows.size_for(self._first):
            return False
        now = time.monotonic()
        room = self._may_leave(now)
        # One packet takes its time, too, and another one may be under way.
        target, interval = max(TARGET, self._least / max(self._rate, 1.0)), max(INTERVAL, 2 * self._long)
        buffer, end = self._filling, 0
        while end < room:
            packet = self.flows.take(self._first, now, target, interval)
            if packet is None:
                break
            if self.numbering is None:
                HEAD.pack_into(buffer, end, PACKET << 24 | len(packet))
                begin = end + HEAD.size
            else:
                HEAD.pack_into(buffer, end, NUMBERED << 24 | NUMBER.size + len(packet))
                begin = end + HEAD.size + NUMBER.size
                number = self.numbering.number(packet, self, self.sent + begin + len(packet))
                NUMBER.pack_into(buffer, end + HEAD.size, *number)
            end = begin + len(packet)
            buffer[begin:end] = packet
        if end:
            self._fill_to(end)
        return end > 0

    def _open_window(self) -> None:
        self._room = self._window.size
        self._batch = min(BATCH, max(self._room, WINDOW_LEAST) // 2)
        self._spacing = max(ASK_LEAST, self._room // ASKS_A_WINDOW)

    def beat(self) -> None:
        """Say that this end is alive, unless what already waits for the session says it."""
        if not self._control and self._begin == self._stop:
            self._control += HEAD.pack(BEAT << 24)

    def settle(self) -> None:
        """Ask about what has left since the last question, where nothing more may follow soon."""
        if not self._asked and self.sent - self.arrived > ASK_LEAST:
            self.ask()

    def tell(self, kind: int) -> None:
        """Say what takes no more than its kind: WANT, LEAVE, CUT."""
        self._control += HEAD.pack(kind << 24)

    def leave(self) -> None:
        """Let no more packets leave by this lane, and say so after the last one."""
        if not self.leaving:
            self.tell(LEAVE)
        self.open, self.leaving = False, True

    def gone(self) -> None:
        """The lane is no more: what has not arrived is not waited for."""
        self.open, self.arrived = False, sys.maxsize

    def number_all(self) -> int:
        """Number packets from here on; up to which place others have to have arrived before there are other lanes."""
        self.numbering = Numbering()
        self.ask()
        return self.sent + self._stop - self._begin + self._end

    def answer(self, left: int) -> None:
        """Say how long a question that left at this time was on its way."""
        if left >= NO_TIME or len(self._control) > CONTROL_ROOM - 2 * REPLY.size:
            raise EndedError("the far end asks what can't be answered")
        delay = time.monotonic_ns() // 1000 - left
        self._control += REPLY.pack(ANSWER << 24 | REPLY.size - HEAD.size, delay)

    def learn(self, delay: int) -> None:
        """Take the answer to the oldest question under way."""
        if not self._asked:
            raise EndedError("the far end answers what it was not asked")
        place, left = self._asked.popleft()
        now = time.monotonic_ns() // 1000
        round_trip = now - left
        shortest = min(self._window.round_trip, round_trip)
        self._long = shortest / 1e6 if shortest >= LONG_PATH else 0.0
        carried = self._pace.round_trip(shortest) if self._pace and self._long else None
        pace = self.paced
        if pace:
            under_way, limited = pace.under_way, pace.limited
        else:
            under_way, limited = self.sent - self.arrived, self.blocked and not self.full
        self._window.learn(delay, round_trip, under_way, not self._asked, limited, now / 1e6, carried)
        self.arrived = place
        self._open_window()

    def tune(self, rate: float) -> None:
        """Fit the queue and the pipe behind it to a rate in bytes per second, which falls slowly, as traffic pauses."""
        self._rate = max(rate, self._rate * 0.7)
        self._limit = int(min(max(self._rate * QUEUE_SECONDS, self._least), QUEUE_MOST))
        pipe = 1 << int(min(max(self._rate * PIPE_SECONDS, PIPE_LEAST), PIPE_MOST)).bit_length() - 1
        if pipe != self._pipe and resize(self._sink, pipe):
            self._pipe = pipe
        seen = self._pace.look() if self._pace else None
        if seen and seen.least > GROWN * self._window.round_trip + LONG_PATH:
            self._window.grown(seen.least)
        # TCP sends what it has, nearly all of a session's window is under way, and ssh takes no more.
        sends = seen is None or seen.unsent <= seen.in_flight / 4
        starves = self.full and self._long > 0 and sends and self.sent - self.arrived > SESSION_WINDOW * 0.75
        self._starved = min(self._starved + 1, 2 * STARVED) if starves else max(self._starved - 1, 0)


class Inbound:
    """Packets on their way from the session to the device; outbound is told what else the far end says."""

    def __init__(
        self, source: int, device: int, outbound: Outbound, who: str, arrivals: "Arrivals | None" = None
    ) -> None:
        self._source, self._device, self._outbound, self._who = source, device, outbound, who
        self._arrivals = arrivals or Arrivals()
        # What the far end has said that takes no more than its kind: WANT, LEAVE, CUT.
        self.told: set[int] = set()
        self._view = memoryview(bytearray(INBOUND_ROOM))
        self._begin = self._end = 0
        self.received = self.unfit = 0
        resize(source, PIPE_MOST)  # what is here is delivered at once: room for more at a time costs no delay

    def turn(self) -> bool:
        """Read once and deliver every packet that is whole; whether there was anything."""
        try:
            got = os.readv(self._source, [self._view[self._end :]])
        except BlockingIOError:
            return False
        if not got:
            where = " inside a frame" if self._begin < self._end else ""
            raise ClosedError(f"the session with {self._who} was closed{where}")
        self._end += got
        self.received += got
        self._deliver()
        return True

    def _deliver(self) -> None:
        view, begin, end = self._view, self._begin, self._end
        while end - begin >= 4:
            (head,) = HEAD.unpack_from(view, begin)
            length = head & LENGTH
            if head >> 24 == PACKET and SMALLEST <= length <= LARGEST:
                after = begin + 4 + length
                if after > end:
                    break
                self._give(view[begin + 4 : after])
                begin = after
            else:
                after = begin + HEAD.size + self._length(head)
                if after > end:
                    break
                self._take(head, begin + HEAD.size, after)
                begin = after
        if begin == end:
            begin = end = 0
        elif len(view) - end < INBOUND_LEAST:
            view[: end - begin] = view[begin:end]
            begin, end = 0, end - begin
        self._begin, self._end = begin, end

    def _length(self, head: int) -> int:
        """How long a frame is behind its head, other than a packet's; EndedError where none begins so."""
        kind, length = head >> 24, head & LENGTH
        fits = SMALLEST <= length - NUMBER.size <= LARGEST if kind == NUMBERED else LENGTHS.get(kind) == length
        if not fits:
            raise EndedError(f"{self._who} sent {head:08x} where a frame begins, and none begins so")
        return length

    def _take(self, head: int, begin: int, after: int) -> None:
        """Do what a frame says which is not a packet alone; it lies between these places, its head before them."""
        kind, view = head >> 24, self._view
        if kind == NUMBERED:
            number, distance = NUMBER.unpack_from(view, begin)
            packet = view[begin + NUMBER.size : after]
            self.deliver(self._arrivals.take(number, distance, packet, time.monotonic()))
        elif kind == ASK:
            self._outbound.answer(QUESTION.unpack_from(view, begin - HEAD.size)[1])
        elif kind == ANSWER:
            self._outbound.learn(REPLY.unpack_from(view, begin - HEAD.size)[1])
        elif kind != BEAT:
            self.told.add(kind)

    @property
    def left(self) -> bool:
        """Whether the far end sends no more over this lane."""
        return LEAVE in self.told

    def told_anew(self, kind: int) -> bool:
        """Whether the far end has said this since the last time that it was asked about."""
        told = kind in self.told
        self.told.discard(kind)
        return told

    def deliver(self, packets: "list[memoryview | bytes]") -> None:
        """Give packets to the device."""
        for packet in packets:
            self._give(packet)

    def _give(self, packet: "memoryview | bytes") -> None:
        """A device that is down, or a packet that is none, costs that packet; a device that was removed is the end."""
        try:
            os.write(self._device, packet)
        except OSError as error:
            if error.errno == errno.EBADFD:
                raise
            self.unfit += 1


class Lane:
    """One session with who."""

    def __init__(
        self, source: int, sink: int, outbound: Outbound, inbound: Inbound, silence: float, end: "Callable[[], None]"
    ) -> None:
        """silence: for how many seconds the far end may say nothing; end: ends the session."""
        for descriptor in (source, sink):
            os.set_blocking(descriptor, False)
        self.source, self.sink, self.outbound, self.inbound, self.end = source, sink, outbound, inbound, end
        self.silence = silence
        self.begun = False
        self.heard = self._tuned = self._beaten = time.monotonic()
        self._sent_at_tuning = self._sent_at_beat = 0

    def begin(self) -> None:
        """Have something leave, and ask while nothing else is on the path."""
        self.begun = True
        self.heard = self._tuned = self._beaten = time.monotonic()
        self.outbound.ask()

    def hear(self, now: float) -> None:
        """Read what has come; an end that has not begun does so then."""
        if self.inbound.turn():
            self.heard = now
            if not self.begun:
                self.begin()
        if self.inbound.left:
            self.outbound.leave()

    def see_to(self, now: float, every: float, who: str) -> None:
        """What is done by the clock: tune to the rate, say that this end is alive, hear whether the far end is."""
        outbound = self.outbound
        if self.begun and now - self._tuned >= TUNE_SECONDS:
            outbound.tune((outbound.sent - self._sent_at_tuning) / (now - self._tuned))
            self._tuned, self._sent_at_tuning = now, outbound.sent
            if outbound.numbering:
                outbound.settle()
        if self.begun and now - self._beaten >= every:
            if outbound.sent == self._sent_at_beat:
                outbound.beat()
                outbound.flush()
            self._beaten, self._sent_at_beat = now, outbound.sent
        if now - self.heard > self.silence:
            raise EndedError(f"{who} has been silent for {self.silence:g} s")


class Growth:
    """Where further lanes of a link come from: nowhere, for one of a fixed number."""

    # What is waited for, if anything.
    descriptor: "int | None" = None
    # Whether it was said that more of them would carry more.
    said = False

    def turn(self, link: "Link") -> None:
        """There is something to read."""

    def see_to(self, link: "Link", now: float) -> None:
        """Called ten times a second; now: seconds. A fixed number that is too small is told of once."""
        if link.starved and not self.said:
            self.said = True
            most = SESSION_WINDOW * 8 / link.round_trip / 1e6
            say(
                f"a lane to {link.who} carries {most:.0f} Mbit/s at most, an ssh session's window in each round trip, "
                "and packets wait for it; lanes that open by themselves (auto) would carry more"
            )

    def close(self) -> None:
        """Leave nothing behind."""


class Link:
    """What goes between the device and the lanes of this process.

    silence: for how many seconds who may say nothing. Where the first lane ends, so does the link; any other one just
    goes.
    """

    def __init__(
        self,
        device: int,
        source: int,
        sink: int,
        who: str,
        silence: float,
        mtu: int,
        carrier: "Carrier | None" = None,
        growth: "Growth | None" = None,
    ) -> None:
        self._device, self._who, self._silence, self._least = device, who, silence, max(QUEUE_LEAST, 2 * mtu)
        os.set_blocking(device, False)
        self._growth = growth or Growth()
        self.first_carrier = carrier
        self._arrivals, self._poll = Arrivals(), select.poll()
        # What is polled, and what of it is a lane's.
        self._awaited: set[int] = set()
        self._sources: dict[int, Lane] = {}
        self._sinks: dict[int, Lane] = {}
        self.lanes: list[Lane] = []
        # Up to where the first lane has to have arrived before others may carry anything.
        self._barrier: int | None = None
        self._gone_sent = self._gone_received = 0
        self._beaten, self._turn = 0.0, 0
        # How many bytes a second leave, of late, and by what that is measured.
        self._rate, self._sent, self._spread_at = 0.0, 0, time.monotonic()
        # How many bytes a second arrive by the other lanes.
        self._arriving, self._arrived, self._bearable = 0.0, 0, time.monotonic()
        # What decides what is polled.
        self._states: list[tuple[bool, bool]] = []
        self._grows: int | None = None
        self.add(source, sink, carrier, lambda: None)

    @property
    def outbound(self) -> Outbound:
        """The first lane's."""
        return self.lanes[0].outbound

    @property
    def who(self) -> str:
        """The far end."""
        return self._who

    @property
    def starved(self) -> bool:
        """Whether more lanes would carry more."""
        return all(lane.outbound.starved for lane in self.lanes[1:] or self.lanes)

    @property
    def carried(self) -> "tuple[int, int]":
        """Bytes that went there and that came back, since the link came up."""
        sent = self._gone_sent + sum(lane.outbound.sent for lane in self.lanes)
        return sent, self._gone_received + sum(lane.inbound.received for lane in self.lanes)

    @property
    def round_trip(self) -> float:
        """The shortest time that a question and its answer took, in seconds, where the path is long, and else 0."""
        return self.outbound.round_trip

    def add(self, source: int, sink: int, carrier: "Carrier | None", end: "Callable[[], None]") -> Lane:
        """One more lane; end: ends its session."""
        first = self.lanes[0].outbound if self.lanes else None
        if first and first.numbering is None:
            self._barrier = first.number_all()
        outbound = Outbound(self._device, sink, self._least, carrier, first)
        outbound.open = first is None
        inbound = Inbound(source, self._device, outbound, self._who, self._arrivals)
        lane = Lane(source, sink, outbound, inbound, self._silence, end)
        self.lanes.append(lane)
        self._states = []
        self._sources[source], self._sinks[sink] = lane, lane
        return lane

    def drop(self, lane: Lane) -> None:
        """Go on without a lane."""
        self.lanes.remove(lane)
        del self._sources[lane.source], self._sinks[lane.sink]
        self._gone_sent += lane.outbound.sent
        self._gone_received += lane.inbound.received
        lane.outbound.gone()
        for descriptor in sorted({lane.source, lane.sink}):
            self.forget(descriptor)
            os.close(descriptor)
        lane.end()
        if not lane.inbound.left:
            # What the lane had under way is not coming.
            self.lanes[0].inbound.deliver(self._arrivals.give_up())

    def forget(self, descriptor: int) -> None:
        """Poll it no more, before it is closed."""
        self._states = []
        if descriptor in self._awaited:
            self._awaited.remove(descriptor)
            self._poll.unregister(descriptor)

    def run(self, on_beat: "Callable[[], None]") -> NoReturn:
        """Move packets until something ends it; on_beat is called five times within the silence."""
        try:
            self._run(on_beat)
        except OSError as error:
            if error.errno == errno.EBADFD:
                raise EndedError("the device was removed on this host") from error
            raise ClosedError(f"the session with {self._who} was closed ({error.strerror})") from error
        finally:
            self._growth.close()
            sent, received = self.carried
            unfit = sum(lane.inbound.unfit for lane in self.lanes)
            say(
                f"carried {sent} bytes there and {received} back; dropped {self.outbound.dropped} packets as the link "
                f"was full, {unfit} as the device was down"
            )

    def _run(self, on_beat: "Callable[[], None]") -> NoReturn:
        every, device, first, poll = self._silence / BEATS, self._device, self.lanes[0], self._poll.poll
        outbound, inbound, source = first.outbound, first.inbound, first.source
        due = self._beaten = time.monotonic()
        first.begin()
        outbound.flush()
        self._await()
        while True:
            gathering = device not in self._awaited
            patience = outbound.patience if len(self.lanes) == 1 else self._patience
            ready = poll(every * 1000 if patience is None else patience * 1000)
            now = time.monotonic()
            for descriptor, _event in ready:
                if descriptor == source:
                    if inbound.turn():
                        first.heard = now
                elif descriptor == device:
                    gathering = True
                elif descriptor in self._sinks:
                    self._sinks[descriptor].outbound.full = False
                elif descriptor in self._sources:
                    self._with(self._sources[descriptor], Lane.hear, now)
                elif descriptor == self._growth.descriptor:
                    self._growth.turn(self)
            if gathering:
                outbound.gather()
            if len(self.lanes) == 1:
                outbound.flush()
            else:
                self._flush()
            self._await()
            if now >= due:
                self._see_to(now, every, on_beat)
                due = now + TUNE_SECONDS

    @property
    def _patience(self) -> "float | None":
        """The shortest of all lanes."""
        return min(filter(None, (lane.outbound.patience for lane in self.lanes)), default=None)

    def _with(self, lane: Lane, work: "Callable[[Lane, float], None]", now: float) -> None:
        """Do it; where that shows that a lane other than the first has ended, go on without it."""
        try:
            work(lane, now)
        except (EndedError, OSError) as reason:
            if lane is self.lanes[0] or (isinstance(reason, OSError) and reason.errno == errno.EBADFD):
                raise
            if not lane.inbound.left:
                if not isinstance(reason, EndedError) or isinstance(reason, ClosedError):
                    # The far end has cut it, and its saying so comes by the first lane, which all others held up.
                    self.lanes[0].heard = now
                words = reason.strerror if isinstance(reason, OSError) else reason
                say(f"a lane to {self._who} has ended ({words}); the link goes on with {len(self.lanes) - 1}")
            self.drop(lane)

    def _flush(self) -> None:
        """Each lane takes what fits it; the one that is first takes turns."""
        self._turn = (self._turn + 1) % len(self.lanes)
        now = time.monotonic()
        for lane in self.lanes[self._turn :] + self.lanes[: self._turn]:
            if lane.begun:
                self._with(lane, lambda lane, _now: lane.outbound.flush(), now)

    def _await(self) -> None:
        """Poll what may bring anything on: while nothing takes packets there is no hurry to read what can't leave."""
        states = [(lane.outbound.full, lane.outbound.open and not lane.outbound.blocked) for lane in self.lanes]
        if states == self._states and self._growth.descriptor == self._grows:
            return
        self._states, self._grows = states, self._growth.descriptor
        wanted = set(self._sources)
        wanted.update(lane.sink for lane in self.lanes if lane.outbound.full)
        if any(takes for _full, takes in states):
            wanted.add(self._device)
        if self._grows is not None:
            wanted.add(self._grows)
        for descriptor in self._awaited - wanted:
            self._poll.unregister(descriptor)
        for descriptor in wanted - self._awaited:
            self._poll.register(descriptor, select.POLLOUT if descriptor in self._sinks else select.POLLIN)
        self._awaited = wanted

    def _see_to(self, now: float, every: float, on_beat: "Callable[[], None]") -> None:
        # A packet that the first lane has lost holds it up for longer where others take what the line carries.
        others_heard = any(now - lane.heard <= self._silence for lane in self.lanes[1:])
        self.lanes[0].silence = self._silence * (FIRST_LANE_SILENCES if others_heard else 1)
        for lane in list(self.lanes):
            self._with(lane, lambda lane, now: lane.see_to(now, every, self._who), now)
        if now - self._beaten >= every:
            self._beaten = now
            on_beat()
            if self.outbound.numbering:
                self.outbound.numbering.forget()
        self.lanes[0].inbound.deliver(self._arrivals.late(now, self._silence))
        if self.lanes[0].inbound.told_anew(CUT):
            self._cut()
        self._spread(now)
        self._growth.see_to(self, now)

    def _cut(self) -> None:
        """Go on with the first lane alone, which was held up by the others."""
        self.lanes[0].heard = time.monotonic()
        for lane in self.lanes[1:]:
            self.drop(lane)

    def _spread(self, now: float) -> None:
        """Let packets leave by all lanes, where what leaves is more than a little of what one of them takes."""
        sent, seconds = self.carried[0] - self._sent, now - self._spread_at
        self._sent, self._spread_at = self._sent + sent, now
        self._rate = max(sent / seconds, self._rate * 0.7)
        enough = SESSION_WINDOW / 4
        if self._barrier is not None and self.outbound.arrived >= self._barrier:
            self._barrier = None
        others = [lane.outbound for lane in self.lanes[1:] if lane.begun and not lane.outbound.leaving]
        under_way, arrived = sum(other.sent - other.arrived for other in others), sum(other.arrived for other in others)
        self._arriving = max((arrived - self._arrived) / seconds, self._arriving * 0.7)
        self._arrived = arrived
        if under_way < max(enough, self._arriving * self._silence):
            self._bearable = now
        if now - self._bearable > STANDING_SECONDS:
            # The line has become so slow that what is under way would block it for long, or was lost.
            say(f"the line to {self._who} has become much slower; the link goes on with 1 lane")
            self.outbound.tell(CUT)
            self._cut()
            return
        # They are left when they are empty, or nearly so: what follows has to wait for what they have under way.
        several = self._barrier is None and (self._rate * self.round_trip > enough or under_way > enough)
        for other in others:
            other.open = several
        # With two of them the first one carries its part: one session's window was too small already.
        self.outbound.flows.tick(several and len(others) > 1)


def resize(descriptor: int, size: int) -> bool:
    """Give a pipe or a socket room for so many bytes; False where it keeps what it has for now."""
    mode = os.fstat(descriptor).st_mode
    try:
        if stat.S_ISFIFO(mode):
            fcntl.fcntl(descriptor, F_SETPIPE_SZ, size)
        elif stat.S_ISSOCK(mode):
            with socket.socket(fileno=os.dup(descriptor)) as own:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size // 2)  # the kernel doubles it (socket(7))
    except OSError:
        return False
    return True


def mtu_of(device: str) -> int:
    """The device's MTU in bytes; RefusedError where there is no such device."""
    try:
        with open(f"/sys/class/net/{device}/mtu", encoding="ascii") as text:
            return int(text.read())
    except OSError as error:
        raise RefusedError(f"there is no device {device} on this host") from error


def open_device(device: str, lanes: "int | str") -> int:
    """One queue of the device, which hands out and takes whole segments."""
    mtu_of(device)  # without this the kernel would be asked to make a device of that name
    try:
        descriptor = os.open(CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RefusedError(
            f"{CLONE_DEVICE} can't be opened on this host ({error.strerror}); its mode has to be 0666"
        ) from error
    several = lanes not in (1, AUTO)
    flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if several else 0)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", device.encode(), flags))
        fcntl.ioctl(descriptor, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER))
        fcntl.ioctl(descriptor, TUNSETVNETLE, struct.pack("i", 1))
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EBUSY:
            raise EndedError(f"the device {device} is in use by another process on this host") from error
        if error.errno == errno.EINVAL:
            kind = "one queue" if several else "several queues"
            raise RefusedError(
                f"the device {device} on this host was made for {kind}, and the link has lanes: {lanes}"
            ) from error
        raise RefusedError(
            f"the device {device} on this host can't be opened ({error.strerror}); it has to belong to the "
            "account that the link runs as"
        ) from error
    return descriptor


def release(descriptor: int) -> None:
    """Close the device; offloads that stay on it would make a plain ssh -w lose every TCP packet."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, 0)
    os.close(descriptor)


def discard(descriptor: int) -> None:
    """Throw away what the device held before the link was complete.

    From there on each flow keeps to one lane: while queues are still added, the kernel moves flows between them.
    """
    scratch = bytearray(LARGEST)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.readv(descriptor, [scratch])


def holders(device: str) -> "Iterator[int]":
    """The other processes of this account that have the device open."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):  # it ended meanwhile, or is none of ours to look at
                if os.stat(f"/proc/{name}").st_uid == os.getuid() and _holds(name, device):
                    yield int(name)


def _holds(process: str, device: str) -> bool:
    if os.readlink(f"/proc/{process}/ns/net") != os.readlink("/proc/self/ns/net"):
        return False  # a device of that name there is another one
    for descriptor in os.listdir(f"/proc/{process}/fdinfo"):
        with open(f"/proc/{process}/fdinfo/{descriptor}", encoding="utf-8", errors="replace") as text:
            if f"iff:\t{device}\n" in text.read():
                return True
    return False


def take_over(device: str) -> None:
    """End what an earlier session of the same key left behind: it holds the device, and may do so for long."""
    deadline = time.monotonic() + TAKE_OVER_SECONDS
    left = list(holders(device))
    for process in left:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        left = list(holders(device))


def say_hello(sink: int, **facts: "Any") -> None:
    """Write the line that an end begins with."""
    os.write(sink, HELLO + json.dumps({"version": VERSION, **facts}).encode() + b"\n")


def hear_hello(source: int, who: str, seconds: float, passing: float = 0.0) -> "dict[str, Any]":
    """The other end's line as data.

    passing: how many seconds it may come after something else was printed; with 0 nothing else may be.
    """
    heard, printed = b"", b""
    deadline = time.monotonic() + seconds
    while not (heard.startswith(HELLO) and heard.endswith(b"\n")):
        got = os.read(source, LONGEST_HELLO) if _readable(source, deadline - time.monotonic()) else None
        if not got and printed:
            raise _foreign(printed, who)
        if got is None:
            raise EndedError(f"{who} has said nothing for {seconds:g} s")
        if not got:
            raise ClosedError(f"the session with {who} ended before its helper answered")
        heard += got
        begun = _begun(heard)
        if begun != heard and not printed:
            printed, deadline = heard, min(deadline, time.monotonic() + passing)
        heard = begun
        if (printed and not passing) or len(heard) > LONGEST_HELLO:
            raise _foreign(printed or heard, who)
    return _facts(heard, who)


def _facts(heard: bytes, who: str) -> "dict[str, Any]":
    try:
        facts = json.loads(heard[len(HELLO) :].decode())
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise _foreign(heard, who)
    return facts


def _begun(heard: bytes) -> bytes:
    """What of it is a hello, or may become one."""
    if HELLO in heard:
        return heard[heard.index(HELLO) :]
    return next(HELLO[:length] for length in range(len(HELLO) - 1, -1, -1) if heard.endswith(HELLO[:length]))


def _readable(source: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def _foreign(line: bytes, who: str) -> RefusedError:
    words = line.decode(errors="replace").strip().split("\n")[0][:80].strip()
    return RefusedError(
        f"{who} printed {words!r} before the first frame; a startup file of the account's shell there may do that, and "
        "has to be silent"
    )


def check_hello(facts: "dict[str, Any]", lanes: "int | str", who: str) -> None:
    """RefusedError where the other end speaks something else, and what the far end itself says is wrong."""
    if "refused" in facts:
        raise RefusedError(f"{who} says: {facts['refused']}")
    if "ended" in facts:
        raise EndedError(f"{who} says: {facts['ended']}")
    if facts.get("version") != VERSION:
        raise RefusedError(
            f"the helper at {who} has version {facts.get('version')!r} and this one {VERSION!r}; install the same "
            "one on both ends"
        )
    if facts.get("lanes") != lanes:
        raise RefusedError(f"{who} has lanes: {facts.get('lanes')!r} and this end lanes: {lanes}; both need the same")


def serve(options: argparse.Namespace) -> NoReturn:
    """The serving end of one lane, on standard input and output."""
    who = "the dialling end"
    facts = hear_hello(0, who, HELLO_SECONDS)
    told = os.environ.get("SSH_CONNECTION", "")
    try:
        check_hello(facts, options.lanes, who)
        lane, silence, link = facts.get("lane"), facts.get("silence"), facts.get("link", "")
        if (
            not isinstance(lane, int)
            or not isinstance(silence, (int, float))
            or not 0.1 <= silence <= 86400
            or not re.fullmatch("[0-9a-f]{32}" if options.lanes == AUTO else "", str(link))
        ):
            raise RefusedError(f"the hello of {who} makes no sense")
        if options.lanes == AUTO and lane > 0:
            hand_over(DOOR.format(options.device, link), told)
        mtu = mtu_of(options.device)
        if lane == 0:
            take_over(options.device)
        device = open_device(options.device, options.lanes)
    except (RefusedError, EndedError) as reason:
        say_hello(1, **{"refused" if isinstance(reason, RefusedError) else "ended": str(reason)})
        raise
    try:
        growth = Door(DOOR.format(options.device, link)) if options.lanes == AUTO else None
        say_hello(1, lanes=options.lanes)
        # The first frame says that all lanes are there.
        if not _readable(0, HELLO_SECONDS):
            raise EndedError(f"{who} has said nothing for {HELLO_SECONDS:g} s")
        discard(device)
        Link(device, 0, 1, who, silence, mtu, carrier_here(told), growth).run(lambda: None)
    finally:
        release(device)


def hand_over(name: str, told: str) -> NoReturn:
    """Give this session to the process that serves the link's first lane, and wait until it has no use for it any more.

    EndedError where there is none. name: of its door; told: the session's SSH_CONNECTION.
    """
    door = socket.socket(socket.AF_UNIX)
    try:
        door.connect(name)
    except OSError as error:
        raise EndedError("the first lane of the link is gone") from error
    if uid_of(door) != os.getuid():
        raise EndedError("the first lane of the link is not this account's")
    say_hello(1, lanes=AUTO)
    socket.send_fds(door, [b"." + told.encode()], [0, 1])
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    # sshd takes nothing more for a command that has ended, so this one stays; it may as well be small meanwhile.
    os.dup2(door.fileno(), 0)
    os.execvp("cat", ["cat"])  # noqa: S606 - no shell is needed


def uid_of(near: socket.socket) -> int:
    """Whose the other end of a socket without a network is."""
    return int(struct.unpack("=iII", near.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


class Door(Growth):
    """Where sessions of further lanes are handed over to the process that serves the first one."""

    def __init__(self, name: str) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(name)
        self._listening.listen()
        self._listening.settimeout(0)
        self.descriptor = self._listening.fileno()
        self._asked = 0.0

    def turn(self, link: Link) -> None:
        """Somebody brings a session."""
        with contextlib.suppress(BlockingIOError):
            near, _address = self._listening.accept()
            if uid_of(near) != os.getuid() or len(link.lanes) >= LANES_MOST:
                near.close()
                return
            near.settimeout(1.0)
            told, descriptors, _flags, _from = socket.recv_fds(near, LONGEST_HELLO, 2)
            if len(descriptors) == 2:
                source, sink = descriptors
                link.add(source, sink, carrier_here(told[1:].decode(errors="replace")), near.close)

    def see_to(self, link: Link, now: float) -> None:
        """Only the end that dials can open a lane."""
        if link.starved and len(link.lanes) < LANES_MOST and now - self._asked >= 1:
            self._asked = now
            link.outbound.tell(WANT)

    def close(self) -> None:
        """Its name goes with it."""
        self._listening.close()


class Session:
    """An ssh with a socket to it and a socket from it.

    A pipe would do, and costs a link a quarter more processor time: its memory comes page by page.
    """

    def __init__(self, command: "list[str]") -> None:
        (theirs, sink), (source, back) = socket.socketpair(), socket.socketpair()
        with theirs, back:
            resize(back.fileno(), PIPE_MOST)
            try:
                self.process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=back.fileno())
            except OSError as error:
                sink.close()
                source.close()
                raise RefusedError(f"{command[0]} can't be started ({error.strerror})") from error
        self.sink, self.source = sink.detach(), source.detach()


class Opener(Growth):
    """Opens further lanes where one session's window is too small, one after the other, and closes them again."""

    def __init__(self, begin: "Callable[[int], Session]", end: "Callable[[Session], None]", who: str) -> None:
        """begin: starts the session of the lane with this number; end: ends one."""
        self._begin, self._end, self._who = begin, end, who
        self._session: Session | None = None
        self._heard, self._deadline, self._before = b"", 0.0, set[bytes]()
        self._opened, self._not_before, self._pause = 0, 0.0, RETRY_SECONDS
        # With how many lanes there are enough for now: the first one is not for what fills a session's window.
        self._enough = self._had = 1
        self._carried, self._looked, self._useful = 0, 0.0, 0.0

    def turn(self, link: Link) -> None:
        """The far end, or ssh, has something to say of the lane that is being opened."""
        session = self._session
        if session is None:
            return
        got = os.read(session.source, LONGEST_HELLO)
        self._heard = _begun((self._heard + got)[-LONGEST_HELLO:])
        try:
            if not got:
                raise EndedError("the session ended before the helper there answered")
            if self._heard.startswith(HELLO) and self._heard.endswith(b"\n"):
                check_hello(_facts(self._heard, self._who), AUTO, self._who)
                self._add(link, session)
        except (RefusedError, EndedError) as reason:
            self._abandon(link, session)
            self._fail(link, reason)

    def _add(self, link: Link, session: Session) -> None:
        self._session, self.descriptor, self._pause = None, None, RETRY_SECONDS
        carrier = carrier_beside(link.first_carrier, self._before)
        link.add(session.source, session.sink, carrier, lambda: self._end(session)).begin()
        if len(link.lanes) >= LANES_SOON:
            self._not_before = time.monotonic() + LANE_SECONDS
        say(f"connected to {self._who}, {len(link.lanes)} lanes")

    def _abandon(self, link: Link, session: Session) -> None:
        self._session, self.descriptor = None, None
        link.forget(session.source)
        os.close(session.source)
        os.close(session.sink)
        self._end(session)

    def _fail(self, link: Link, reason: Exception) -> None:
        if self._pause == RETRY_SECONDS:
            say_without(self._who, reason, len(link.lanes))
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, RETRY_LONGEST)

    def see_to(self, link: Link, now: float) -> None:
        """Open a lane where that would help, and close one that has been of no use for long."""
        for lane in link.lanes[1:]:
            if lane.inbound.left:
                link.drop(lane)
        if link.lanes[0].inbound.told_anew(WANT) or link.starved:
            self._enough = min(2 * len(link.lanes) + 1, LANES_MOST)
        elif len(link.lanes) < self._had:
            # What became of that one may become of the next.
            self._enough = len(link.lanes)
        self._had = len(link.lanes)
        if self._is_useful(link, now):
            self._useful = now
        if self._session:
            if now > self._deadline:
                self._abandon(link, self._session)
                self._fail(link, EndedError(f"nothing was said for {HELLO_SECONDS:g} s"))
        elif len(link.lanes) < self._enough and now >= self._not_before:
            try:
                self._open(now)
            except (RefusedError, OSError) as reason:  # this host has no room for more
                self._fail(link, reason)
        elif len(link.lanes) > 1 and now - self._useful > IDLE_SECONDS:
            self._enough = 1
            link.lanes[-1].outbound.leave()

    def _open(self, now: float) -> None:
        self._opened += 1
        self._before = identities()
        self._session = self._begin(self._opened)
        self._heard, self._deadline = b"", now + HELLO_SECONDS
        self.descriptor = self._session.source

    def _is_useful(self, link: Link, now: float) -> bool:
        """Whether what was carried since the last look would have filled more than half of one session's window."""
        carried, looked = sum(link.carried), self._looked
        moved, self._carried, self._looked = carried - self._carried, carried, now
        return moved * link.round_trip > SESSION_WINDOW / 2 * (now - looked)


class Dialler:
    """The dialling end: an ssh for each lane, and for those of a fixed number a process, too, once all are there."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._device, self._peer, self._lanes = str(options.device), str(options.peer), options.lanes
        self._silence, self._command = float(options.silence), list(options.command)
        # By it the far end knows which sessions belong together.
        self._link = secrets.token_hex(16) if self._lanes == AUTO else ""
        self._sessions: list[Session] = []
        self._carriers: list[Carrier | None] = []
        self._queues: list[int] = []
        self._workers: list[int] = []

    def run(self) -> NoReturn:
        """Connect, then move packets."""
        mtu = mtu_of(self._device)
        self._connect(0)
        for number in range(1, 1 if self._lanes == AUTO else self._lanes):
            try:
                self._connect(number)
            except EndedError as reason:
                self._end(self._sessions[-1])
                say_without(self._peer, reason, number)
                break
        # Not before: an open device has a carrier, and routes through it are taken.
        self._queues = [open_device(self._device, self._lanes) for _session in self._sessions]
        growth = Opener(self._begin, self._end, self._peer) if self._lanes == AUTO else None
        links = [
            Link(queue, session.source, session.sink, self._peer, self._silence, mtu, carrier, growth)
            for queue, session, carrier in zip(self._queues, self._sessions, self._carriers)
        ]
        for queue, link in zip(self._queues, links):
            discard(queue)
            link.outbound.beat()
            link.outbound.flush()
        say(f"connected to {self._peer}, {len(links)} lane{'s' * (len(links) > 1)}")
        for link in links[1:]:
            self._begin_worker(link)
        links[0].run(self._check_workers)

    def close(self) -> None:
        """End every process that was started, and let the device go."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                os.kill(worker, signal.SIGTERM)
        for session in self._sessions:
            session.process.terminate()
        for queue in self._queues:
            release(queue)

    def ssh_status(self) -> "int | None":
        """What an ssh that ended by itself ended with."""
        for session in self._sessions:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return session.process.wait(1.0)
        return None

    def _begin(self, number: int) -> Session:
        session = Session(self._command)
        self._sessions.append(session)
        facts = {"link": self._link} if self._link else {}
        with contextlib.suppress(ConnectionError):  # its own words say why
            say_hello(session.sink, lanes=self._lanes, lane=number, silence=self._silence, **facts)
        return session

    def _end(self, session: Session) -> None:
        self._sessions.remove(session)
        session.process.kill()
        session.process.wait()

    def _connect(self, number: int) -> None:
        before = identities()
        session = self._begin(number)
        facts = hear_hello(session.source, self._peer, HELLO_SECONDS, PASSING_SECONDS)
        check_hello(facts, self._lanes, self._peer)
        self._carriers.append(carrier_of(self._command, before))

    def _begin_worker(self, link: Link) -> None:
        parent = os.getpid()
        worker = os.fork()
        if worker:
            self._workers.append(worker)
            return
        try:
            link.run(lambda: _require_parent(parent))
        except EndedError as reason:
            say(f"ended: {reason}")
        except StoppedError:
            pass
        finally:
            os._exit(1)  # what the parent opened is the parent's to close

    def _check_workers(self) -> None:
        for worker in self._workers:
            if os.waitpid(worker, os.WNOHANG)[0]:
                raise EndedError("one of the lanes has ended, and all of them begin anew")


def _require_parent(parent: int) -> None:
    if os.getppid() != parent:
        raise EndedError("the process of the first lane has gone")


def dial(options: argparse.Namespace) -> NoReturn:
    """The dialling end."""
    dialler = Dialler(options)
    try:
        dialler.run()
    except ClosedError as reason:
        status = dialler.ssh_status()
        raise EndedError(f"{reason} (ssh's exit status {status})") from reason
    finally:
        dialler.close()


def say(text: str) -> None:
    """One line for whoever reads the log: at the far end, that is the dialling end's."""
    where = " (far end)" if sys.argv[1:2] == ["serve"] else ""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"overssh-stream{where}: {text}\n")
    if where:
        syslog.syslog(syslog.LOG_WARNING, text)


def say_without(who: str, reason: Exception, lanes: int) -> None:
    """A further lane can't be opened."""
    say(f"a further lane to {who} can't be opened ({reason}); the link goes on with {lanes}")


def _stop(_signal: int, _frame: "Any") -> NoReturn:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise StoppedError


def lanes_of(word: str) -> "int | str":
    """The number of lanes, or "auto"; ValueError where it is neither."""
    return AUTO if word == AUTO else int(word)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One end of an overssh stream link.")
    ends = parser.add_subparsers(dest="end", required=True)
    ends.add_parser("version", help="print what this helper speaks")
    for end in ("dial", "serve"):
        arguments = ends.add_parser(end)
        arguments.add_argument("--device", required=True, help="the tun device of this end")
        arguments.add_argument("--lanes", type=lanes_of, default=1, help="how many sessions share the device, or auto")
        if end == "dial":
            arguments.add_argument("--peer", required=True, help="the far end's name")
            arguments.add_argument("--silence", type=float, default=2.5, help="seconds that an end may say nothing")
            arguments.add_argument("command", nargs="+", help="ssh and its arguments, after --")
    return parser.parse_args()


def main() -> int:
    """Run one end; 0 when it was told to stop, 1 when the session ended, 2 when there can't be one."""
    if sys.version_info < OLDEST_PYTHON:
        say(
            "refused: it takes Python {}.{} or later, and {} is {}.{}".format(
                *OLDEST_PYTHON, sys.executable, *sys.version_info
            )
        )
        return 2
    options = _options()
    if options.end == "version":
        sys.stdout.write(f"{VERSION}\n")
        return 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    gc.disable()  # nothing here makes cycles, and a pause would hold packets up
    syslog.openlog("overssh-stream", syslog.LOG_PID, syslog.LOG_DAEMON)
    try:
        {"dial": dial, "serve": serve}[options.end](options)
    except StoppedError:
        return 0
    except RefusedError as reason:
        say(f"refused: {reason}")
        return 2
    except (EndedError, OSError) as reason:
        say(f"ended: {reason}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
