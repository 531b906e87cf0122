# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's name servers."""

from __future__ import annotations

from .._core.files import readable

# For programs here, and those of systemd-resolved, where it stands between.
FILES = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")


def read_resolvers() -> list[str]:
    """The addresses of the name servers; empty where the host names none."""
    return parse_resolvers("\n".join(map(readable, FILES)))


def parse_resolvers(text: str) -> list[str]:
    """The name servers of a resolv.conf(5)."""
    lines = [line.split() for line in text.splitlines()]
    return [words[1].partition("%")[0] for words in lines if len(words) > 1 and words[0] == "nameserver"]
