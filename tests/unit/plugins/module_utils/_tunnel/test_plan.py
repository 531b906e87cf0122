# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done for a link, and what takes it back."""

from __future__ import annotations

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import Step
from ansible_collections.overssh.swarm.plugins.module_utils._linux.systemd import UnitState
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.config import Texts
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.plan import Observed, plan_link

TEXTS = Texts("conf\n", "keys\n", "unit\n")
NOTHING = Observed(None, None, UnitState(None, False, "inactive"))
UP = Observed("conf\n", "keys\n", UnitState("unit\n", True, "active"))


class Host:
    """Holds what the steps of a link change."""

    def __init__(self, observed: Observed) -> None:
        self.files = {
            "/etc/overssh/links/cloud1.conf": observed.conf,
            "/etc/overssh/links/cloud1.known_hosts": observed.known_hosts,
        }
        self.unit, self.enabled, self.running = observed.unit.text, observed.unit.enabled, observed.running
        self.started_with: tuple[str | None, str | None] | None = None

    def perform(self, step: Step) -> None:
        if step.action == "file":
            self.files[step.args["path"]] = step.args["text"]
        elif step.action in ("write_unit", "delete_unit"):
            self.unit = step.args.get("text")
        elif step.action in ("enable_unit", "disable_unit"):
            assert self.unit is not None
            self.enabled = step.action == "enable_unit"
        else:
            assert self.unit is not None
            self.running = step.action == "start"
            self.started_with = (self.files["/etc/overssh/links/cloud1.conf"], self.unit) if self.running else None

    @property
    def observed(self) -> Observed:
        conf, keys = self.files.values()
        return Observed(conf, keys, UnitState(self.unit, self.enabled, "active" if self.running else "inactive"))


CASES = [
    (NOTHING, "started"),
    (NOTHING, "restarted"),
    (UP, "restarted"),
    (UP, "stopped"),
    (UP, "absent"),
    (NOTHING, "absent"),
    (NOTHING, "stopped"),
    (Observed("old\n", "keys\n", UnitState("unit\n", True, "active")), "started"),
    (Observed("conf\n", "old\n", UnitState("old\n", False, "inactive")), "started"),
    (Observed("conf\n", None, UnitState(None, False, "inactive")), "absent"),
    (Observed("conf\n", "keys\n", UnitState("unit\n", True, "activating")), "absent"),
]


@pytest.mark.parametrize(("observed", "state"), CASES)
def test_after_the_steps_nothing_is_left_and_their_inverse_leads_back(observed: Observed, state: str) -> None:
    texts = TEXTS if state in ("started", "restarted") else None
    plan = plan_link("cloud1", state, texts, observed)
    host = Host(observed)
    for step in plan.steps:
        host.perform(step)
    left = plan_link("cloud1", "started" if state == "restarted" else state, texts, host.observed)
    assert left.labels == []
    for step in plan.inverse:
        host.perform(step)
    assert host.observed == Observed(
        observed.conf,
        observed.known_hosts,
        UnitState(observed.unit.text, observed.unit.enabled, "active" if observed.running else "inactive"),
    )


def test_a_new_link_is_written_enabled_and_started() -> None:
    plan = plan_link("cloud1", "started", TEXTS, NOTHING)
    assert plan.labels == [
        "write ssh's configuration /etc/overssh/links/cloud1.conf",
        "write the host keys /etc/overssh/links/cloud1.known_hosts",
        "write overssh-link-cloud1.service",
        "start overssh-link-cloud1.service at boot",
        "start the link to cloud1",
    ]
    assert plan.before["running"] is False
    assert plan.after["unit"] == "unit\n"


def test_a_link_as_desired_is_left_alone() -> None:
    assert not plan_link("cloud1", "started", TEXTS, UP).changed
    # systemd is about to try again: that is running, and for wait to judge.
    assert not plan_link(
        "cloud1", "started", TEXTS, Observed("conf\n", "keys\n", UnitState("unit\n", True, "activating"))
    ).changed


def test_a_link_without_its_device_is_restarted() -> None:
    device_lost = Observed("conf\n", "keys\n", UnitState("unit\n", True, "active"), device_lost=True)
    labels = ["stop the link to cloud1", "start the link to cloud1"]
    assert plan_link("cloud1", "started", TEXTS, device_lost).labels == labels


def test_a_link_that_pauses_after_a_refusal_is_dialled_at_once() -> None:
    unit = UnitState("unit\n", True, "activating")
    labels = ["stop the link to cloud1", "start the link to cloud1"]
    assert plan_link("cloud1", "started", TEXTS, Observed("conf\n", "keys\n", unit, refusals=2)).labels == labels


def test_a_restart_is_always_a_change() -> None:
    assert plan_link("cloud1", "restarted", TEXTS, UP).labels == ["stop the link to cloud1", "start the link to cloud1"]


def test_a_change_of_a_running_link_starts_the_new_and_its_inverse_the_old() -> None:
    observed = Observed("old\n", "keys\n", UnitState("unit\n", True, "active"))
    plan = plan_link("cloud1", "started", TEXTS, observed)
    host = Host(observed)
    for step in plan.steps:
        host.perform(step)
    assert host.started_with == ("conf\n", "unit\n")
    for step in plan.inverse:
        host.perform(step)
    assert host.started_with == ("old\n", "unit\n")


@pytest.mark.parametrize("state", ["absent", "stopped"])
def test_an_unknown_link_is_gone_and_down_already(state: str) -> None:
    assert not plan_link("cloud1", state, None, NOTHING).changed
