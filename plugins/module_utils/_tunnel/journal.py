# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was said for a link in the journal, one attempt after the other."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

FIELDS = "MESSAGE,_PID,SYSLOG_IDENTIFIER,INVOCATION_ID,_SYSTEMD_INVOCATION_ID"
# What LogVerbose puts before a message: its place in ssh's source.
PLACE = re.compile(r"^(?:debug\d: )?[\w.-]+\.c:\w+\(\):\d+ \([^)]*\): ")
# What ssh says while nothing is wrong, or when it is told to stop.
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
    """Why a helper ended: refused: the same would happen again; far: said by the peer's helper of itself."""

    refused: bool
    far: bool
    words: str


@dataclass(frozen=True)
class Attempt:
    """What one start of the unit said, in order: the helper, where there is one, ssh, and the peer through it."""

    lines: tuple[str, ...]

    def having(self, *parts: str) -> str | None:
        """The last line of ssh's and the peer's that has one of the parts."""
        return next((line for line in reversed(self.spoken) if any(part in line for part in parts)), None)

    @property
    def spoken(self) -> tuple[str, ...]:
        """What ssh said, and through it the peer, without the helpers' lines."""
        return tuple(line for line in self._standing if not HELPER.match(line))

    @property
    def last_words(self) -> str | None:
        """The last thing that was said and matters."""
        said = (line.rstrip(".") for line in reversed(self.spoken) if not any(part in line for part in SMALL_TALK))
        return next(said, None)

    @property
    def connected(self) -> bool:
        """Whether both helpers said that packets flow."""
        return any(line.startswith("overssh-stream: connected to ") for line in self.lines)

    @property
    def verdict(self) -> Verdict | None:
        """What a helper refused, or else why it ended; this end's first, unless that only saw the other one go."""
        verdicts = [found for found in map(_verdict, self._standing) if found]
        return min(verdicts, key=lambda each: (not each.refused, bool(LEFT.search(each.words)), each.far), default=None)

    @property
    def _standing(self) -> tuple[str, ...]:
        """The lines without those of further lanes that failed or ended, which are no fault of the link."""
        got_over = [place for place, line in enumerate(self.lines, 1) if GOES_ON.match(line)]
        return self.lines[max(got_over, default=0) :]


def attempts_of(journal: str) -> tuple[Attempt, ...]:
    """The attempts in a journal (as JSON, one entry a line); what systemd itself says is left out.

    systemd gives each start of a unit an invocation id. What a child says that could not become the program has it in
    a field of its own.
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
