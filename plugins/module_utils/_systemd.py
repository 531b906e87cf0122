# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of ours: what systemd holds of one, and the few things that are done to one."""

from __future__ import annotations

from dataclasses import dataclass

from ._command import Runner
from ._files import read_text, remove, write_text

UNIT_FOLDER = "/etc/systemd/system"


@dataclass(frozen=True)
class UnitState:
    """A unit as found.

    text: its file's text, None where we have none; enabled: starts at boot; active: systemd's word ("active",
    "activating", "inactive", "failed"); restarts: how often systemd restarted it by itself; main_pid: 0 where none;
    active_since: microseconds of the monotonic clock, 0 where it never was.
    """

    text: str | None
    enabled: bool
    active: str
    restarts: int = 0
    main_pid: int = 0
    active_since: int = 0


class Systemd:
    """systemd on this host, asked and told through systemctl."""

    def __init__(self, run: Runner) -> None:
        self._run = run

    def observe(self, unit: str) -> UnitState:
        """The unit as it stands."""
        shown = self._run(
            [
                "systemctl",
                "show",
                unit,
                "--property=ActiveState,UnitFileState,NRestarts,MainPID,ActiveEnterTimestampMonotonic",
            ],
            check=False,
        ).stdout
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return UnitState(
            text=read_text(unit_path(unit)),
            enabled=values.get("UnitFileState") == "enabled",
            active=values.get("ActiveState", "inactive"),
            restarts=int(values.get("NRestarts") or 0),
            main_pid=int(values.get("MainPID") or 0),
            active_since=int(values.get("ActiveEnterTimestampMonotonic") or 0),
        )

    def write(self, unit: str, text: str) -> None:
        """Install the unit's file and have systemd read it."""
        write_text(unit_path(unit), text)
        self._run(["systemctl", "daemon-reload"])

    def delete(self, unit: str) -> None:
        """Remove the unit's file and every trace of it in systemd's memory."""
        remove(unit_path(unit))
        self._run(["systemctl", "daemon-reload"])
        self._run(["systemctl", "reset-failed", unit], check=False)

    def enable(self, unit: str) -> None:
        """Start it at boot from now on."""
        self._run(["systemctl", "enable", "--quiet", unit])

    def disable(self, unit: str) -> None:
        """Don't start it at boot any more."""
        self._run(["systemctl", "disable", "--quiet", unit])

    def start(self, unit: str) -> None:
        """Start it now."""
        self._run(["systemctl", "start", unit])

    def stop(self, unit: str) -> None:
        """Stop it now."""
        self._run(["systemctl", "stop", unit])

    def restart(self, unit: str) -> None:
        """Stop it where it runs, and start it."""
        self._run(["systemctl", "restart", unit])


def unit_path(unit: str) -> str:
    """Where the unit's file lies."""
    return f"{UNIT_FOLDER}/{unit}"
