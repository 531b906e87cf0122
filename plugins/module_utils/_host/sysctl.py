# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sysctl files of this host that may change settings which our devices need; only looks.

Source: sysctl.d(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from .._core.files import layered, readable

# In order of precedence: a file hides those of the same name in later ones.
FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
# What procps reads after all those, and ufw whenever it starts.
LAST = ("/etc/sysctl.conf", "/etc/ufw/sysctl.conf")
OF_OURS = re.compile(
    r"net\.ipv4\.(?:ip_forward|conf\.[^.]+\.(?:forwarding|rp_filter))\Z|"
    r"net\.ipv6\.conf\.[^.]+\.(?:forwarding|force_forwarding|disable_ipv6)\Z"
)


def look() -> list[dict[str, Any]]:
    """The effective assignments, each with key, value and place, in their order."""
    paths = layered(FOLDERS, "*.conf")
    real = {os.path.realpath(path) for path in paths}
    paths += [path for path in LAST if os.path.realpath(path) not in real]
    return assignments((path, readable(path)) for path in paths)


def assignments(texts: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """The effective assignments in the files' texts; of several for one key the last one wins."""
    found: dict[str, dict[str, Any]] = {}
    for path, text in texts:
        for number, line in enumerate(text.splitlines(), 1):
            key, equals, value = line.strip().partition("=")
            name = dotted(key.strip().removeprefix("-"))
            if equals and not name.startswith(("#", ";")) and OF_OURS.match(name):
                found.pop(name, None)
                found[name] = {"key": name, "value": value.strip(), "place": f"{path} line {number}"}
    return list(found.values())


def dotted(key: str) -> str:
    """A key with dots between its parts; the first separator decides which of the two signs is one."""
    slash, dot = key.find("/"), key.find(".")
    return (
        key.replace("/", "\0").replace(".", "/").replace("\0", ".")
        if 0 <= slash < (dot if dot >= 0 else len(key))
        else key
    )
