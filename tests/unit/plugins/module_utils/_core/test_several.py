# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several subjects under one plan."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import Engine, carry_through
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import Plan, Step
from ansible_collections.overssh.swarm.plugins.module_utils._core.several import Several, checked, named_once
from ansible_collections.overssh.swarm.plugins.module_utils._tun.engine import stage
from ansible_collections.overssh.swarm.plugins.module_utils._tun.model import Desired


class Lamp(Engine[bool]):  # type: ignore[misc]
    """A lamp that has to be made and lit; bright: whether it will be."""

    def __init__(self, name: str, log: list[str], bright: bool = True) -> None:
        self.name, self.log, self.bright, self.lit = name, log, bright, False

    def observe(self) -> bool:
        self.log.append(f"look at {self.name}")
        return self.lit

    def plan(self, observed: bool) -> Plan:
        if observed:
            return Plan({"lit": True}, {"lit": True})
        back = Step("break", f"break {self.name}")
        steps = (Step("make", f"make {self.name}", inverse=back), Step("restart_unit", f"light {self.name}"))
        return Plan({"lit": False}, {"lit": True}, steps)

    def perform(self, step: Step) -> None:
        self.log.append(step.label)
        if step.action == "restart_unit":
            if not self.bright:
                raise OversshError("it is broken")
            self.lit = True

    def result(self, observed: bool) -> dict[str, Any]:
        return {"name": self.name, "lit": observed}


def lamps(log: list[str], *bright: bool) -> Several[bool]:
    return Several({f"lamp{number}": Lamp(f"lamp{number}", log, each) for number, each in enumerate(bright, 1)}, stage)


def test_the_steps_of_a_later_stage_come_after_those_of_all() -> None:
    plan = lamps([], True, True).plan((False, False))
    assert plan.labels == ["make lamp1", "make lamp2", "light lamp1", "light lamp2"]
    assert plan.before == {"lamp1": {"lit": False}, "lamp2": {"lit": False}}
    assert plan.after == {"lamp1": {"lit": True}, "lamp2": {"lit": True}}


def test_one_that_fails_takes_back_what_was_done_of_all() -> None:
    log: list[str] = []
    engine = lamps(log, True, False)
    with pytest.raises(OversshError, match="could not light lamp2: it is broken"):
        carry_through(engine, engine.plan(engine.observe()))
    assert log[-2:] == ["break lamp2", "break lamp1"]


def test_what_nobody_has_changed_is_looked_at_once() -> None:
    log: list[str] = []
    engine = lamps(log, True, True)
    carry_through(engine, engine.plan(engine.observe()))
    log.clear()
    found = carry_through(engine, engine.plan(engine.observe()))
    assert engine.result(found) == {"of_each": [{"name": "lamp1", "lit": True}, {"name": "lamp2", "lit": True}]}
    assert log == []


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(OversshError, match="interfaces has tun1 twice"):
        named_once([Desired("tun1"), Desired("tun1")], "interfaces")


def test_entries_of_a_list_are_checked_as_options_are() -> None:
    options = {
        "port": {"type": "int", "default": 22},
        "state": {"type": "str", "choices": ["up", "down"]},
        "via": {"type": "str"},
    }
    entries = [{"name": "a", "port": "2222"}, {"name": "b", "state": "up", "via": None}]
    assert checked(entries, options, "links") == [
        {"name": "a", "port": 2222, "state": None, "via": None},
        {"name": "b", "port": 22, "state": "up", "via": None},
    ]
    assert entries[0] == {"name": "a", "port": "2222"}


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"name": "b", "state": "sideways"}, "links: b: value of state must be one of: up, down, got: sideways"),
        ({"state": "up"}, "links: entry 2: missing required arguments: name"),
        ({"name": "b", "prot": 22}, "links: b: prot. Supported parameters include: name, state"),
    ],
)
def test_an_entry_that_can_not_be_is_named(entry: dict[str, Any], sentence: str) -> None:
    options = {"state": {"type": "str", "choices": ["up", "down"]}}
    with pytest.raises(OversshError) as caught:
        checked([{"name": "a"}, entry], options, "links")
    assert str(caught.value).startswith(sentence)
