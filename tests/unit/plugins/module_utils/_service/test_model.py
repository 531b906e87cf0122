# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._service.model import (
    Service,
    Task,
    is_final,
    lacking,
    service_of,
)


def task(number: int = 1, **more: object) -> Task:
    known = Task(f"t{number}", number, f"edge{number}", f"n{number}", "running", "running")
    return replace(known, **more)


def service(*tasks: Task, **more: object) -> Service:
    known = Service("s", "web", "replicated", len(tasks), "vip", tasks=tasks)
    return replace(known, **more)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (service(task(1), task(2)), ""),
        (service(replicas=0), ""),
        (service(task(1), replicas=2), "1 of 2 tasks run"),
        (service(task(1), task(2, state="starting")), "1 of 2 tasks run"),
        (
            service(task(1), task(2, state="rejected", error="No such image")),
            "1 of 2 tasks run: on edge2, No such image",
        ),
        # One of before runs on while the new one comes.
        (service(task(1), task(2, current=False), replicas=1), "tasks of before run still"),
        (service(task(1), update="updating"), "its update is not finished"),
        (service(task(1), update="completed"), ""),
        (service(task(1), update="rollback_completed"), "its update failed and was rolled back"),
        (service(task(1), task(2), mode="global", replicas=None), ""),
        (service(task(1), task(2, state="preparing"), mode="global", replicas=None), "1 of 2 tasks run"),
        (service(mode="global", replicas=None), "no node runs it"),
        (service(task(1, state="complete"), mode="replicated-job", replicas=1), ""),
        (service(task(1), mode="replicated-job", replicas=3), "0 of 3 tasks are complete"),
        (service(task(1, state="complete"), mode="global-job", replicas=None), ""),
        (service(mode="global-job", replicas=None), "0 of 0 tasks are complete"),
    ],
)
def test_what_is_lacking(found: Service, words: str) -> None:
    assert lacking(found) == words


@pytest.mark.parametrize("state", ["", "updating", "completed", "rollback_started"])
def test_what_waiting_may_help(state: str) -> None:
    assert not is_final(service(task(1), update=state))


@pytest.mark.parametrize("state", ["paused", "rollback_paused", "rollback_completed"])
def test_what_no_waiting_helps(state: str) -> None:
    assert is_final(service(task(1), update=state))


@pytest.mark.parametrize(
    ("mode", "kind", "replicas"),
    [
        ({"Replicated": {"Replicas": 3}}, "replicated", 3),
        ({"Replicated": {}}, "replicated", 1),
        ({"Replicated": {"Replicas": 0}}, "replicated", 0),
        ({"Global": {}}, "global", None),
        ({"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 4}}, "replicated-job", 4),
        ({"GlobalJob": {}}, "global-job", None),
    ],
)
def test_modes(mode: dict[str, object], kind: str, replicas: int | None) -> None:
    found = service_of({"ID": "s", "Spec": {"Name": "web", "Mode": mode}}, [], {})
    assert (found.mode, found.replicas, found.endpoint_mode) == (kind, replicas, "vip")
