# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services as an engine of Docker 26.1 told them (tests/recorded/services), and waiting for them."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._service import info
from ansible_collections.overssh.swarm.plugins.module_utils._service.model import Service

RECORDED = Path(__file__).resolve().parents[4] / "recorded" / "services"


class Engine:
    """Answers as a manager's engine did when it was recorded."""

    def __init__(self, recording: str, manager: bool = True) -> None:
        self.answers: dict[str, Any] = json.loads((RECORDED / f"{recording}.json").read_text(encoding="utf-8"))
        self.answers["info"] = {"Swarm": {"ControlAvailable": manager}}

    def __getattr__(self, name: str) -> Any:
        return lambda: copy.deepcopy(self.answers[name])


def told(recording: str, *names: str) -> dict[str, Mapping[str, Any]]:
    found = info.info(Engine(recording), names or None, wait=False, timeout=0)
    return {service["name"]: service for service in found["services"]}


def test_a_service_is_told_with_what_runs_where() -> None:
    services = told("converged")
    assert list(services) == ["agent", "web"]
    web, agent = services["web"], services["agent"]
    assert (web["mode"], web["replicas"], web["running"], web["converged"]) == ("replicated", 3, 3, True)
    assert (agent["mode"], agent["replicas"], agent["endpoint_mode"]) == ("global", None, "dnsrr")
    assert web["ports"] == [{"protocol": "tcp", "target": 8000, "published": 8080, "mode": "ingress"}]
    assert set(web["vips"]) == {"overssh", "ingress"}
    assert agent["vips"] == {}
    assert [task["node"] for task in web["tasks"]] == ["cloud1", "edge1", "edge2"]
    assert all(task["addresses"]["overssh"].startswith("10.200.0.") for task in web["tasks"])


def test_a_paused_update_is_no_success_although_tasks_run() -> None:
    web = told("paused", "web")["web"]
    assert not web["converged"]
    assert web["lacking"].startswith("its update is paused (update paused due to failure")
    assert [task["current"] for task in web["tasks"]] == [False, False, True]
    with pytest.raises(OversshError, match="the service web has not converged: its update is paused"):
        info.info(Engine("paused"), ["web"], wait=True, timeout=30)


def test_what_no_node_takes_says_so() -> None:
    late = told("pending", "late")["late"]
    assert late["lacking"].startswith("0 of 2 tasks run: on no node, no suitable node")
    assert {task["node"] for task in late["tasks"]} == {""}


def test_a_name_that_no_service_has_is_an_error() -> None:
    with pytest.raises(OversshError, match="the swarm has no service named shop, wab"):
        info.info(Engine("converged"), ["wab", "shop", "web"], wait=False, timeout=0)


def test_only_a_manager_can_be_asked() -> None:
    with pytest.raises(OversshError, match="this host is no manager of a swarm"):
        info.info(Engine("converged", manager=False), None, wait=False, timeout=0)


def services(recording: str) -> list[Service]:
    return info.read_services(Engine(recording))


def test_waiting_ends_with_the_last_service() -> None:
    now, looks = [0.0], [services("pending"), services("pending"), services("converged")]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pending = [[one for one in look if one.name == "late"] for look in looks[:2]]
    found = info.wait_for(iter([*pending, looks[2]]).__next__, 10, lambda: now[0], sleep)
    assert [service.name for service in found] == ["agent", "web"]
    assert 0 < now[0] < 1


def test_a_wait_in_vain_says_what_is_lacking_where() -> None:
    late = [one for one in services("pending") if one.name == "late"]
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(
        OversshError, match="did not happen within 5 s; late: 0 of 2 tasks run: on no node, no suitable"
    ):
        info.wait_for(lambda: late, 5, lambda: now[0], sleep)


def test_of_what_ended_only_the_last_task_of_a_place_counts() -> None:
    engine = Engine("converged")
    first = next(task for task in engine.answers["tasks"] if task.get("Slot") == 1)
    dead = [
        {
            **first,
            "ID": f"dead{age}",
            "DesiredState": "shutdown",
            "Status": {"State": "failed"},
            "CreatedAt": f"202{age}",
        }
        for age in range(3)
    ]
    engine.answers["tasks"] += dead
    assert [len(service.tasks) for service in info.read_services(engine)] == [3, 3]
    engine.answers["tasks"].remove(first)
    (web,) = info.read_services(engine, ["web"])
    assert [task.task_id for task in web.tasks if task.state == "failed"] == ["dead2"]
