# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line that each end begins with."""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any

from wire import HELLO, LONGEST_HELLO, VERSION
from words import ClosedError, EndedError, RefusedError


def say_hello(sink: int, **facts: Any) -> None:
    """Write the line that an end begins with."""
    os.write(sink, HELLO + json.dumps({"version": VERSION, **facts}).encode() + b"\n")


def hear_hello(source: int, who: str, seconds: float, passing: float = 0.0) -> dict[str, Any]:
    """The other end's line as data.

    passing: how many seconds it may come after something else was printed; with 0 nothing else may be.
    """
    heard, printed = b"", b""
    deadline = time.monotonic() + seconds
    while not (heard.startswith(HELLO) and heard.endswith(b"\n")):
        got = os.read(source, LONGEST_HELLO) if readable(source, deadline - time.monotonic()) else None
        if not got and printed:
            raise _foreign(printed, who)
        if got is None:
            raise EndedError(f"{who} has said nothing for {seconds:g} s")
        if not got:
            raise ClosedError(f"the session with {who} ended before its helper answered")
        heard += got
        begun = begun_in(heard)
        if begun != heard and not printed:
            printed, deadline = heard, min(deadline, time.monotonic() + passing)
        heard = begun
        if (printed and not passing) or len(heard) > LONGEST_HELLO:
            raise _foreign(printed or heard, who)
    return facts_in(heard, who)


def facts_in(heard: bytes, who: str) -> dict[str, Any]:
    """A hello's line as data; RefusedError where it is none."""
    try:
        facts = json.loads(heard[len(HELLO) :].decode())
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise _foreign(heard, who)
    return facts


def begun_in(heard: bytes) -> bytes:
    """What of it is a hello, or may become one."""
    if HELLO in heard:
        return heard[heard.index(HELLO) :]
    return next(HELLO[:length] for length in range(len(HELLO) - 1, -1, -1) if heard.endswith(HELLO[:length]))


def readable(source: int, seconds: float) -> bool:
    """Whether anything comes within so many seconds."""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def _foreign(line: bytes, who: str) -> RefusedError:
    words = line.decode(errors="replace").strip().split("\n")[0][:80].strip()
    return RefusedError(
        f"{who} printed {words!r} before the first frame; a startup file of the account's shell there may do that, and "
        "has to be silent"
    )


def check_hello(facts: dict[str, Any], lanes: int | str, who: str) -> None:
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
