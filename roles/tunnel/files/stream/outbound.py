# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way out: from the device into a session."""

from __future__ import annotations

import os
import sys
import time
from collections import deque

from buffers import PIPE_LEAST, PIPE_MOST, resize
from carrier import Carrier
from numbering import Numbering
from pace import ASK_LEAST, LOOK_SECONDS, Pace
from waiting import QUEUE_MOST, Waiting
from window import WINDOW_LEAST, Window
from wire import (
    ANSWER,
    ASK,
    BEAT,
    HEAD,
    LARGEST,
    LEAVE,
    NO_TIME,
    NUMBER,
    NUMBERED,
    PACKET,
    QUESTION,
    REPLY,
    SESSION_WINDOW,
)
from words import EndedError

# Packets are read off the device until there is none left or so many bytes are together, and written at once.
BATCH = 128 * 1024
TURNS = 512
# A queue holds what goes out in this time at the rate that was measured, within bounds, and the pipe behind it less
# than that: a full queue delays everything that comes after it.
QUEUE_SECONDS, PIPE_SECONDS = 0.002, 0.001
# On longer paths than this (microseconds) each flow has a queue of its own, which is kept short where it has taken
# longer than TARGET for INTERVAL (seconds).
LONG_PATH = 3_000
TARGET, INTERVAL = 0.005, 0.1
# A full queue still takes packets as small as those that keep a swarm together, up to so much more.
SMALL, SMALL_ROOM = 1500, 64 * 1024
CONTROL_ROOM = 16 * 1024
ASKS_A_WINDOW = 4
# What TCP has not seen for minutes, a round trip as short as it once was, is over where it is so many times as long.
GROWN = 1.5
# More lanes are wanted where a session was found waiting for its window so many times more often than not.
STARVED = 5


class Outbound:
    """Packets on their way from the device into the session.

    Two buffers take turns: one is written while the other one fills, so nothing is ever moved. While the session takes
    nothing, packets go on being read and are dropped beyond a limit in bytes, as a router does it. Left in the device's
    own queue, which counts packets and not bytes, they would delay all that follow. On a long path, where there is more
    time and more to wait for, they are kept apart by flow instead.
    """

    def __init__(
        self, device: int, sink: int, least: int, carrier: Carrier | None = None, first: Outbound | None = None
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
    def paced(self) -> Pace | None:
        """What is known of the connection below, where that is enough to go by."""
        return self._pace if self._long and self._pace and self._pace.knows else None

    @property
    def patience(self) -> float | None:
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
