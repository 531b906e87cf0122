# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way in: from a session to the device."""

from __future__ import annotations

import errno
import os
import time

from arrivals import Arrivals
from buffers import PIPE_MOST, resize
from outbound import Outbound
from wire import (
    ANSWER,
    ASK,
    BEAT,
    HEAD,
    LARGEST,
    LEAVE,
    LENGTH,
    LENGTHS,
    NUMBER,
    NUMBERED,
    PACKET,
    QUESTION,
    REPLY,
    SMALLEST,
)
from words import ClosedError, EndedError

INBOUND_ROOM, INBOUND_LEAST = 1024 * 1024, 256 * 1024


class Inbound:
    """Packets on their way from the session to the device; outbound gets all else that the far end says."""

    def __init__(
        self, source: int, device: int, outbound: Outbound, who: str, arrivals: Arrivals | None = None
    ) -> None:
        self._source, self._device, self._outbound, self._who = source, device, outbound, who
        self._arrivals = arrivals or Arrivals()
        # What the far end has said that takes no more than its kind: WANT, LEAVE, CUT.
        self.messages: set[int] = set()
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
            self.messages.add(kind)

    @property
    def left(self) -> bool:
        """Whether the far end sends no more over this lane."""
        return LEAVE in self.messages

    def came_anew(self, kind: int) -> bool:
        """Whether the far end has said this since the last time that it was asked about."""
        came = kind in self.messages
        self.messages.discard(kind)
        return came

    def deliver(self, packets: list[memoryview | bytes]) -> None:
        """Give packets to the device."""
        for packet in packets:
            self._give(packet)

    def _give(self, packet: memoryview | bytes) -> None:
        """A device that is down, or a packet that is none, costs that packet; a device that was removed is the end."""
        try:
            os.write(self._device, packet)
        except OSError as error:
            if error.errno == errno.EBADFD:
                raise
            self.unfit += 1
