# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many lanes a link has: a number or auto, as playbooks say it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.several import checked
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.lanes import lanes_at_start, lanes_of
from ansible_collections.overssh.swarm.plugins.modules.ssh_tunnel import LINK


@pytest.mark.parametrize(
    ("given", "lanes"),
    [
        ({}, "auto"),
        ({"lanes": "auto"}, "auto"),
        ({"lanes": 1}, 1),
        ({"lanes": "16"}, 16),
        ({"lanes": 0}, None),
        ({"lanes": 17}, None),
        ({"lanes": 2.5}, None),
        ({"lanes": "Auto"}, None),
        ({"lanes": True}, None),
    ],
)
def test_numbers_and_texts_are_taken(given: dict[str, Any], lanes: int | str | None) -> None:
    (link,) = checked([{"name": "cloud1", **given}], LINK, "links")
    assert lanes_of(link["lanes"]) == lanes


@pytest.mark.parametrize(("lanes", "sessions"), [("auto", 1), (1, 1), (16, 16)])
def test_auto_begins_with_one(lanes: int | str, sessions: int) -> None:
    assert lanes_at_start(lanes) == sessions
