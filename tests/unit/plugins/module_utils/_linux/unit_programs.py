# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs for sh that stand in a unit, as systemd hands them to the shell."""

from __future__ import annotations

import re
from collections.abc import Iterator

ESCAPED = {"n": "\n", "\\": "\\"}


def programs_of(text: str) -> Iterator[tuple[str, str]]:
    """Each with the directive that it stands in, ExecStart for example."""
    for directive, word in re.findall(r"^(Exec\w+)=/bin/sh -c '([^']*)'", text.replace("\\\n", " "), re.MULTILINE):
        unescaped = re.sub(r"\\(.)", lambda found: ESCAPED[found[1]], word)
        yield directive, unescaped.replace("$$", "$").replace("%%", "%")
