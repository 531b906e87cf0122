# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher's program: what it can't do for one of its subjects keeps it from no other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._watcher.fights import ROUNDS, Fights
from ansible_collections.overssh.swarm.plugins.module_utils._watcher.program import look


def test_what_can_not_be_told_is_said_and_the_next_is_looked_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "told").mkdir()
    fights = Fights(str(tmp_path / "told"))
    looked = []

    def fight() -> None:
        for moment in range(ROUNDS + 1):
            fights.round("tun1001", "the MTU", "somebody", moment)

    look([SimpleNamespace(look=fight), SimpleNamespace(look=lambda: looked.append(True))], str(tmp_path))
    assert looked
    assert capsys.readouterr().err.startswith(f"could not look after all simplenamespace: can't write {tmp_path}/told")
    assert [path.name for path in tmp_path.iterdir()] == ["told"]
