# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the dialling end has further lanes from: sessions that it opens."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from carrier import carrier_beside, identities
from hello import begun_in, check_hello, facts_in
from link import LANES_MOST, Growth, Link
from session import Session
from wire import AUTO, HELLO, HELLO_SECONDS, LONGEST_HELLO, SESSION_WINDOW, WANT
from words import EndedError, RefusedError, say, say_without

# A link of lanes "auto" closes a lane where all that was carried for so many seconds would have fit half of one, and
# after a failure waits so many seconds before it tries again, and ever longer.
IDLE_SECONDS, RETRY_SECONDS, RETRY_LONGEST = 60.0, 60.0, 3600.0
# So many lanes may open one right after the other, and later ones after so many seconds each. A firewall may let in but
# a few connections from one place in a while (ufw's limit is five in 30 s), and an administrator is to be among them.
LANES_SOON, LANE_SECONDS = 3, 10.0


class Opener(Growth):
    """Opens further lanes where one session's window is too small, one after the other, and closes them again."""

    def __init__(self, begin: Callable[[int], Session], end: Callable[[Session], None], who: str) -> None:
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
        self._heard = begun_in((self._heard + got)[-LONGEST_HELLO:])
        try:
            if not got:
                raise EndedError("the session ended before the helper there answered")
            if self._heard.startswith(HELLO) and self._heard.endswith(b"\n"):
                check_hello(facts_in(self._heard, self._who), AUTO, self._who)
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
        if link.lanes[0].inbound.came_anew(WANT) or link.starved:
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
