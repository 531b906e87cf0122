# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps systemd-networkd from our devices."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from ._command import Runner

# The first name that fits a device decides.
NETWORKD, NETWORKD_FOLDER = "systemd-networkd.service", "/etc/systemd/network"
NETWORKD_FOLDERS = (
    NETWORKD_FOLDER,
    "/run/systemd/network",
    "/usr/lib/systemd/network",
    "/usr/local/lib/systemd/network",
)


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
