# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verification container, and the program in it."""

from __future__ import annotations

import io
import itertools
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import Step
from ansible_collections.overssh.swarm.plugins.module_utils._core.program import source_of
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import DockerError
from ansible_collections.overssh.swarm.plugins.module_utils._probe import agent
from ansible_collections.overssh.swarm.plugins.module_utils._probe import engine as probe_engine

NAME = "overssh-verify-edge1"


def actions(desired: probe_engine.Desired, observed: probe_engine.Observed) -> list[str]:
    return [step.action for step in probe_engine.plan_probe(desired, observed, "agent").steps]


def test_a_probe_is_made_from_nothing_and_every_step_can_be_taken_back() -> None:
    plan = probe_engine.plan_probe(probe_engine.Desired(NAME, "net"), probe_engine.Observed(), "agent")
    assert [step.action for step in plan.steps] == ["write_agent", "make_image", "start_container"]
    assert [step.action for step in plan.inverse] == ["remove_container", "remove_image", "remove_agent"]


def test_a_probe_that_runs_on_the_network_stays() -> None:
    running = probe_engine.Observed("id", running_on=("net",), address="10.0.0.2", image=True, agent="agent")
    assert actions(probe_engine.Desired(NAME, "net"), running) == []


@pytest.mark.parametrize(
    "stale",
    [
        probe_engine.Observed("id", running_on=(), image=True, agent="agent"),
        probe_engine.Observed("id", running_on=("other",), image=True, agent="agent"),
    ],
)
def test_a_stale_probe_is_replaced(stale: probe_engine.Observed) -> None:
    assert actions(probe_engine.Desired(NAME, "net"), stale) == ["remove_container", "start_container"]


def test_a_probe_of_another_version_is_replaced() -> None:
    old = probe_engine.Observed("id", running_on=("net",), image=True, agent="older")
    assert actions(probe_engine.Desired(NAME, "net"), old) == ["remove_container", "write_agent", "start_container"]


def test_absent_leaves_nothing_and_is_quiet_where_nothing_is() -> None:
    there = probe_engine.Observed("id", running_on=("net",), image=True, agent="agent")
    assert actions(probe_engine.Desired(NAME, None), there) == ["remove_container", "remove_image", "remove_agent"]
    assert actions(probe_engine.Desired(NAME, None), probe_engine.Observed()) == []


def test_a_container_of_somebody_else_is_left_alone() -> None:
    foreign = probe_engine.Observed("id", ours=False, image=True)
    with pytest.raises(OversshError, match="did not make"):
        actions(probe_engine.Desired(NAME, "net"), foreign)
    assert actions(probe_engine.Desired(NAME, None), foreign) == ["remove_image"]


def test_the_image_holds_links_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").symlink_to("/usr/lib")
    links, folders = probe_engine.userland(str(tmp_path))
    assert links == {"lib": "usr/lib"}
    assert folders == [str(tmp_path / "usr"), str(tmp_path / "bin")]
    with tarfile.open(fileobj=io.BytesIO(probe_engine.empty_image(links))) as archive:
        assert all(entry.issym() for entry in archive)
        assert {entry.name: entry.linkname for entry in archive}["lib"] == "usr/lib"


def test_a_python_outside_usr_is_mounted_too() -> None:
    assert probe_engine.python_folders(("/opt/py", "/opt/py"), ("/usr",)) == ["/opt/py"]
    assert probe_engine.python_folders(("/usr", "/usr/local"), ("/usr",)) == []


class BusySwarm:
    """An engine that is refused an attachment as often as it is told to; all else goes well."""

    def __init__(self, *refusals: str) -> None:
        self._refusals = list(refusals)
        self.containers: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_more: None

    def create_container(self, *_args: Any, **_more: Any) -> dict[str, str]:
        self.containers.append("made")
        return {"Id": "made"}

    def start(self, container: str) -> None:
        if self._refusals:
            raise DockerError(self._refusals.pop(0), 500)

    def remove_container(self, container: str, **_more: Any) -> None:
        self.containers.remove(container)


LATE = (
    "attaching to network failed, make sure your network options are correct and check manager logs: context deadline"
)


def starting(engine: BusySwarm, timeout: float | None) -> None:
    probe_engine.OverlayProbeEngine(engine, probe_engine.Desired(NAME, "net"), timeout).perform(
        Step("start_container", "start it")
    )


@pytest.mark.parametrize("words", [f"{LATE} exceeded", "network xw49sn55ldmyuk5i1inxms0qh not found"])
def test_an_attachment_that_takes_long_is_waited_for(words: str) -> None:
    engine = BusySwarm(*[words] * 2)
    starting(engine, 5)
    assert engine.containers == ["made"]


@pytest.mark.parametrize(
    ("words", "timeout"), [(f"{LATE} exceeded", 0.3), (f"{LATE} exceeded", None), ("could not find a network", 60)]
)
def test_what_does_not_start_in_time_or_never_will_leaves_no_container(words: str, timeout: float | None) -> None:
    engine = BusySwarm(*[words] * 20)
    with pytest.raises(DockerError, match=words):
        starting(engine, timeout)
    assert engine.containers == []


def test_the_agent_can_be_carried_to_the_host() -> None:
    assert "def serve()" in source_of(agent.__name__)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", agent.PORT)):
        pass  # the port is free, so what answers below is the agent
    threading.Thread(target=agent.serve, daemon=True).start()
    yield "127.0.0.1"


def test_the_agent_measures_what_answers(server: str) -> None:
    for check in (agent.tcp, agent.udp):
        found = agent.attempt(lambda patience, check=check: check(server, patience), 5)
        assert found["ok"] is True
        assert 0 < found["rtt_ms"] < 5000


