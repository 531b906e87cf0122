# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of a link in the journal, by attempt."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

FIELDS = "MESSAGE,_PID,SYSLOG_IDENTIFIER,INVOCATION_ID,_SYSTEMD_INVOCATION_ID"
# What LogVerbose puts before a message: its place in ssh's source.
PLACE = re.compile(r"^(?:debug\d: )?[\w.-]+\.c:\w+\(\):\d+ \([^)]*\): ")
# Messages of ssh without a fault, or at a stop.
SMALL_TALK = (
    "version",
    "Server host key:",
    "Authenticated to",
    "Remote: ",
    "Transferred: ",
    "Bytes per second: ",
    "Killed by signal",
    "overssh-link: ",
)
HELPER = re.compile(r"overssh-stream(?P<far> \(far end\))?: (?P<words>.*)")
VERDICT = re.compile(r"(?P<kind>refused|ended): (?P<words>.+)")

# Whatever was said before it has been got over.
GOES_ON = re.compile(r"overssh-stream.*: .*; the link goes on with \d+")
LEFT = re.compile(r"ended before its helper answered|was closed")


@dataclass(frozen=True)
class Verdict:
    """Why a helper ended; refused: another attempt ends the same way; far: the peer's helper said it."""

    refused: bool
    far: bool
    words: str


@dataclass(frozen=True)
class Attempt:
    """The messages of one start of the unit, in order: from the helper, from ssh, and from the peer through it."""

    lines: tuple[str, ...]

    def having(self, *parts: str) -> str | None:
        """The last line of ssh's and the peer's that contains one of the parts."""
        return next((line for line in reversed(self.spoken) if any(part in line for part in parts)), None)

    @property
    def spoken(self) -> tuple[str, ...]:
        """The lines of ssh, and of the peer through it, without the helpers' lines."""
        return tuple(line for line in self._standing if not HELPER.match(line))

    @property
    def last_words(self) -> str | None:
        """The last line that matters."""
        said = (line.rstrip(".") for line in reversed(self.spoken) if not any(part in line for part in SMALL_TALK))
        return next(said, None)

    @property
    def connected(self) -> bool:
        """Whether both helpers reported that packets flow."""
        return any(line.startswith("overssh-stream: connected to ") for line in self.lines)

    @property
    def verdict(self) -> Verdict | None:
        """A helper's refusal or reason to end; this end's, unless it only saw the other end go."""
        verdicts = [found for found in map(_verdict, self._standing) if found]
        return min(verdicts, key=lambda each: (not each.refused, bool(LEFT.search(each.words)), each.far), default=None)

    @property
    def _standing(self) -> tuple[str, ...]:
        """The lines without those of further lanes that failed or ended, which are no fault of the link."""
        got_over = [place for place, line in enumerate(self.lines, 1) if GOES_ON.match(line)]
        return self.lines[max(got_over, default=0) :]


def attempts_of(journal: str) -> tuple[Attempt, ...]:
    """The attempts in a journal (as JSON, one entry a line); systemd's own messages are left out.

    systemd gives each start of a unit an invocation id. A child that could not become the program has that id in
    another field.
    """
    runs: dict[str, list[str]] = {}
    for text in journal.splitlines():
        entry = json.loads(text)
        message = entry.get("MESSAGE")
        if isinstance(message, list):  # bytes that are no UTF-8
            message = bytes(message).decode(errors="replace")
        if message and entry.get("SYSLOG_IDENTIFIER") != "systemd":
            run = entry.get("INVOCATION_ID") or entry.get("_SYSTEMD_INVOCATION_ID") or entry.get("_PID", "")
            runs.setdefault(run, []).append(PLACE.sub("", message).strip())
    return tuple(Attempt(tuple(lines)) for lines in runs.values())


def _verdict(line: str) -> Verdict | None:
    said = HELPER.match(line)
    found = VERDICT.match(said["words"]) if said else None
    return Verdict(found["kind"] == "refused", bool(said and said["far"]), found["words"]) if found else None
