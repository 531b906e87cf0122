# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Join equal sentences on several hosts into one; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable


def once(sentences: Iterable[str], hosts: Collection[str]) -> list[str]:
    """The sentences, each "HOST: WHAT" or about the whole fleet; those with the same WHAT become one."""
    found: dict[str, list[str]] = {}
    for sentence in sentences:
        host, colon, what = sentence.partition(": ")
        if not colon or host not in hosts:
            host, what = "", sentence
        named = found.setdefault(what, [])
        if host and host not in named:
            named.append(host)
    return [f"{_names(named, hosts)}{what}" for what, named in found.items()]


def _names(named: Collection[str], hosts: Collection[str]) -> str:
    """The beginning of a sentence about these of the hosts."""
    if not named:
        return ""
    if len(named) == len(hosts) > 1:
        return "all hosts: "
    *most, last = named
    return f"{', '.join(most)} and {last}: " if most else f"{last}: "
