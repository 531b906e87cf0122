# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a link; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from .._core.plan import Plan, Step
from .._linux import unit_steps
from .._linux.systemd import UnitState
from .config import Texts, conf_path, known_hosts_path, unit_of

RUNNING = ("active", "activating", "reloading")


@dataclass(frozen=True)
class Observed:
    """The observed link.

    device_lost: the running program does not hold its device. ssh stays connected for ever after the device under it
    was removed. refusals: how often in a row the peer refused this host; each one delays the next attempt.
    """

    conf: str | None
    known_hosts: str | None
    unit: UnitState
    device_lost: bool = False
    refusals: int = 0

    @property
    def running(self) -> bool:
        """Whether systemd keeps up the link, or tries to."""
        return self.unit.active in RUNNING

    @property
    def pausing(self) -> bool:
        """Whether the next attempt is delayed because the last one was refused."""
        return self.unit.active == "activating" and self.refusals > 0

    @property
    def texts(self) -> Texts:
        """The texts of the link's files."""
        return Texts(self.conf, self.known_hosts, self.unit.text)


def plan_link(name: str, state: str, texts: Texts | None, observed: Observed) -> Plan:
    """The steps to state ("started", "restarted", "stopped" or "absent"); texts: needed for the first two."""
    if texts is not None:
        after = _picture(texts, enabled=True, running=True)
        steps = tuple(_up(name, texts, observed, state == "restarted"))
    elif state == "stopped":
        after = _picture(observed.texts, enabled=False, running=False)
        steps = tuple(_down(name, observed))
    else:
        after = _picture(Texts(None, None, None), enabled=False, running=False)
        steps = (*_down(name, observed), *_gone(name, observed))
    return Plan(_picture(observed.texts, observed.unit.enabled, observed.running), after, steps)


def _picture(texts: Texts, enabled: bool, running: bool) -> dict[str, Any]:
    return {
        "configuration": texts.conf,
        "known_hosts": texts.known_hosts,
        "unit": texts.unit,
        "enabled": enabled,
        "running": running,
    }


def _up(name: str, texts: Texts, observed: Observed, restart: bool) -> Iterator[Step]:
    files = [
        *_file("ssh's configuration", conf_path(name), texts.conf, observed.conf),
        *_file("the host keys", known_hosts_path(name), texts.known_hosts, observed.known_hosts),
        *unit_steps.written(unit_of(name), texts.unit, observed.unit.text),
    ]
    again = observed.running and (restart or observed.device_lost or observed.pausing or bool(files))
    # Stop and start instead of a restart: taken back last one first, the old files are there before the old start.
    if again:
        yield _stop(name)
    yield from files
    if not observed.unit.enabled:
        yield _enable(name)
    if again or not observed.running:
        yield _start(name)


def _down(name: str, observed: Observed) -> Iterator[Step]:
    if observed.running:
        yield _stop(name)
    if observed.unit.enabled:
        yield replace(unit_steps.disabled(unit_of(name)), label=f"don't start {unit_of(name)} at boot any more")


def _gone(name: str, observed: Observed) -> Iterator[Step]:
    yield from unit_steps.written(unit_of(name), None, observed.unit.text)
    yield from _file("the host keys", known_hosts_path(name), None, observed.known_hosts)
    yield from _file("ssh's configuration", conf_path(name), None, observed.conf)


def _file(what: str, path: str, text: str | None, old: str | None) -> Iterator[Step]:
    if text != old:
        back = Step("file", f"restore {path}", {"path": path, "text": old})
        verb = "remove" if text is None else "write"
        yield Step("file", f"{verb} {what} {path}", {"path": path, "text": text}, back)


def _enable(name: str) -> Step:
    unit = unit_of(name)
    return replace(unit_steps.enabled(unit), label=f"start {unit} at boot")


def _start(name: str) -> Step:
    back = Step("stop_unit", f"stop the link to {name}", {"unit": unit_of(name)})
    return Step("start", f"start the link to {name}", inverse=back)


def _stop(name: str) -> Step:
    back = Step("start", f"start the link to {name} again")
    return Step("stop_unit", f"stop the link to {name}", {"unit": unit_of(name)}, back)
