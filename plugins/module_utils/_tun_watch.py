# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps other managers of this host's network from our devices, and puts back what they change all the same."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import _tun_watcher
from ._command import Runner
from ._plan import Plan, Step
from ._source import source_of
from ._systemd import UnitState

FOLDER = "/etc/overssh/devices"
PROGRAM, UNIT = f"{FOLDER}/watch", "overssh-watch.service"
LEFT_ALONE = f"{_tun_watcher.RUNTIME}/left_alone.json"
# Where systemd-networkd finds what it manages; the first name that fits a device decides.
NETWORKD, NETWORKD_FOLDER = "systemd-networkd.service", "/etc/systemd/network"
NETWORKD_FOLDERS = (
    NETWORKD_FOLDER,
    "/run/systemd/network",
    "/usr/lib/systemd/network",
    "/usr/local/lib/systemd/network",
)

UNIT_TEXT = """\
# Written by overssh.swarm.
[Unit]
Description=Tunnel devices of overssh, put back when somebody changes them
After=network.target
StartLimitIntervalSec=0

[Service]
ExecStart={python} -I {program}
Restart=always
RestartSec=1
RuntimeDirectory=overssh-watch
SyslogIdentifier=overssh-watch
NoNewPrivileges=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectKernelModules=yes
ProtectSystem=strict
PrivateTmp=yes
RestrictAddressFamilies=AF_UNIX AF_NETLINK
RestrictNamespaces=yes

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Watch:
    """The watcher as found; program: its text."""

    program: str | None
    unit: UnitState


def program_text() -> str:
    """The watcher's own text."""
    return source_of(_tun_watcher.__name__)


def watch_unit_text() -> str:
    """The watcher's unit, run by the Python that runs this."""
    return UNIT_TEXT.format(python=sys.executable, program=PROGRAM)


def plan_watch(wanted: bool, found: Watch, program: str, unit: str) -> Plan:
    """The way to a watcher that runs, or to none where there is nothing to watch."""
    steps = tuple(_write(found, program, unit) if wanted else _remove(found))
    if not steps:
        return Plan({}, {})
    before = _picture(found.program, found.unit.text, found.unit.enabled, found.unit.active == "active")
    after = _picture(program, unit, True, True) if wanted else _picture(None, None, False, False)
    return Plan({UNIT: before}, {UNIT: after}, steps)


def _picture(program: str | None, unit: str | None, enabled: bool, running: bool) -> dict[str, Any]:
    """The watcher in a diff; of its program the SHA-256, as nobody reads that there."""
    digest = hashlib.sha256(program.encode()).hexdigest() if program is not None else None
    return {"program": digest, "unit": unit, "enabled": enabled, "running": running}


def _remove(found: Watch) -> Iterator[Step]:
    if found.unit.active != "inactive":
        yield Step("watch_stop", f"stop {UNIT}", inverse=Step("watch_restart", f"start {UNIT} again"))
    if found.unit.enabled:
        yield Step("watch_disable", f"disable {UNIT}", inverse=Step("watch_enable", f"enable {UNIT} again"))
    yield from _file("unit", UNIT, found.unit.text, None)
    yield from _file("program", PROGRAM, found.program, None)


def _write(found: Watch, program: str, unit: str) -> Iterator[Step]:
    files = [*_file("program", PROGRAM, found.program, program), *_file("unit", UNIT, found.unit.text, unit)]
    running = found.unit.active == "active"
    # Stop and start instead of a restart: taken back last one first, the old files are there before the old start.
    if files and running:
        yield Step("watch_stop", f"stop {UNIT}", inverse=Step("watch_restart", f"start {UNIT} again"))
    yield from files
    if not found.unit.enabled:
        yield Step("watch_enable", f"enable {UNIT}", inverse=Step("watch_disable", f"disable {UNIT}"))
    if files or not running:
        yield Step("watch_restart", f"start {UNIT}", inverse=Step("watch_stop", f"stop {UNIT}"))


def _file(what: str, path: str, old: str | None, new: str | None) -> Iterator[Step]:
    if new != old:
        back = Step(f"watch_{what}", f"restore {path}", {"text": old})
        yield Step(f"watch_{what}", f"{'remove' if new is None else 'write'} {path}", {"text": new}, back)


def network_path(device: str) -> str:
    """The file by which systemd-networkd leaves a device alone."""
    return f"{NETWORKD_FOLDER}/00-overssh-{device}.network"


def network_text(device: str) -> str:
    """Its text."""
    return f"""\
# Written by overssh.swarm: {device} is made by overssh-{device}.service, whatever other files match it.
[Match]
Name={device}

[Link]
Unmanaged=yes
"""


class Networkd:
    """systemd-networkd on this host, where it runs, told of our files once they are written."""

    def __init__(self, run: Runner) -> None:
        self._run = run
        self._unread = False
        self.warnings: list[str] = []

    def written(self) -> None:
        """A file of ours is new; it is to read it before the device changes."""
        self._unread = True

    def tell(self) -> None:
        """Have it read our files, unless others' files wait to be read as well: what they bring is not ours."""
        if not self._unread:
            return
        self._unread = False
        shown = self._run(
            ["systemctl", "show", NETWORKD, "--property=ActiveState,ActiveEnterTimestampMonotonic"], check=False
        ).stdout
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        if values.get("ActiveState") != "active":
            return
        since = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)
        since += int(values.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
        waiting = sorted(path for path, changed in _files_of_others().items() if changed > since)
        if waiting:
            self.warnings.append(
                f"systemd-networkd runs and has perhaps not read {waiting[0]}, which was changed since it started, so "
                f"it was not told of {NETWORKD_FOLDER}/00-overssh-*.network either; run 'networkctl reload' when that "
                "suits you. Until then overssh-watch.service puts back what it takes from our devices"
            )
            return
        answer = self._run(["networkctl", "reload"], check=False)
        if answer.rc != 0:
            self.warnings.append(
                f"systemd-networkd could not be told of our devices ({answer.stderr.strip() or answer.rc}); run "
                "'networkctl reload'"
            )


def _files_of_others() -> Mapping[str, float]:
    """What systemd-networkd reads, with the time of its last change."""
    found = {}
    for folder in NETWORKD_FOLDERS:
        for place, _folders, files in os.walk(folder):
            for file in files:
                path = f"{place}/{file}"
                if file.endswith((".network", ".netdev", ".conf")) and not file.startswith("00-overssh-"):
                    found[path] = os.stat(path).st_mtime if os.path.exists(path) else 0.0
    return found


def read_left_alone(text: str | None) -> list[dict[str, Any]]:
    """What the watcher leaves alone, as somebody removes it again and again."""
    return list(json.loads(text)) if text else []
