# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher's unit and program on a host; they exist as long as a device or a firewall rule of ours does."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._core.engine import performs
from .._core.files import read_text, remove_empty_folder
from .._core.plan import Plan, Step
from .._core.program import install, installed, name_of, program_files
from .._linux import unit_steps
from .._linux.systemd import NO_UNIT, UNIT_FOLDER, Systemd, UnitState
from .._linux.unit_steps import UnitSteps
from .._nftables.rules_file import FOLDER as RULES_FOLDER
from .._nftables.rules_file import RULES_FILE
from . import devices as watcher_devices
from . import program as watcher_program
from .rules import SUBJECT as FIREWALL

PROGRAM_FOLDER, UNIT = "/etc/overssh/watch", "overssh-watch.service"
RUNTIME = "overssh-watch"
LEFT_ALONE = f"/run/{RUNTIME}/left_alone.json"
# The program and what it imports, which Ansible packs along with it.
PROGRAM = (
    name_of(watcher_program),
    "_core.errors",
    "_core.files",
    "_core.wait",
    "_linux.devices",
    "_linux.netlink",
    *(f"_watcher.{part}" for part in ("devices", "fights", "host", "kernel", "rules")),
)

UNIT_TEXT = """\
# Written by overssh.swarm.
[Unit]
Description=Devices and firewall rules of overssh, put back when somebody changes them
After=network.target overssh-nft-early.service
StartLimitIntervalSec=0

[Service]
ExecStart={command}
Restart=always
RestartSec=1
RuntimeDirectory={runtime}
SyslogIdentifier={runtime}
CapabilityBoundingSet=CAP_NET_ADMIN
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
ReadWritePaths=/etc/overssh
RestrictAddressFamilies=AF_UNIX AF_NETLINK
RestrictNamespaces=yes

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Watch:
    """The observed watcher.

    program: the texts of its files; devices: the names of the devices that it watches; rules: whether it watches
    firewall rules.
    """

    program: Mapping[str, str] = field(default_factory=dict)
    unit: UnitState = NO_UNIT
    devices: frozenset[str] = frozenset()
    rules: bool = False


def command(folder: str, units: str, runtime: str, rules: str) -> list[str]:
    """The command that starts the program in this folder, with this Python; the other arguments: see its main."""
    parent, package = os.path.split(folder)
    start = (
        f"import sys; sys.path.insert(0, {parent!r}); from {package}._watcher.program import main; main(*sys.argv[1:])"
    )
    return [sys.executable, "-I", "-B", "-c", start, units, runtime, rules]


def unit_text() -> str:
    """The text of the watcher's unit."""
    words = command(PROGRAM_FOLDER, UNIT_FOLDER, f"/run/{RUNTIME}", RULES_FOLDER)
    return UNIT_TEXT.format(command=" ".join(map(_quoted, words)), runtime=RUNTIME)


def _quoted(word: str) -> str:
    return word if shlex.quote(word) == word else f'"{word}"'


def observe(systemd: Systemd) -> Watch:
    """The watcher on this host."""
    return look(systemd.observe(UNIT))


def look(unit: UnitState) -> Watch:
    """The watcher on this host, with its unit already observed."""
    return Watch(
        installed(PROGRAM_FOLDER), unit, frozenset(watcher_devices.names_in(UNIT_FOLDER)), os.path.exists(RULES_FILE)
    )


def plan_watch(wanted: bool, found: Watch) -> Plan:
    """The steps to a running watcher, or to none where nothing is watched."""
    program, unit = (program_files(PROGRAM_FOLDER, PROGRAM), unit_text()) if wanted else ({}, None)
    steps = tuple(_write(found, program, unit) if unit is not None else _remove(found))
    if not steps:
        return Plan({}, {})
    before = _picture(found.program, found.unit.text, found.unit.enabled, found.unit.active == "active")
    return Plan({UNIT: before}, {UNIT: _picture(program, unit, wanted, wanted)}, steps)


def _picture(program: Mapping[str, str], unit: str | None, enabled: bool, running: bool) -> dict[str, Any]:
    """The watcher in a diff; of its program the SHA-256, as nobody reads that there."""
    digest = hashlib.sha256(json.dumps(program, sort_keys=True).encode()).hexdigest() if program else None
    return {"program": digest, "unit": unit, "enabled": enabled, "running": running}


def _remove(found: Watch) -> Iterator[Step]:
    if found.unit.active != "inactive":
        yield unit_steps.stopped(UNIT)
    if found.unit.enabled:
        yield unit_steps.disabled(UNIT)
    yield from unit_steps.written(UNIT, None, found.unit.text)
    yield from _program(found.program, {})


def _write(found: Watch, program: Mapping[str, str], unit: str) -> Iterator[Step]:
    files = [*_program(found.program, program), *unit_steps.written(UNIT, unit, found.unit.text)]
    running = found.unit.active == "active"
    # Stop and start instead of a restart: taken back last one first, the old files are there before the old start.
    if files and running:
        yield unit_steps.stopped(UNIT)
    yield from files
    if not found.unit.enabled:
        yield unit_steps.enabled(UNIT)
    if files or not running:
        yield unit_steps.restarted(UNIT)


def _program(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Step]:
    """All files as one step: they are of use together only."""
    if new != old:
        back = Step("watch_program", f"restore {PROGRAM_FOLDER}", {"files": dict(old)})
        yield Step("watch_program", f"{'write' if new else 'remove'} {PROGRAM_FOLDER}", {"files": dict(new)}, back)


def is_own(step: Step) -> bool:
    """Whether the step is of plan_watch, and not about a unit of others."""
    return step.action == "watch_program" or step.args.get("unit") == UNIT


class WatcherSteps(UnitSteps):
    """The methods for the steps of plan_watch, for engines whose plans include them; they need a systemd."""

    @performs("watch_program")
    def _watch_program(self, files: Mapping[str, str]) -> None:
        install(PROGRAM_FOLDER, files)
        remove_empty_folder(os.path.dirname(PROGRAM_FOLDER))


def devices_left_alone() -> list[dict[str, Any]]:
    """The devices that the watcher leaves alone: what of each, and who undoes it again and again."""
    return [
        {"device": each["subject"], "what": each["what"], "by": each["by"]}
        for each in _left_alone()
        if each["subject"] != FIREWALL
    ]


def rules_left_alone() -> list[str]:
    """The program that removes firewall rules again and again, so that the watcher leaves them alone."""
    return [each["by"] for each in _left_alone() if each["subject"] == FIREWALL]


def _left_alone() -> list[dict[str, Any]]:
    text = read_text(LEFT_ALONE)
    return list(json.loads(text)) if text else []
