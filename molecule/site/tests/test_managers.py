# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What managers keep of a finished site's swarm is changed through them, and is as it was afterwards."""

from __future__ import annotations

import json
from typing import Any

from tests.support import lab

HUB, SPOKE = lab.hub(), next(name for name in lab.hosts() if name != lab.hub())
NODE = "overssh.swarm.swarm_node"


def spec(node: str) -> dict[str, Any]:
    """What the managers keep of a node."""
    found: dict[str, Any] = json.loads(lab.inside(HUB, f"docker node inspect {node} --format '{{{{json .Spec}}}}'"))
    return found


def test_a_workers_availability_and_labels_are_set_on_a_manager():
    wanted = {"state": "listed", "node": SPOKE, "availability": "pause", "labels": {"zone": "north", "ssd": ""}}
    before = spec(SPOKE)
    foreseen = lab.foreseen(HUB, NODE, **wanted)
    assert (foreseen["changed"], spec(SPOKE)) == (True, before)
    try:
        done = lab.task(HUB, NODE, **wanted)
        assert done["steps"] == foreseen["steps"]
        assert (done["availability"], done["labels"]) == ("pause", {"zone": "north", "ssd": ""})
        assert spec(SPOKE) == {**before, "Availability": "pause", "Labels": {"zone": "north", "ssd": ""}}
        assert not lab.task(HUB, NODE, **wanted)["changed"]
    finally:
        gone = {"zone": None, "ssd": None}
        lab.task(HUB, NODE, **{**wanted, "availability": before["Availability"], "labels": gone})
    assert spec(SPOKE) == before
    said = lab.task(SPOKE, NODE, **wanted)
    assert said["msg"] == "state: listed works on the list that managers keep; run it on a manager of the swarm."


def test_a_swarms_settings_are_set_on_a_manager():
    manager = {
        "state": "manager",
        "advertise_addr": lab.inside(HUB, "docker info --format '{{.Swarm.NodeAddr}}'").strip(),
    }
    before = lab.task(HUB, NODE, **manager)["settings"]
    wanted = {**before, "dispatcher_heartbeat": 15, "task_history_limit": 0, "max_snapshots": 2, "autolock": True}
    foreseen = lab.foreseen(HUB, NODE, **manager, **wanted)
    assert (foreseen["changed"], foreseen["settings"]) == (True, before)
    try:
        done = lab.task(HUB, NODE, **manager, **wanted)
        assert (done["steps"], done["settings"]) == (foreseen["steps"], wanted)
        key = lab.inside(HUB, "docker swarm unlock-key --quiet").strip()
        assert key.startswith("SWMKEY-")
        assert key not in json.dumps(done)
        assert not lab.task(HUB, NODE, **manager, **wanted)["changed"]
    finally:
        lab.task(HUB, NODE, **manager, **before)
    assert lab.task(HUB, NODE, **manager)["settings"] == before


def tokens() -> dict[str, str]:
    """The present join tokens."""
    return {role: lab.inside(HUB, f"docker swarm join-token --quiet {role}").strip() for role in ("manager", "worker")}


def test_join_tokens_are_rotated_by_the_task_that_asks_for_it_and_shown_by_none():
    address = lab.inside(HUB, "docker info --format '{{.Swarm.NodeAddr}}'").strip()
    wanted = {"state": "manager", "advertise_addr": address, "rotate_tokens": ["worker"]}
    before = tokens()
    foreseen = lab.foreseen(HUB, NODE, **wanted)
    assert (foreseen["steps"], tokens()) == (["rotate the join tokens of workers"], before)
    done = lab.task(HUB, NODE, **wanted)
    after = tokens()
    assert (after["manager"], after["worker"] == before["worker"]) == (before["manager"], False)
    assert done["steps"] == foreseen["steps"]
    assert not any(token in json.dumps([foreseen, done]) for token in (*before.values(), *after.values()))
