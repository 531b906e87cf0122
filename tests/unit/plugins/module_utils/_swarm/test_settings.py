# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A swarm's settings stand in the engine's specification in its own units, and the rest of that stays."""

from __future__ import annotations

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.model import desired_of, refuse_misplaced
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.settings import (
    SETTINGS,
    lacking,
    read_settings,
    settings_of,
    with_settings,
    words,
)
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.fixed_dictionaries(
    {},
    optional={
        name: st.booleans() if each.least is None else st.integers(each.least, 10**7) for name, each in SETTINGS.items()
    },
)
OTHERS = {"Name": "default", "Raft": {"ElectionTick": 10}, "CAConfig": {"ForceRotate": 3}, "Labels": {"a": "b"}}


@given(VALUES, VALUES)
def test_what_is_written_is_read_and_all_else_stays(first, second):
    spec = with_settings(with_settings(OTHERS, first), second)
    assert read_settings(spec) == {**dict.fromkeys(SETTINGS, 0), **first, **second}
    assert (spec["Name"], spec["Labels"]) == ("default", {"a": "b"})
    assert (spec["Raft"]["ElectionTick"], spec["CAConfig"]["ForceRotate"]) == (10, 3)
    assert lacking(read_settings(spec), second) == {}


def test_parts_of_a_second_are_kept_for_the_way_back():
    spec = {"Dispatcher": {"HeartbeatPeriod": 2500000000}}
    found = read_settings(spec)
    assert found["dispatcher_heartbeat"] == 2.5
    assert with_settings({}, {"dispatcher_heartbeat": 2.5}) == spec
    assert words({**lacking(found, {"dispatcher_heartbeat": 2, "autolock": True})}) == (
        "dispatcher_heartbeat to 2, autolock to true"
    )


def test_a_zero_that_the_engine_leaves_out_is_restored_too():
    spec = {"Raft": {"KeepOldSnapshots": 0}, "Dispatcher": {}, "CAConfig": {}}
    assert read_settings(spec)["dispatcher_heartbeat"] == 0
    assert with_settings(spec, {"dispatcher_heartbeat": 0})["Dispatcher"] == {"HeartbeatPeriod": 0}


def test_only_what_is_given_is_desired():
    params = {"state": "manager", "task_history_limit": 0, "autolock": False, "max_snapshots": None}
    assert desired_of(params).settings == {"task_history_limit": 0, "autolock": False}


@pytest.mark.parametrize(("name", "least"), [(name, each.least) for name, each in SETTINGS.items() if each.least])
def test_values_that_no_engine_takes_are_refused(name, least):
    assert settings_of({name: least}) == {name: least}
    with pytest.raises(OversshError, match=f"{name} is {least - 1}; Docker takes no less than {least}"):
        settings_of({name: least - 1})


@pytest.mark.parametrize(
    "place", [{"state": "worker"}, {"state": "listed"}, {"state": "manager", "remote_managers": ["172.30.0.1:2377"]}]
)
def test_settings_that_nobody_would_set_are_refused(place):
    with pytest.raises(
        OversshError, match=r"^max_snapshots, autolock would change the whole swarm .* state: manager and without"
    ):
        refuse_misplaced({**place, "max_snapshots": 0, "autolock": False})
    refuse_misplaced({**place, "max_snapshots": None})
    refuse_misplaced({"state": "manager", "remote_managers": [], "max_snapshots": 0})


def test_join_tokens_are_the_swarms_too():
    assert desired_of({"state": "manager", "rotate_tokens": ["worker", "manager", "worker"]}).rotate_tokens == (
        "manager",
        "worker",
    )
    with pytest.raises(OversshError, match="rotate_tokens would change the whole swarm"):
        refuse_misplaced({"state": "worker", "rotate_tokens": ["worker"]})
    refuse_misplaced({"state": "worker", "rotate_tokens": []})