def test_the_agent_knows_when_all_of_its_peers_are_done_with_it(server: str) -> None:
    peer = {"name": "edge1", "host": "localhost", "address": server}
    assert not agent.all_done({server}, 0)
    found = agent.measure({"peers": [peer], "timeout": 1, "linger": 5})
    assert found["peers"]["edge1"]["tcp"]["ok"]
    assert found["done"]
    assert not agent.all_done({server, "192.0.2.1"}, 0.1)
    assert agent.all_done(set(), 0.1)


def test_an_agent_that_its_peers_do_not_reach_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "PORT", 1)
    assert not agent.all_done({"127.0.0.1"}, 0.1)


def test_the_agent_says_why_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "PORT", 1)
    found = agent.attempt(lambda patience: agent.tcp("127.0.0.1", patience), 0.3)
    assert found == {"ok": False, "reason": "[Errno 111] Connection refused"}


def patiences(timeout: float, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each try of a check that nobody answers waits, by a clock that goes on only while something waits."""
    now, waited = [0.0], []

    def check(patience: float) -> dict[str, Any]:
        waited.append(patience)
        now[0] += patience
        raise TimeoutError

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(agent.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(agent.time, "sleep", sleep)
    assert agent.attempt(check, timeout) == {"ok": False, "reason": "no answer"}
    return waited


def test_the_agent_waits_longer_from_try_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    assert patiences(4, monkeypatch) == [0.25, 0.5, 1, 1, 1, 1]


def test_the_agents_last_try_is_as_patient_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    assert patiences(0, monkeypatch) == [1]
    assert patiences(0.2, monkeypatch) == [1]


def test_the_agent_does_not_take_another_address_for_the_right_one(server: str) -> None:
    found = agent.attempt(lambda _patience: agent.resolves("localhost", ["10.9.9.9"]), 0)
    assert found["ok"] is False
    assert "localhost resolves to 127.0.0.1, not to 10.9.9.9" in found["reason"]


def test_the_agent_knows_the_interface_that_leads_to_a_peer() -> None:
    assert agent.interface_mtu("127.0.0.1") == 65536


def answers(*found: Any) -> Any:
    """What a service answers, one after the other and then from the start: a task and whom it sees, or an error."""
    turns = itertools.cycle(found)

    def ask() -> tuple[str, str]:
        answer = next(turns)
        if isinstance(answer, OSError):
            raise answer
        task, peer = answer
        return task, peer

    return ask


def test_all_tasks_in_turn_are_reached() -> None:
    found = agent.in_turn({"a", "b", "c"}, answers(("a", "lb"), ("b", "lb"), ("c", "lb")), "lb")
    assert found["tasks"] == 3


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([("a", "lb")], "1 of 2 tasks answered"),
        ([("a", "lb"), TimeoutError()], "1 of 2 tasks answered, 4 of 8 questions had no answer"),
        # Every task answers, and still every third connection gets lost.
        ([("a", "lb"), ("b", "lb"), TimeoutError()], "2 of 2 tasks answered, 2 of 8 questions had no answer"),
        ([("a", "lb"), ("x", "lb")], "x answered, which is no task of this service"),
        ([("", "lb")], "something else answered, which is no task of this service"),
        ([("a", "10.0.0.9")], "a task sees 10.0.0.9 in the place of lb"),
    ],
)
def test_what_is_wrong_with_a_service_is_said(found: list[Any], words: str) -> None:
    with pytest.raises(agent.NoAnswer, match=words):
        agent.in_turn({"a", "b"}, answers(*found), "lb")


ALONE = {"peers": [], "timeout": 0, "linger": 0}


def service(address: str, *tasks: str) -> dict[str, Any]:
    listed = [{"id": task, "node": f"on-{task}", "address": "127.0.0.1"} for task in tasks]
    return {"name": "localhost", "endpoint_mode": "vip", "address": address, "tasks": listed}


@pytest.mark.parametrize(
    ("balancer", "address", "checks"),
    [
        ("127.0.0.1", "127.0.0.1", ["dns", "tasks", "each", "vip", "vip_udp", "bulk"]),
        ("", "127.0.0.1", ["dns", "tasks", "each", "vip", "vip_udp", "bulk"]),
        (None, "127.0.0.1", ["dns", "tasks", "each"]),
        ("127.0.0.1", "", ["dns", "tasks", "each"]),
    ],
)
def test_what_is_checked_of_a_service(balancer: str | None, address: str, checks: list[str]) -> None:
    assert list(agent.service_checks(service(address, "a"), balancer)) == checks


def test_the_agent_measures_a_service(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(agent.TASK, "a")
    found = agent.measure({**ALONE, "services": [service(server, "a")], "balancer": server})["services"]["localhost"]
    assert {name for name, check in found.items() if check["ok"]} == {"dns", "each", "vip", "vip_udp", "bulk"}
    assert found["vip"]["tasks"] == 1
    assert found["bulk"]["bytes"] == agent.BULK_BYTES
    # No name server knows this one.
    assert "tasks.localhost" in found["tasks"]["reason"] or "not known" in found["tasks"]["reason"]


def test_the_agent_does_not_take_another_task_for_the_right_one(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(agent.TASK, "b")
    found = agent.measure({**ALONE, "services": [service(server, "a")], "balancer": server})["services"]["localhost"]
    assert found["each"]["reason"] == "127.0.0.1 is not the task on on-a, but b"
    assert found["vip"]["reason"] == "b answered, which is no task of this service"
    assert found["bulk"]["ok"]
