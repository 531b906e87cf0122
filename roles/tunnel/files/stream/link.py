# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The link: its lanes, what each of them carries, and what goes on without one."""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable
from typing import NoReturn

from arrivals import Arrivals
from carrier import Carrier
from inbound import Inbound
from lane import TUNE_SECONDS, Lane
from outbound import Outbound
from wire import CUT, SESSION_WINDOW
from words import ClosedError, EndedError, say

# However slow the line is, a queue may hold so much.
QUEUE_LEAST = 32 * 1024
# How often an end says within the allowed silence that it is alive, if it has nothing else to say.
BEATS = 5
# For so long a line may stand still, or nearly so, before all its lanes but the first are given up.
STANDING_SECONDS = 1.5
# The first lane may be silent for so many times longer where others are not.
FIRST_LANE_SILENCES = 4
# So many lanes a link of lanes "auto" has at most.
LANES_MOST = 8


class Growth:
    """Where further lanes of a link come from: nowhere, for one of a fixed number."""

    # What is waited for, if anything.
    descriptor: int | None = None
    # Whether it was said that more of them would carry more.
    said = False

    def turn(self, link: Link) -> None:
        """There is something to read."""

    def see_to(self, link: Link, now: float) -> None:
        """Called ten times a second; now: seconds. A fixed number that is too small is reported once."""
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
        carrier: Carrier | None = None,
        growth: Growth | None = None,
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
    def carried(self) -> tuple[int, int]:
        """Bytes that went there and that came back, since the link came up."""
        sent = self._gone_sent + sum(lane.outbound.sent for lane in self.lanes)
        return sent, self._gone_received + sum(lane.inbound.received for lane in self.lanes)

    @property
    def round_trip(self) -> float:
        """The shortest time that a question and its answer took, in seconds, where the path is long, and else 0."""
        return self.outbound.round_trip

    def add(self, source: int, sink: int, carrier: Carrier | None, end: Callable[[], None]) -> Lane:
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

    def run(self, on_beat: Callable[[], None]) -> NoReturn:
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

    def _run(self, on_beat: Callable[[], None]) -> NoReturn:
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
    def _patience(self) -> float | None:
        """The shortest of all lanes."""
        return min(filter(None, (lane.outbound.patience for lane in self.lanes)), default=None)

    def _with(self, lane: Lane, work: Callable[[Lane, float], None], now: float) -> None:
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

    def _see_to(self, now: float, every: float, on_beat: Callable[[], None]) -> None:
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
        if self.lanes[0].inbound.came_anew(CUT):
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
