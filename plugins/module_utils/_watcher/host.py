# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs, files and the journal of this host. A part of the watcher's program."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program and return its answer."""
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)


def say(text: str) -> None:
    """Write one line to the journal."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def read(path: str) -> str:
    """A file's text; "" where it is missing."""
    try:
        with open(path, encoding="utf-8", errors="replace") as opened:
            return opened.read().strip()
    except OSError:
        return ""
