# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements of links, kept until the host restarts; a second measurement would fill the line again."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from .._core.files import readable, remove, remove_empty_folder, write_text
from .speed import LineSpeed

FOLDER = "/run/overssh-speed"


@dataclass(frozen=True)
class Run:
    """The run of a link that was measured: since, its start in µs of the monotonic clock; mtu, in bytes."""

    since: int
    mtu: int


def keep(name: str, run: Run, speed: LineSpeed) -> None:
    """Keep a measurement for the link of this name; it replaces an older one."""
    write_text(_path(name), json.dumps({**asdict(run), **asdict(speed)}) + "\n")


def kept(name: str, run: Run) -> LineSpeed | None:
    """The measurement of this link; None where the link has restarted since, or has another MTU."""
    found = _read(_path(name))
    if (found.get("since"), found.get("mtu")) != (run.since, run.mtu):
        return None
    return LineSpeed(found.get("small_ms"), found.get("mbit_s"))


def forget(name: str) -> None:
    """Remove the measurement of a link that was removed."""
    remove(_path(name))
    remove_empty_folder(FOLDER)


def lines() -> list[dict[str, Any]]:
    """The measurements of all links, by peer: mtu in bytes, rtt_ms, mbit_s."""
    try:
        names = sorted(file[: -len(".json")] for file in os.listdir(FOLDER) if file.endswith(".json"))
    except FileNotFoundError:
        return []
    found = {name: _read(_path(name)) for name in names}
    return [
        {"peer": name, "mtu": each.get("mtu"), "rtt_ms": each.get("small_ms"), "mbit_s": each.get("mbit_s")}
        for name, each in found.items()
        if each
    ]


def _read(path: str) -> dict[str, Any]:
    try:
        found = json.loads(readable(path))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _path(name: str) -> str:
    return f"{FOLDER}/{name}.json"
