# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of ours on a host: complete, alone in their folders, and gone without a trace."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.program import install, installed, program_files
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import persistence
from ansible_collections.overssh.swarm.plugins.module_utils._watcher import unit as watcher_unit

PROGRAMS = {"watch": watcher_unit.PROGRAM, "restore": persistence.PROGRAM}


def imported(room: str, node: ast.ImportFrom) -> list[str]:
    """The modules of ours, as "_core.wait", that this imports into a module of this room."""
    dotted = ".".join(([room] if node.level == 1 else []) + ([node.module] if node.module else []))
    return [dotted] if "." in dotted else [f"{dotted}.{alias.name}" for alias in node.names]


@pytest.mark.parametrize("names", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_needs_nothing_but_python_and_what_comes_along(names: tuple[str, ...]) -> None:
    for path, text in program_files("/program", names).items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert set(imported(Path(path).parent.name, node)) <= set(names)


@pytest.mark.parametrize("names", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_takes_the_place_of_another_version(tmp_path: Path, names: tuple[str, ...]) -> None:
    """A module that was left there would be imported in place of the folder of the same name."""
    folder = tmp_path / "program"
    older = {str(folder / f"{name.split('.')[0]}.py"): "raise SystemExit(9)\n" for name in names}
    install(str(folder), older)
    assert installed(str(folder)) == older
    wanted = program_files(str(folder), names)
    install(str(folder), wanted)
    assert installed(str(folder)) == wanted
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import program.{names[0]}"
    subprocess.run([sys.executable, "-I", "-B", "-c", start], check=True)


def test_nothing_is_left_of_a_program(tmp_path: Path) -> None:
    folder = tmp_path / "program"
    install(str(folder), {str(folder / "_core" / "wait.py"): "", str(folder / "main.py"): ""})
    (folder / "_core" / "__pycache__").mkdir()
    (folder / "_core" / "__pycache__" / "wait.pyc").write_bytes(b"")
    install(str(folder), {})
    assert not folder.exists()
    assert installed(str(folder)) == {}
