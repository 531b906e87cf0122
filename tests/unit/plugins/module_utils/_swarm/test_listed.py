# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a node's entry in the managers' list: which entry is meant, and what it lacks."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.entry import ObservedEntries
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.listed import DesiredEntry, listed_of, plan_listed
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.model import Entry, refuse_misplaced

EDGE = Entry("n2", "edge1", "worker", "active", "ready", "172.30.0.2", labels={"zone": "south", "own": "1"})
STALE = dataclasses.replace(EDGE, node_id="n3", status="down")
DESIRED = DesiredEntry("edge1", "pause", {"zone": "north", "ssd": "", "own": None, "never": None})


def _plan(desired, *entries):
    return plan_listed(desired, ObservedEntries(entries, "n1"))


def test_an_entry_is_given_what_it_lacks():
    plan = _plan(DESIRED, EDGE)
    assert plan.labels == [
        "set the availability of edge1 (n2) to pause",
        "label edge1 (n2) with zone=north, ssd= and without own",
    ]
    assert [step.label for step in plan.inverse] == [
        "label edge1 (n2) with zone=south, own=1 and without ssd again",
        "set the availability of edge1 (n2) back to active",
    ]
    assert plan.diff() == {
        "before": "edge1:\n  availability: active\n  labels:\n    own=1\n    zone=south\n",
        "after": "edge1:\n  availability: pause\n  labels:\n    ssd=\n    zone=north\n",
    }


def test_an_entry_as_desired_stays():
    assert not _plan(DesiredEntry("edge1", "active", {"zone": "south", "never": None}), EDGE).changed
    assert not _plan(DesiredEntry("edge1"), EDGE).changed


def test_an_entry_that_a_host_left_behind_is_not_meant_beside_its_present_one():
    (step,) = _plan(DesiredEntry("edge1", "drain"), STALE, EDGE).steps
    assert step.args["node_id"] == "n2"
    (step,) = _plan(DesiredEntry("n3", "drain"), STALE).steps
    assert step.args["node_id"] == "n3"


def test_no_entry_and_several_are_refused():
    with pytest.raises(OversshError, match="list no node with the host name, the ID or the address edge1; see"):
        _plan(DESIRED)
    both = dataclasses.replace(STALE, status="ready")
    with pytest.raises(OversshError, match=r"list 2 nodes as edge1 \(n2, n3\); name the one that is meant by its ID"):
        _plan(DESIRED, EDGE, both)
    with pytest.raises(OversshError, match="name the one that is meant by its ID"):
        _plan(DESIRED, STALE, dataclasses.replace(STALE, node_id="n4"))


@pytest.mark.parametrize("state", ["worker", "left", "drained", "removed"])
def test_labels_that_nobody_would_set_are_refused(state):
    with pytest.raises(OversshError, match=f"state: {state} would be set by nobody; .* with state: listed and node"):
        refuse_misplaced({"state": state, "labels": {"zone": "north"}})
    refuse_misplaced({"state": state, "labels": None})
    refuse_misplaced({"state": "manager", "labels": {"zone": "north"}})


def test_the_options_of_an_entry():
    assert listed_of({"node": "edge1", "labels": {"n": 1}}) == DesiredEntry("edge1", None, {"n": "1"})
