# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a verification, as it is kept where the play was started."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.action.overlay_report import ActionModule

REPORT = {"schema": 1, "ok": True, "network": "one", "nodes": [], "pairs": []}


def kept(path: str, check_mode: bool = False, reports: Any = (REPORT,)) -> dict[str, Any]:
    task = SimpleNamespace(
        args={"reports": list(reports), "path": path}, check_mode=check_mode, async_val=0, diff=False
    )
    action = ActionModule(task, SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)), None, None, None, None)
    result: dict[str, Any] = action.run(task_vars={})
    return result


@pytest.fixture(autouse=True)
def _started_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_report_is_written_where_the_play_was_started_and_handed_on(tmp_path: Path) -> None:
    result = kept("reports/verify.json", reports=[REPORT, {**REPORT, "network": "two", "ok": False}])
    written = json.loads((tmp_path / "reports/verify.json").read_text())
    assert (written["ok"], written["more"][0]["network"]) == (False, "two")
    assert result["path"] == str(tmp_path / "reports/verify.json")
    assert result["ansible_stats"] == {"data": {"overssh_verify": written}, "per_host": False, "aggregate": True}
    assert result["changed"] is False


def test_without_a_path_or_in_check_mode_no_file_is_written(tmp_path: Path) -> None:
    assert kept("")["path"] == kept("reports/verify.json", check_mode=True)["path"] == ""
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_can_not_be_written_is_a_warning_and_is_handed_on_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file")
    result = kept("reports/verify.json")
    assert not result.get("failed")
    assert "The report was not written to" in result["warnings"][0]
    assert "set overssh_report to a path that can be written" in result["warnings"][0]
    assert result["ansible_stats"]["data"]["overssh_verify"]["ok"] is True
