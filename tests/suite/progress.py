# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job's output says about how far it is; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# molecule's own words around each action of a scenario.
ACTION = re.compile(r"INFO\s+(?P<scenario>[\w-]+) \S+ (?P<action>\w+): (?P<what>Executing|Executed: \w+)$")
# pytest's last line, or its last line with -q.
TESTS = re.compile(r"^(=+ )?(?P<words>\d+ (passed|failed|error|skipped|deselected).*) in [0-9.]+s\b")
# What a job has to tell whoever looks on.
NOTE = re.compile(r"^note: (?P<words>.+)$")
# What it leaves out, and why.
NOT_RUN = re.compile(r"^not run: (?P<words>.+)$")
COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)")


@dataclass(frozen=True)
class Event:
    """kind: begins, ends, tests, note, or not run. name: the step.

    words: how it ended, what the tests came to, what is told, or what is left out and why.
    """

    kind: str
    name: str = ""
    words: str = ""


def event(line: str) -> Event | None:
    """What a line of output tells."""
    plain = COLOUR.sub("", line).rstrip()
    if found := ACTION.search(plain):
        name = f"{found['scenario']} {found['action']}"
        if found["what"] == "Executing":
            return Event("begins", name)
        return Event("ends", name, found["what"].partition(": ")[2])
    if found := NOTE.match(plain):
        return Event("note", words=found["words"])
    if found := NOT_RUN.match(plain):
        return Event("not run", words=found["words"])
    if found := TESTS.search(plain):
        return Event("tests", words=found["words"])
    return None


def counts(words: str) -> dict[str, int]:
    """How many passed, failed and so on, out of pytest's words; an error is a failure."""
    found = {"passed": 0, "failed": 0, "skipped": 0}
    for number, outcome in COUNT.findall(words):
        found["failed" if outcome == "error" else outcome] += int(number)
    return found
