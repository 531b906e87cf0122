# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a module: how often it looks at the host, and what it waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import Engine, run, run_info, run_module
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import Plan, Step


class Module:
    """As much of AnsibleModule as a life needs."""

    def __init__(self, check_mode: bool = False) -> None:
        self.check_mode = check_mode
        self._diff = False
        self.answer: dict[str, Any] = {}

    def exit_json(self, **answer: Any) -> None:
        self.answer = answer

    def fail_json(self, **answer: Any) -> None:
        self.answer = {**answer, "failed": True}


class Lamp(Engine[str]):  # type: ignore[misc]
    """Remembers what was asked of it; left: whether a run before this one has left its ladder there."""

    def __init__(self, state: str, in_effect: bool, left: bool = False) -> None:
        self.state = state
        self.asked: list[str] = []
        self.held = False
        self._in_effect = in_effect
        self._left = left

    def hold(self) -> None:
        self.held = True

    def recovery(self) -> tuple[Step, ...]:
        return (Step("tidy", "put the ladder away"),) if self._left else ()

    def observe(self) -> str:
        self.asked.append("observe")
        return self.state

    def plan(self, observed: str) -> Plan:
        steps = () if observed == "on" else (Step("switch", "switch it on"),)
        return Plan({"state": observed}, {"state": "on"}, steps)

    def perform(self, step: Step) -> None:
        self.asked.append(step.action)
        if step.action == "switch":
            self.state = "on"

    def wait(self) -> None:
        self.asked.append("wait")

    def in_effect(self, observed: str) -> bool:
        return self._in_effect

    def result(self, observed: str) -> dict[str, Any]:
        return {"state": observed}

    def close(self) -> None:
        self.closed = True


def life(lamp: Lamp, check_mode: bool = False) -> dict[str, Any]:
    module = Module(check_mode)
    run(module, lamp)
    return module.answer


def test_a_host_that_is_as_desired_is_looked_at_once() -> None:
    lamp = Lamp("on", in_effect=True)
    assert life(lamp) == {"changed": False, "steps": [], "state": "on"}
    assert lamp.asked == ["observe"]


def test_what_is_not_in_effect_yet_is_waited_for_and_looked_at_again() -> None:
    lamp = Lamp("on", in_effect=False)
    assert not life(lamp)["changed"]
    assert lamp.asked == ["observe", "wait", "observe"]


@pytest.mark.parametrize("in_effect", [True, False])
def test_a_change_is_always_read_back(in_effect: bool) -> None:
    lamp = Lamp("off", in_effect)
    assert life(lamp) == {"changed": True, "steps": ["switch it on"], "state": "on"}
    assert lamp.asked == ["observe", "switch", "wait", "observe"]


def test_check_mode_looks_once_and_does_nothing() -> None:
    lamp = Lamp("off", in_effect=False)
    assert life(lamp, check_mode=True)["changed"]
    assert lamp.asked == ["observe"]


def test_what_an_earlier_run_has_left_goes_before_the_host_is_observed() -> None:
    lamp = Lamp("off", in_effect=True, left=True)
    assert life(lamp) == {"changed": True, "steps": ["put the ladder away", "switch it on"], "state": "on"}
    assert lamp.asked == ["tidy", "observe", "switch", "wait", "observe"]
    assert lamp.held


def test_check_mode_tells_of_it_and_leaves_it_and_holds_nothing() -> None:
    lamp = Lamp("on", in_effect=True, left=True)
    assert life(lamp, check_mode=True) == {"changed": True, "steps": ["put the ladder away"], "state": "on"}
    assert lamp.asked == ["observe"]
    assert not lamp.held


@pytest.mark.parametrize("error", [OversshError("the bulb is broken"), RuntimeError])
def test_what_an_engine_holds_is_let_go_however_the_module_ends(monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    """Mitogen runs one module after the other in one process, whose end would come too late."""

    def leave(self: Module, **answer: Any) -> None:
        self.answer = answer
        raise SystemExit

    monkeypatch.setattr(Module, "exit_json", leave)
    monkeypatch.setattr(Module, "fail_json", leave, raising=False)
    lamp = Lamp("on", in_effect=True)
    with pytest.raises(SystemExit):
        life(lamp)
    assert lamp.closed

    def fail(self: Lamp) -> str:
        raise error

    monkeypatch.setattr(Lamp, "observe", fail)
    broken = Lamp("on", in_effect=True)
    with pytest.raises((SystemExit, RuntimeError)):
        life(broken)
    assert broken.closed


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("the bulb is broken", "the bulb is broken."),
        ("the bulb is broken.", "the bulb is broken."),
        ("the bulb is broken (since noon)", "the bulb is broken (since noon)."),
        ("is it broken?", "is it broken?"),
    ],
)
def test_one_place_makes_the_sentence_whenever_the_module_fails(error: str, told: str) -> None:
    def fail(*_: Any) -> Any:
        raise OversshError(error, broken=True)

    class Broken(Lamp):
        observe = fail

    wanted = {"failed": True, "msg": told, "broken": True}
    for end in (run_module, run_info):
        module = Module()
        end(module, fail)
        assert module.answer == wanted
    module = Module()
    run_module(module, lambda: Broken("on", in_effect=True))
    assert module.answer == wanted
    modules = Path(__file__).resolve().parents[5] / "plugins" / "modules"
    assert [path.name for path in modules.glob("*.py") if "fail_json" in path.read_text(encoding="utf-8")] == []


def test_what_a_module_only_looks_at_is_told_by_its_names() -> None:
    module = Module()
    run_info(module, lambda: {"lamp": "on"})
    assert module.answer == {"changed": False, "lamp": "on"}
