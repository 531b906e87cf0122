# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many bytes may be on their way to the far end."""

from __future__ import annotations

# So many bytes may be on their way: as many as keep the delay they make in pipe, ssh and network near the aimed one.
WINDOW_LEAST, WINDOW_FIRST, WINDOW_MOST = 64 * 1024, 1024 * 1024, 16 * 1024 * 1024
# The delay aimed at, in microseconds: a quarter of the round trip, as BBR sends that much more to see whether a line
# has become faster, within these bounds.
DELAY, LONGEST_DELAY = 10_000, 25_000
EPOCH_SECONDS = 10.0
# Where there is no queue for several round trips, the window grows by up to so many times what would make one.
FASTEST = 1024.0
# The least window and still a long delay: after so many answers the path is left empty, to see how long it is now, and
# not again for so many seconds, or ever more where it was in vain.
STUCK, EMPTY_AGAIN_SECONDS, EMPTY_LONGEST_SECONDS = 4, 2.0, 60.0


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
        carried: float | None = None,
    ) -> None:
        """An answer came.

        delay: of the question on its way, in microseconds, by clocks that are not synchronised; round_trip: of both;
        under_way: bytes; last: whether no other question is under way; limited: whether the window held packets back;
        now: seconds; carried: TCP's own round trip, where it is known.
        """
        self._round_trip = min(self._round_trip, round_trip)
        measured = [(self._asked, delay)] + ([(self._carried, carried)] if carried else [])
        self._follow_base(measured, last, now)
        path, took = measured[-1]
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

    def _follow_base(self, measured: list[tuple[Path, float]], last: bool, now: float) -> None:
        if self._draining:
            self._draining -= 1
            if not self._draining:
                # All of them, so no any() that stops at the first.
                longer = sum(path.found_empty(took) for path, took in measured) > 0
                # A path that is as long as before is slow, and not asked so often.
                self._empty_pause = EMPTY_AGAIN_SECONDS if longer else min(2 * self._empty_pause, EMPTY_LONGEST_SECONDS)
        for path, took in measured:
            path.see(took)
        if self._emptying and last:
            # The next question finds nothing before it.
            self._emptying, self._draining = False, 1
        if now >= self._epoch_ends:
            # A queue that was never empty in all that time looks like a longer path, and only draining shows it.
            if sum(path.next_epoch() for path, _took in measured):
                self._draining = 2
            self._epoch_ends = now + EPOCH_SECONDS

    def _see_whether_stuck(self, now_stuck: bool, now: float) -> None:
        """With the least window and a long delay the path may have become longer, or be that slow."""
        self._stuck = self._stuck + 1 if now_stuck else 0
        if self._stuck >= STUCK and now >= self._empty_again:
            self._stuck, self._emptying, self._empty_again = 0, True, now + self._empty_pause
