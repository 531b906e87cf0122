# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import whom: the rooms stand in CONTRIBUTING in the order of their floors, and arrows point up that table."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
PLUGINS = PROJECT / "plugins"
TEXT = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PREFIX = "ansible_collections.overssh.swarm.plugins"
# Of each room in the order of CONTRIBUTING, the module that it is the engine of.
ROOMS = dict(re.findall(r"^\| `(_\w+)` \| (\w*) ?\|[^|]*\|$", TEXT, re.MULTILINE))
CONTROLLER = re.findall(r"^\| `(_\w+)` \|[^|]*\|$", TEXT, re.MULTILINE)
# A look at the whole host has parts that others have on their own.
LOOKS = ("_host", "info")


def place(path: Path) -> list[str]:
    """Where a file is, as ["module_utils", "_core", "wait"]."""
    return list(path.relative_to(PLUGINS).with_suffix("").parts)


@cache
def imported(path: Path) -> list[list[str]]:
    """The files of ours that a file imports, likewise."""
    return list(_imported(path))


def _imported(path: Path) -> Iterator[list[str]]:
    here = place(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            dotted = (node.module or "").split(".") if node.module else []
            if node.level:
                dotted = [*here[: -node.level], *dotted]
            elif ".".join(dotted).startswith(f"{PREFIX}."):
                dotted = dotted[4:]
            else:
                continue
            for alias in node.names:
                longer = PLUGINS.joinpath(*dotted, alias.name).with_suffix(".py")
                yield [*dotted, alias.name] if longer.is_file() else dotted


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (PLUGINS / folder).rglob("*.py"))


def arrows(kind: str, room: str) -> set[tuple[str, str]]:
    """The rooms that a room of this kind imports from, each with the file there."""
    return {
        (found[1], found[2])
        for path in files(f"{kind}/{room}")
        for found in imported(path)
        if found[0] == kind and found[1] != room
    }


def test_every_room_stands_in_contributing() -> None:
    assert sorted(ROOMS) == sorted(path.name for path in (PLUGINS / "module_utils").glob("_*") if path.is_dir())
    assert sorted(CONTROLLER) == sorted(path.name for path in (PLUGINS / "plugin_utils").glob("_*") if path.is_dir())
    assert not list((PLUGINS / "module_utils").glob("*.py"))
    assert not list((PLUGINS / "plugin_utils").glob("*.py"))


def test_every_module_leads_to_its_room() -> None:
    for room, module in ROOMS.items():
        if module:
            found = {tuple(each[1:]) for each in imported(PLUGINS / "modules" / f"{module}.py")}
            assert (room, LOOKS[1] if room == LOOKS[0] else "engine") in found


@pytest.mark.parametrize(
    "module", [module for module in ROOMS.values() if (PLUGINS / "modules" / f"{module}_info.py").exists()]
)
def test_every_info_module_leads_to_the_rooms_info(module: str) -> None:
    (room,) = (room for room, name in ROOMS.items() if name == module)
    found = {tuple(each[1:]) for each in imported(PLUGINS / "modules" / f"{module}_info.py")}
    assert (room, "info") in found


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_point_up_the_table(room: str) -> None:
    above = list(ROOMS)[: list(ROOMS).index(room)]
    for other, file in arrows("module_utils", room):
        assert other in above
        assert not is_engine(other) or (room, file) == LOOKS


def is_engine(room: str) -> bool:
    """Whether a room does what one module is for; a checkpoint is what engines share."""
    return bool(ROOMS[room]) and room != "_checkpoint"


@pytest.mark.parametrize("room", CONTROLLER)
def test_arrows_point_up_the_controllers_table(room: str) -> None:
    assert {other for other, _file in arrows("plugin_utils", room)} <= set(CONTROLLER[: CONTROLLER.index(room)])


def test_no_floor_knows_the_one_above() -> None:
    floors = ["module_utils", "plugin_utils", "filter", "action", "modules"]
    below = {"module_utils": [], "plugin_utils": ["module_utils"], "modules": ["module_utils"]}
    for floor in floors:
        for path in files(floor):
            for found in imported(path):
                assert found[0] in {floor, *below.get(floor, ["module_utils", "plugin_utils"])} - {"modules"}, path


@pytest.mark.parametrize("path", files("modules"), ids=lambda path: path.stem)
def test_a_module_knows_one_engine(path: Path) -> None:
    assert len({found[1] for found in imported(path) if is_engine(found[1])}) <= 1


def test_nothing_goes_in_circles() -> None:
    graph = {
        tuple(place(path)): {tuple(found) for found in imported(path)} for path in files("module_utils", "plugin_utils")
    }
    done: set[tuple[str, ...]] = set()

    def follow(file: tuple[str, ...], way: Iterable[tuple[str, ...]]) -> None:
        assert file not in way, f"{file} imports itself by way of {way}"
        if file not in done:
            for other in graph.get(file, ()):
                follow(other, [*way, file])
            done.add(file)

    for file in graph:
        follow(file, [])


@pytest.mark.parametrize("kind", ["module_utils", "plugin_utils"])
def test_tests_stand_where_what_they_test_stands(kind: str) -> None:
    found = sorted((Path(__file__).parent / kind).glob("_*/test_*.py"))
    assert len(found) > 10
    for path in found:
        tested = PLUGINS / kind / path.parent.name / f"{path.stem.removeprefix('test_')}.py"
        assert tested.is_file(), f"{path.name} of {path.parent.name} tests no file of that name"
