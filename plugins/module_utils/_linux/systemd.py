# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our systemd units: read their state, write, start and stop them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .._core.command import Answer, Runner
from .._core.files import read_text, remove, write_text

UNIT_FOLDER = "/etc/systemd/system"
PROPERTIES = "Id,ActiveState,UnitFileState,NRestarts,MainPID,ActiveEnterTimestampMonotonic"


@dataclass(frozen=True)
class UnitState:
    """The state of a unit.

    text: of its file, None where we have none; enabled: starts at boot; active: systemd's word ("active", "activating",
    "inactive", "failed"); restarts: how often systemd restarted it by itself; main_pid: 0 for none; active_since:
    microseconds of the monotonic clock, 0 where it was never active.
    """

    text: str | None
    enabled: bool
    active: str
    restarts: int = 0
    main_pid: int = 0
    active_since: int = 0


NO_UNIT = UnitState(text=None, enabled=False, active="inactive")


def program_word(program: str) -> str:
    """A program for sh as one word of a unit's command line; ValueError where it holds a single quote.

    Comments are left out: systemd takes a line that begins with # for a comment of its own, also inside a word.
    """
    lines = [line for line in program.splitlines() if not line.lstrip().startswith("#")]
    if "'" in "".join(lines):
        raise ValueError("a program that stands in a unit can hold no single quote")
    escaped = [line.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$") for line in lines]
    return "'\\\n" + "\\n\\\n".join(escaped) + "'"


class Systemd:
    """systemd on this host, through systemctl.

    A daemon-reload takes systemd longer than all else. So new files do not cause one at once: one reload for all of
    them precedes the next call of systemctl.
    """

    def __init__(self, run: Runner) -> None:
        self._run = run
        self._unread = False

    def observe(self, unit: str) -> UnitState:
        """The state of one unit."""
        return self.observe_all([unit])[0]

    def observe_all(self, units: Sequence[str]) -> list[UnitState]:
        """The states of several units, in one call of systemctl."""
        if not units:
            return []
        shown = self._tell("show", *units, f"--property={PROPERTIES}", check=False).stdout
        by_name = {values.get("Id"): values for values in map(_values, shown.split("\n\n"))}
        return [_state(unit, by_name.get(unit, {})) for unit in units]

    def write(self, unit: str, text: str) -> None:
        """Write the unit's file and have systemd read it."""
        new = not os.path.exists(unit_path(unit))
        write_text(unit_path(unit), text)
        self._unread = True
        if not new:
            self._read()

    def delete(self, unit: str) -> None:
        """Remove the unit's file and all of systemd's state of it."""
        remove(unit_path(unit))
        self._unread = True
        self._tell("reset-failed", unit, check=False)

    def enable(self, unit: str) -> None:
        """Have the unit start at boot."""
        self._run(["systemctl", "enable", "--quiet", "--no-reload", unit])
        self._unread = True

    def disable(self, unit: str) -> None:
        """Don't have the unit start at boot."""
        self._run(["systemctl", "disable", "--quiet", "--no-reload", unit])
        self._unread = True

    def remove(self, units: Sequence[str]) -> None:
        """Remove the units' files, their links for the boot, and all of systemd's state of them."""
        self._run(["systemctl", "disable", "--quiet", "--no-reload", *units], check=False)
        for unit in units:
            remove(unit_path(unit))
        self._unread = True
        self._tell("reset-failed", *units, check=False)

    def start(self, unit: str) -> None:
        """Start the unit."""
        self._tell("start", unit)

    def stop(self, unit: str) -> None:
        """Stop the unit."""
        self._tell("stop", unit)

    def restart(self, unit: str) -> None:
        """Start the unit, after a stop where it runs."""
        self._tell("restart", unit)

    def reload(self, unit: str) -> None:
        """Have the unit read its files again; a unit that does not run is left alone."""
        self._tell(self.reloading(unit), unit)

    def reloading(self, unit: str) -> str:
        """The verb of systemctl that has the unit read its files again.

        An sshd with its port from a socket unit ends at a reload, because it can't bind the port then (seen with
        Debian's OpenSSH 10.0). A restart gives it the port again. Running sessions go on in either case.
        """
        shown = self._tell("show", unit, "--property=TriggeredBy", check=False).stdout.strip()
        sockets = [name for name in shown.partition("=")[2].split() if name.endswith(".socket")]
        active = any(state.active == "active" for state in self.observe_all(sockets))
        return "try-restart" if active else "try-reload-or-restart"

    def _tell(self, *words: str, check: bool = True) -> Answer:
        if self._unread:
            self._read()
        return self._run(["systemctl", *words], check=check)

    def _read(self) -> None:
        self._run(["systemctl", "daemon-reload"])
        self._unread = False


def _values(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _state(unit: str, values: Mapping[str, str]) -> UnitState:
    return UnitState(
        text=read_text(unit_path(unit)),
        enabled=values.get("UnitFileState") == "enabled",
        active=values.get("ActiveState", "inactive"),
        restarts=int(values.get("NRestarts") or 0),
        main_pid=int(values.get("MainPID") or 0),
        active_since=int(values.get("ActiveEnterTimestampMonotonic") or 0),
    )


def unit_path(unit: str) -> str:
    """The path of the unit's file."""
    return f"{UNIT_FOLDER}/{unit}"
