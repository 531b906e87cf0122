# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of swarm_node: what it refuses for want of a join token, in check mode as in the run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.overssh.swarm.plugins.action.swarm_node import ActionModule
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.plan import UNJOINABLE

JOINS = {"changed": True, "steps": ["join the swarm"], "join_token_missing": True}
UNKNOWN = (
    "no join token could be had from the manager nobody: there is no such host in the inventory; look at its swarm "
    "with 'docker info' there."
)


def answered(monkeypatch: pytest.MonkeyPatch, check_mode: bool, module: dict[str, Any], **task: Any) -> dict[str, Any]:
    """What the task comes to where the module says that; the inventory has cloud1 alone."""
    monkeypatch.setattr(ActionBase, "run", lambda *_: {})
    action = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(args={"state": "worker", "members": {}, **task})
    action._play_context = SimpleNamespace(check_mode=check_mode)
    monkeypatch.setattr(action, "_execute_module", lambda **_: dict(module))
    found: dict[str, Any] = action.run(None, {"hostvars": {"cloud1": {}}})
    return found


@pytest.mark.parametrize(("task", "words"), [({}, f"{UNJOINABLE}."), ({"manager": "nobody"}, UNKNOWN)])
def test_a_token_that_can_not_be_had_is_told_in_check_mode_as_in_the_run(
    monkeypatch: pytest.MonkeyPatch, task: dict[str, Any], words: str
) -> None:
    foreseen = answered(monkeypatch, True, JOINS, **task)
    assert foreseen == {"failed": True, "msg": words}
    refused = {"failed": True, "msg": f"{UNJOINABLE}.", "join_token_missing": True}
    done = answered(monkeypatch, False, refused, **task)
    assert (done["failed"], done["msg"]) == (True, words)


def test_a_token_that_a_manager_may_have_is_not_asked_for_in_check_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answered(monkeypatch, True, JOINS, manager="cloud1") == {"changed": True, "steps": ["join the swarm"]}
    stays = {"changed": False, "steps": []}
    assert answered(monkeypatch, True, stays, manager="nobody") == stays
