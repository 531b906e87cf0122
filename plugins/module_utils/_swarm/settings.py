# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a swarm that can change while it runs: the module's options, and the engine's specification; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._core.errors import OversshError

SECOND = 1_000_000_000
AUTOLOCK = "autolock"
# Settings by the names of the module's options; times in seconds, which an engine may have in parts.
Settings = Mapping[str, "bool | float"]


@dataclass(frozen=True)
class Setting:
    """Where the engine's specification has a setting, in which unit, and the least value that an engine takes.

    unit: so many of the engine's are one of ours. least: None for a setting that is true or false.
    """

    part: str
    field: str
    unit: int = 1
    least: int | None = None


SETTINGS = {
    "dispatcher_heartbeat": Setting("Dispatcher", "HeartbeatPeriod", SECOND, 1),
    "node_cert_expiry": Setting("CAConfig", "NodeCertExpiry", SECOND, 3600),
    # Below zero the history has no limit.
    "task_history_limit": Setting("Orchestration", "TaskHistoryRetentionLimit", least=-1),
    "snapshot_interval": Setting("Raft", "SnapshotInterval", least=1),
    "max_snapshots": Setting("Raft", "KeepOldSnapshots", least=0),
    "log_entries_for_slow_followers": Setting("Raft", "LogEntriesForSlowFollowers", least=1),
    AUTOLOCK: Setting("EncryptionConfig", "AutoLockManagers"),
}


def settings_of(params: Mapping[str, Any]) -> dict[str, bool | float]:
    """The settings among the module's options; OversshError for a value that no engine takes."""
    found = {name: params[name] for name in SETTINGS if params.get(name) is not None}
    for name, value in found.items():
        least = SETTINGS[name].least
        if least is not None and value < least:
            raise OversshError(f"{name} is {value}; Docker takes no less than {least}")
    return found


def read_settings(spec: Mapping[str, Any]) -> dict[str, bool | float]:
    """The settings in the engine's specification of a swarm, which leaves out some that are zero."""
    found: dict[str, bool | float] = {}
    for name, setting in SETTINGS.items():
        value = (spec.get(setting.part) or {}).get(setting.field) or 0
        if setting.least is None:
            found[name] = bool(value)
        else:
            found[name] = value / setting.unit if value % setting.unit else value // setting.unit
    return found


def with_settings(spec: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The specification with these settings; everything else in it stays."""
    found = dict(spec)
    for name, value in settings.items():
        setting = SETTINGS[name]
        own = value if setting.least is None else round(value * setting.unit)
        found[setting.part] = {**(found.get(setting.part) or {}), setting.field: own}
    return found


def lacking(found: Settings, desired: Settings) -> dict[str, bool | float]:
    """The desired settings that are not yet so."""
    return {name: value for name, value in desired.items() if found.get(name) != value}


def words(settings: Settings) -> str:
    """Settings with their values, such as "task_history_limit to 3, autolock to true"."""
    return ", ".join(f"{name} to {str(value).lower()}" for name, value in settings.items())
