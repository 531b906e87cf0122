# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On hosts that nothing has been done to, looking changes nothing."""

from __future__ import annotations

import pytest

from tests.support import lab, snapshot


def test_preflight_finds_nothing_in_the_way():
    done = lab.play("overssh.swarm.preflight")
    assert done.status == 0
    assert set(lab.hosts()) <= set(done.recap)
    assert done.total("changed") == 0


KILL = """\
ports=$(ss -Htn state established '( sport = :22 )' | awk '{print $4}' | sed 's/.*://' | paste -sd,)
nft add table inet dead
nft add chain inet dead input '{ type filter hook input priority -300; }'
nft add rule inet dead input tcp dport 22 tcp sport "{ $ports }" drop
"""


def test_a_kept_connection_that_is_dead_keeps_nobody_out():
    """As where a firewall begins to follow connections, and drops those that it did not see begin."""
    node = list(lab.hosts())[-1]
    assert lab.play("overssh.swarm.preflight").status == 0
    lab.inside(node, KILL)
    try:
        done = lab.play("overssh.swarm.preflight")
    finally:
        lab.inside(node, "nft delete table inet dead")
    assert done.status == 0
    said = " ".join(done.output.split())
    assert said.count("did not answer over the connection that Ansible had kept; over a new one it does.") == 1


@pytest.fixture(scope="module")
def foreseen() -> lab.Play:
    """What site would do."""
    return lab.play("overssh.swarm.site", "--check", "--diff")


def test_check_mode_says_what_would_change(foreseen):
    assert foreseen.status == 0
    assert [node for node in lab.hosts() if not foreseen.recap[node]["changed"]] == []


def test_and_says_it_in_few_lines_of_which_none_holds_a_file(foreseen):
    lines = foreseen.output.splitlines()
    assert len(lines) < 400
    assert [line for line in lines if "\\n" in line] == []
    added = [line for line in lines if line.startswith("+ ")]
    assert any(line.split() == ["+", "PermitTTY", "no"] for line in added)
    # One for each of the rules that the hub and edge2 lack.
    rules = [line for line in added if "overssh:fleet-" in line]
    assert len(rules) == len(set(rules)) == 10


@pytest.mark.parametrize("aspect", snapshot.SCRIPTS)
def test_and_changed_nothing(node, aspect):
    assert snapshot.take(node, aspect) == snapshot.fresh(node, aspect)
