# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of each folder the tests ran, out of what coverage wrote; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

# Files that are named: those of which most lines were not run.
NAMED = 5


def page(report: Mapping[str, Any]) -> str:
    """One line for each folder, one for all of them, and the files that have most to be run yet."""
    folders: dict[str, list[Mapping[str, int]]] = defaultdict(list)
    for name, file in report["files"].items():
        folders[str(PurePath(name).parent)].append(file["summary"])
    width = max(map(len, folders), default=0)
    lines = [f"{'folder':{width}}  files   lines     run"]
    lines += [_line(folder, files, width) for folder, files in sorted(folders.items())]
    lines.append(_line("all", [file for files in folders.values() for file in files], width))
    missing = {name: file["summary"]["missing_lines"] for name, file in report["files"].items()}
    most = sorted((name for name in missing if missing[name]), key=lambda name: (-missing[name], name))[:NAMED]
    return "\n".join([*lines, *(["", "most lines not run:"] if most else []), *(f"{missing[n]:5}  {n}" for n in most)])


def _line(folder: str, files: list[Mapping[str, int]], width: int) -> str:
    lines, run = (sum(file[of] for file in files) for of in ("num_statements", "covered_lines"))
    return f"{folder:{width}}  {len(files):5}  {lines:6}  {run / lines if lines else 1:6.1%}"
