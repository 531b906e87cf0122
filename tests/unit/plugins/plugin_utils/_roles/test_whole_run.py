# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that would begin in the middle is refused before it begins, and one of somebody else's tasks is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.plugin_utils._roles.whole_run import PARTS, refusal

PROJECT = Path(__file__).resolve().parents[5]


def refused(parts: bool = True, **arguments: Any) -> str:
    return refusal(arguments, PROJECT, parts)


@pytest.mark.parametrize(
    "start",
    [
        "Join the swarm",
        "overssh.swarm.swarm : Join the swarm",
        "Join*",
        "Plan the fleet",
        "Make the overlay networks, and make the ingress network fit",
        "Start a throwaway container on the network",
        "Drain the node",
        "Confirm these changes",
    ],
)
def test_a_task_that_needs_what_comes_before_it_is_no_beginning(start: str) -> None:
    assert refused(start_at_task=start).startswith(f"--start-at-task '{start}' leaves out ")


@pytest.mark.parametrize("start", [None, "", "Deploy the shop", "Look at the host", "*: Look at the host"])
def test_tasks_of_others_and_the_first_of_ours_are(start: str | None) -> None:
    assert refused(start_at_task=start) == ""


def test_preflight_is_not_skipped() -> None:
    assert "--skip-tags always leaves out preflight" in refused(skip_tags=["always"])
    assert refused(skip_tags=["firewall", "verify"]) == ""


@pytest.mark.parametrize("part", PARTS)
def test_a_playbook_without_parts_is_run_as_a_whole(part: str) -> None:
    assert f"--tags {part} names a part of site" in refused(parts=False, tags=["shop", part])
    assert refused(parts=True, tags=[part]) == refused(parts=False, tags=["all"]) == refused(parts=False) == ""


def test_the_parts_are_the_tags_of_site() -> None:
    site = (PROJECT / "playbooks" / "site.yml").read_text(encoding="utf-8")
    assert [part for part in PARTS if f"tags: [{part}]" not in site] == []
    assert site.count("tags: [") == len(PARTS) + 1
