# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from tests.lab.older import TURNS, choose

DAY = 86400


def free(_release: str) -> str | None:
    return None


def test_the_releases_take_turns_by_the_day() -> None:
    days = [choose("", day * DAY + 5, free)[0] for day in range(4)]
    assert days == [*TURNS, *TURNS]
    assert choose("", DAY, free) == choose("", 2 * DAY - 1, free)
    assert "take turns by the day; OLDER_RELEASE names one" in choose("", 0, free)[1]


@pytest.mark.parametrize("day", [0, 1])
def test_the_one_that_is_named_has_no_turns(day: int) -> None:
    release, why = choose("forky", day * DAY, lambda _release: "never asked")
    assert (release, why) == ("forky", "the lab older has Debian forky, as OLDER_RELEASE says")


def test_one_that_can_not_be_had_leaves_its_turn_and_says_why() -> None:
    release, why = choose("", DAY, lambda release: f"no {release} on the mirror")
    assert release == "bookworm"
    assert why.endswith("it is the turn of forky, which this machine can't have (no forky on the mirror)")


def test_debian_12_is_never_asked_for() -> None:
    assert choose("", 0, lambda _release: "no")[0] == "bookworm"
