# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On hosts that nothing has been done to, looking changes nothing."""

from __future__ import annotations

import pytest

from tests.scenarios import lab, snapshot


def test_preflight_finds_nothing_in_the_way():
    done = lab.play("overssh.swarm.preflight")
    assert done.status == 0
    assert set(lab.hosts()) <= set(done.recap)
    assert done.total("changed") == 0


def test_check_mode_says_what_would_change():
    done = lab.play("overssh.swarm.site", "--check", "--diff")
    assert done.status == 0
    assert [node for node in lab.hosts() if not done.recap[node]["changed"]] == []


@pytest.mark.parametrize("aspect", snapshot.SCRIPTS)
def test_and_changed_nothing(node, aspect):
    assert snapshot.take(node, aspect) == snapshot.fresh(node, aspect)
