# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The links over ssh that this host keeps up; only looks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from .._core.command import Runner
from .._linux.icmp import Answer
from .._linux.systemd import UNIT_FOLDER, Systemd
from .config import FOLDER, unit_of
from .device import holds
from .engine import described, observe_link

PING_SECONDS = 1.0
UNIT = re.compile(r"overssh-link-(?P<name>.+)\.service")
WARNINGS = {
    "channel_window_ignored": "peer ignored channel window",
    "too_much_data": "rcvd too much data",
    "session_window_full": "an ssh session's window in each round trip",
}


def info(
    run: Runner, ping: Callable[[str, str, float], Answer | None], name: str | None = None
) -> list[dict[str, Any]]:
    """Every link of ours or the named one, by name."""
    return [_link(each, run, ping) for each in found_names() if name in (None, each)]


def found_names() -> list[str]:
    """The names of all links of ours on this host."""
    return link_names(_entries(FOLDER), _entries(UNIT_FOLDER))


def link_names(files: list[str], units: list[str]) -> list[str]:
    """The links' names, from the names of configurations and of units."""
    of_files = [file[: -len(".conf")] for file in files if file.endswith(".conf") and not file.startswith(".")]
    of_units = [found["name"] for found in map(UNIT.fullmatch, units) if found]
    return sorted({*of_files, *of_units})


def warnings_of(journal: str) -> dict[str, int]:
    """The number of complaints about full windows: ssh's about its channel, and a helper's about its session."""
    return {name: journal.count(words) for name, words in WARNINGS.items()}


def _link(name: str, run: Runner, ping: Callable[[str, str, float], Answer | None]) -> dict[str, Any]:
    observed = observe_link(name, Systemd(run))
    seen = described(name, observed.conf, observed.unit)
    device, address = seen["device"], seen["remote_address"]
    held = device and address and holds(observed.unit.main_pid, device)
    answer = ping(address, device, PING_SECONDS) if held else None
    journal = run(["journalctl", "-u", unit_of(name), "-o", "cat", "--no-pager"], check=False).stdout
    return {
        "name": name,
        **seen,
        "state": observed.unit.active,
        "enabled": observed.unit.enabled,
        "refusals": observed.refusals,
        "rtt_ms": answer.rtt_ms if answer else None,
        "warnings": warnings_of(journal),
    }


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
