# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One session of a link, with both its ways."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from inbound import Inbound
from outbound import Outbound
from words import EndedError

TUNE_SECONDS = 0.1


class Lane:
    """One session with who."""

    def __init__(
        self, source: int, sink: int, outbound: Outbound, inbound: Inbound, silence: float, end: Callable[[], None]
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
