# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tests.lab.debian import Recipe, check_space, reason
from tests.lab.shell import LabError

Usage = namedtuple("Usage", "total used free")
RECIPE = Recipe("trixie", ("dbus", "jq"), ("/usr/share/doc/*",), "true", ("CMD true",))


@pytest.mark.parametrize(
    "change",
    [{"packages": ("dbus",)}, {"left_out": ()}, {"hook": "false"}, {"changes": ()}, {"release": "bookworm"}],
)
def test_the_tag_changes_with_every_part_of_the_recipe(change: dict[str, object]) -> None:
    assert RECIPE.tag("lab").startswith("lab:trixie-")
    assert RECIPE.tag("lab") == dataclasses.replace(RECIPE).tag("lab")
    assert dataclasses.replace(RECIPE, **change).tag("lab") != RECIPE.tag("lab")  # type: ignore[arg-type]


def test_the_command_has_the_machine_s_sources_and_options() -> None:
    line = "deb http://m.test/debian trixie main"
    words = RECIPE.command([line], ['Acquire::Retries "3";'])
    assert words[0] == "mmdebstrap"
    assert words[-3:] == ["trixie", "-", line]
    assert {"--include=dbus,jq", '--aptopt=Acquire::Retries "3";', "--customize-hook=true"} <= set(words)
    assert "--dpkgopt=path-exclude=/usr/share/doc/*" in words


def test_too_little_space_names_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10, 10, 2 * 1024**3))
    with pytest.raises(LabError, match=f"{tmp_path} has 2.0 GiB free"):
        check_space(tmp_path)


def test_the_first_error_is_the_reason() -> None:
    log = "I: running apt-get update...\nE: Failed to fetch x\nE: apt-get update failed\nI: removing tempdir\n"
    assert reason(log) == "E: Failed to fetch x"
