# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a run under coverage."""

from __future__ import annotations

from tests.suite.covered import page


def summary(statements: int, covered: int) -> dict[str, dict[str, int]]:
    return {
        "summary": {"num_statements": statements, "covered_lines": covered, "missing_lines": statements - covered},
    }


def test_folders_are_summed_up_and_files_named() -> None:
    files = {"plugins/a/x.py": summary(10, 5), "plugins/a/y.py": summary(10, 10), "plugins/b/z.py": summary(0, 0)}
    assert page({"files": files}).splitlines() == [
        "folder     files   lines     run",
        "plugins/a      2      20   75.0%",
        "plugins/b      1       0  100.0%",
        "all            3      20   75.0%",
        "",
        "most lines not run:",
        "    5  plugins/a/x.py",
    ]


def test_nothing_at_all_is_told_too() -> None:
    assert page({"files": {}}).splitlines() == ["folder  files   lines     run", "all      0       0  100.0%"]
