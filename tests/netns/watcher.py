# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher's program in a network namespace, from a folder as on a host."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from ansible_collections.overssh.swarm.plugins.module_utils._core.program import program_files
from ansible_collections.overssh.swarm.plugins.module_utils._watcher import unit as watcher_unit


@contextlib.contextmanager
def watching(
    namespace: str, units: Path, runtime: Path, rules: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen]:
    """The process at work, which writes into said in runtime; the folders: see its main."""
    folder = runtime / "watch"
    for path, text in program_files(str(folder), watcher_unit.PROGRAM).items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    command = watcher_unit.command(str(folder), str(units), str(runtime), str(rules))
    with open(runtime / "said", "wb") as said:
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *command], env=env, stderr=said, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
