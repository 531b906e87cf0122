# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in which other programs keep a host's firewall, and in which they may have saved rules of ours."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator
from pathlib import Path

# Of netfilter-persistent, nftables.service and their like on Debian, Red Hat, SUSE, Arch, Alpine, Gentoo and OpenWrt.
PATTERNS = (
    "/etc/iptables/*",
    "/etc/iptables.*",
    "/etc/ip6tables.*",
    "/etc/network/iptables*",
    "/etc/network/if-pre-up.d/*",
    "/etc/nftables.conf",
    "/etc/nftables.conf.d/*",
    "/etc/nftables.d/*",
    "/etc/nftables.nft",
    "/etc/nftables.rules",
    "/etc/nftables/*",
    "/etc/nftables/rules/*",
    "/etc/sysconfig/ip6tables*",
    "/etc/sysconfig/iptables*",
    "/etc/sysconfig/nftables*",
    "/etc/ufw/*.rules",
    "/etc/firewalld/direct.xml",
    "/var/lib/ip6tables/rules-save",
    "/var/lib/iptables/rules-save",
    "/var/lib/nftables/rules-save",
)
COMMENT = re.compile(r"""comment\s+["']?overssh:([^\s"']+)""")
# Larger files are no one's saved rules.
LARGEST = 16 * 2**20


def notes(concerns: Callable[[str], bool]) -> Iterator[str]:
    """A sentence on each such file with comments of ours; concerns: whether a name matters."""
    for path in sorted({path for pattern in PATTERNS for path in glob.glob(pattern)}):
        found = [name for name in _names(Path(path)) if concerns(name)]
        if found:
            many = "1 rule" if len(found) == 1 else f"{len(found)} rules"
            yield (
                f"{path} has {many} with comments of ours ({', '.join(dict.fromkeys(found))}), which "
                "another program saved and puts back when it loads the file; have it save the rules as they are, or "
                "take these lines out"
            )


def _names(path: Path) -> list[str]:
    """The names in comments of ours in a file; none where it can't be read."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return []
        return COMMENT.findall(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return []
