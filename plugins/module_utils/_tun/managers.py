# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that manage a host's network, and the file that has each one leave our devices alone.

Sources: systemd.network(5), NetworkManager.conf(5); NetworkManager applies "managed=0" in a section of its own only to
devices that come later, not to those that it has already.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .._core.command import Runner
from .._core.wait import WaitError, wait_until
from .._linux.systemd import Systemd

# Seconds in which a manager lets go of a device after it has read our file; some hundredths are usual.
LETS_GO = 5.0
HEAD = "# Written by overssh.swarm: {device} is made by overssh-{device}.service, whatever other files match it."


@dataclass(frozen=True)
class Manager:
    """A network manager; name: its own name.

    file, text: name and content of our file for a device, both with the device as {device}. reads: the folders of such
    files. ends: the ending of their names. reload: the command that has it read them again. states: the command that
    lists devices, with the word unmanaged for those that it leaves alone.
    """

    name: str
    unit: str
    folder: str
    file: str
    text: str
    reads: tuple[str, ...]
    ends: tuple[str, ...]
    reload: tuple[str, ...]
    states: tuple[str, ...]

    def path(self, device: str) -> str:
        """The path of our file for a device."""
        return f"{self.folder}/{self.file.format(device=device)}"

    def text_for(self, device: str) -> str:
        """The text of our file for a device."""
        return f"{HEAD}\n{self.text}".format(device=device)

    def read_of_others(self) -> Mapping[str, float]:
        """The files of others that it reads, each with the time of its last change."""
        first, last = self.file.split("{device}")
        found = {}
        for folder in self.reads:
            for place, _folders, files in os.walk(folder):
                for file in files:
                    path = f"{place}/{file}"
                    if file.endswith(self.ends) and not (file.startswith(first) and file.endswith(last)):
                        found[path] = os.stat(path).st_mtime if os.path.exists(path) else 0.0
        return found


# Of its files the first name that fits a device decides.
NETWORKD = Manager(
    name="systemd-networkd",
    unit="systemd-networkd.service",
    folder="/etc/systemd/network",
    file="00-overssh-{device}.network",
    text="[Match]\nName={device}\n\n[Link]\nUnmanaged=yes\n",
    reads=tuple(f"{top}/systemd/network" for top in ("/etc", "/run", "/usr/lib", "/usr/local/lib")),
    ends=(".network", ".netdev", ".conf"),
    reload=("networkctl", "reload"),
    states=("networkctl", "--no-pager", "--no-legend", "list"),
)
# "+=" adds to what files before it say, and a "=" in one after it would take that away: ours is to be the last.
NETWORK_MANAGER = Manager(
    name="NetworkManager",
    unit="NetworkManager.service",
    folder="/etc/NetworkManager/conf.d",
    file="zz-overssh-{device}.conf",
    text="[keyfile]\nunmanaged-devices+=interface-name:{device}\n",
    reads=("/etc/NetworkManager", "/run/NetworkManager/conf.d", "/usr/lib/NetworkManager/conf.d"),
    ends=(".conf",),
    reload=("nmcli", "general", "reload", "conf"),
    states=("nmcli", "--terse", "--fields", "DEVICE,STATE", "device"),
)
MANAGERS = {manager.name: manager for manager in (NETWORKD, NETWORK_MANAGER)}


class Managers:
    """The network managers that run on this host."""

    def __init__(self, run: Runner) -> None:
        self._run = run
        self._systemd = Systemd(run)
        self._unread: dict[Manager, list[str]] = {}
        self.warnings: list[str] = []

    def written(self, manager: Manager, device: str) -> None:
        """Note that a file of ours is new; the manager has to read it before the device changes."""
        self._unread.setdefault(manager, []).append(device)

    def tell(self) -> None:
        """Have the managers read our files, unless files of others changed too: their effects are not ours to cause.

        At the end, the managers have removed whatever they remove from a device that they managed before.
        """
        unread, self._unread = self._unread, {}
        for manager, devices in unread.items():
            self._tell(manager, devices)

    def _tell(self, manager: Manager, devices: Collection[str]) -> None:
        unit = self._systemd.observe(manager.unit)
        if unit.active != "active":
            return
        since = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + unit.active_since / 1e6
        waiting = sorted(path for path, changed in manager.read_of_others().items() if changed > since)
        command = " ".join(manager.reload)
        if waiting:
            self.warnings.append(
                f"{manager.name} runs and has perhaps not read {waiting[0]}, which was changed since it started, so "
                f"it was not told of {manager.path('*')} either; run '{command}' when that suits you. Until then "
                "overssh-watch.service puts back what it takes from our devices"
            )
            return
        answer = self._run(manager.reload, check=False)
        if answer.rc != 0:
            why = answer.stderr.strip() or answer.rc
            self.warnings.append(f"{manager.name} could not be told of our devices ({why}); run '{command}'")
            return
        try:
            wait_until(lambda: not self._held(manager, devices), LETS_GO, "that it leaves them alone")
        except WaitError:
            self.warnings.append(
                f"{manager.name} was told to leave our devices alone, and goes on with "
                f"{', '.join(sorted(self._held(manager, devices)))}, as somebody has told it otherwise; "
                f"'{' '.join(manager.states)}' shows what it has"
            )

    def _held(self, manager: Manager, devices: Collection[str]) -> set[str]:
        """The devices that the manager does not leave alone yet."""
        lines = [set(re.split(r"[:\s]+", line)) for line in self._run(manager.states, check=False).stdout.splitlines()]
        return {device for device in devices for words in lines if device in words and "unmanaged" not in words}
