# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a plan says is to be done, some method of the engine is registered for, and takes what the step gives it."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import ACTIONS, Engine

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
PREFIX = "ansible_collections.overssh.swarm.plugins.module_utils"


# An engine, and what performs steps that several engines have.
ENGINE, SHARED = re.compile(r"^class \w+\((?:\w+, )*Engine\[", re.M), re.compile(r"^class \w+Steps\b", re.M)


def classes(kind: re.Pattern[str]) -> dict[str, list[type]]:
    """The classes of each room in files that have such a one."""
    found: dict[str, list[type]] = {}
    for path in sorted((PLUGINS / "module_utils").rglob("*.py")):
        if kind.search(path.read_text(encoding="utf-8")):
            room = path.parent.name
            module = importlib.import_module(f"{PREFIX}.{room}.{path.stem}")
            own = (each for each in vars(module).values() if inspect.isclass(each))
            found.setdefault(room, []).extend(each for each in own if each.__module__ == module.__name__)
    return found


ROOMS = {
    room: [each for each in found if issubclass(each, Engine)]
    for room, found in classes(ENGINE).items()
    if room != "_core"
}
STEPS = {room: [each for each in found if each.__name__.endswith("Steps")] for room, found in classes(SHARED).items()}


def steps(room: str) -> Iterator[tuple[str, set[str] | None, str]]:
    """The steps that the files of a room make: action, the names of their args where they stand there, and where."""
    for path in sorted((PLUGINS / "module_utils" / room).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Step" and node.args:
                action = node.args[0]
                if isinstance(action, ast.Constant):
                    yield str(action.value), _names(node), f"{path.name}:{node.lineno}"


def _names(call: ast.Call) -> set[str] | None:
    """None where the args are a name or hold one."""
    given = call.args[2] if len(call.args) > 2 else None
    given = next((keyword.value for keyword in call.keywords if keyword.arg == "args"), given)
    if given is None:
        return set()
    if not isinstance(given, ast.Dict) or not all(isinstance(key, ast.Constant) for key in given.keys):
        return None
    return {str(key.value) for key in given.keys if isinstance(key, ast.Constant)}


def methods(room: str) -> dict[str, list[inspect.Signature]]:
    found: dict[str, list[inspect.Signature]] = {}
    for engine in ROOMS[room]:
        for action, name in engine.performers.items():  # type: ignore[attr-defined]
            found.setdefault(action, []).append(inspect.signature(getattr(engine, name)))
    return found


def test_all_engines_are_met() -> None:
    assert {"_firewall", "_tun", "_tunnel", "_swarm", "_overlay", "_probe", "_account", "_checkpoint"} <= set(ROOMS)
    assert len([*steps("_tun"), *steps("_linux")]) > 15


@pytest.mark.parametrize("room", ROOMS)
def test_every_step_has_a_method_that_takes_it(room: str) -> None:
    known = methods(room)
    for action, names, where in steps(room):
        if action in shared(room):
            continue
        assert action in known, where
        if names is not None:
            wanted = [set(each.parameters) - {"self"} for each in known[action]]
            assert names in wanted, f"{where}: {action} gives {sorted(names)}, and its method takes {wanted}"


def words(room: str) -> tuple[set[str], list[str]]:
    """What the files of a room may name an action by: their strings but those of performs, and patterns."""
    said: set[str] = set()
    patterns: list[str] = []
    for path in (PLUGINS / "module_utils" / room).glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        registered = {
            id(word)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "performs"
            for word in node.args
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in registered:
                said.add(node.value)
            elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.JoinedStr):
                parts = [
                    re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+"
                    for part in node.args[0].values
                ]
                patterns.append("".join(parts))
    return said, patterns


@pytest.mark.parametrize("room", ROOMS)
def test_no_method_waits_for_a_step_that_no_plan_has(room: str) -> None:
    said, patterns = words(room)
    for action in set(methods(room)) - {action for other in STEPS for action in shared(other)}:
        assert action in said or any(re.fullmatch(pattern, action) for pattern in patterns if pattern != ".+"), action


def shared(room: str) -> dict[str, inspect.Signature]:
    """What the room performs for the engines of others: the action, and what its method takes."""
    members = [member for each in STEPS.get(room, []) for member in vars(each).values()]
    return {action: inspect.signature(member) for member in members for action in getattr(member, ACTIONS, ())}


def test_the_steps_that_engines_share_are_met() -> None:
    assert {"_linux", "_checkpoint", "_watcher"} <= set(STEPS)


@pytest.mark.parametrize("room", STEPS)
def test_the_steps_that_engines_share_have_their_methods(room: str) -> None:
    known, own = shared(room), methods(room) if room in ROOMS else {}
    made = {action for action, _names, _where in steps(room)}
    assert set(known) <= made <= {*known, *own}
    for action, names, where in steps(room):
        if action in known and names is not None:
            assert names == set(known[action].parameters) - {"self"}, where
