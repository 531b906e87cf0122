# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a Docker engine, from its file and its command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._core.errors import OversshError

DAEMON_FILE = "/etc/docker/daemon.json"
COMMAND_LINE = "the command line of dockerd"
# The flags of dockerd that stand for a key of its file under another name, as they may come several times.
PLURAL = {"default-address-pool": "default-address-pools", "feature": "features"}

Settings = Mapping[str, Any]


def settings(words: Sequence[str], read: Callable[[str], str | None]) -> tuple[dict[str, Any], dict[str, str]]:
    """The engine's settings by key, and by key the place that sets each.

    words: dockerd's command line; read: returns a file's text, None for a missing file. An engine does not start with
    one setting in both places.
    """
    flags = _flags(words)
    path = str(flags.pop("config-file", DAEMON_FILE))
    try:
        text = read(path) or ""
        found = json.loads(text or "{}")
    except (OversshError, ValueError):
        text, found = "", {}
    configured = found if isinstance(found, dict) else {}
    places = {key: f"{path}{_line(text, key)}" for key in configured}
    return {**configured, **flags}, {**places, **dict.fromkeys(flags, COMMAND_LINE)}


def _line(text: str, key: str) -> str:
    """The words for the line of a JSON text that a key stands in, empty where none is found."""
    wanted = re.compile(rf'"{re.escape(key)}"\s*:')
    return next((f" line {number}" for number, line in enumerate(text.splitlines(), 1) if wanted.search(line)), "")


def _flags(words: Sequence[str]) -> dict[str, Any]:
    """dockerd's flags by the keys that its file has for them."""
    found: dict[str, Any] = {}
    for index, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, equals, value = word[2:].partition("=")
        if not equals:
            following = words[index + 1] if index + 1 < len(words) else "-"
            value = "true" if following.startswith("-") else following
        key = PLURAL.get(name, name)
        if key == "features":
            feature, _equals, state = value.partition("=")
            found.setdefault(key, {})[feature] = state != "false"
        elif key == "default-address-pools":
            found.setdefault(key, []).append(dict(part.split("=", 1) for part in value.split(",") if "=" in part))
        else:
            found[key] = {"true": True, "false": False}.get(value, value)
    return found


def makes_iptables_rules(configured: Settings) -> bool:
    """Whether an engine with these settings writes iptables rules for its networks."""
    return configured.get("iptables") is not False and configured.get("firewall-backend") != "nftables"
