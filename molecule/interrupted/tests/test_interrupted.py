# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A play that is broken off in the middle, and run again, converges; teardown takes back what it finds."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.support import lab, snapshot

PLACES = [
    "overssh.swarm.firewall : Accept the swarm's traffic",
    "overssh.swarm.tunnel : Make the tunnel devices",
    "overssh.swarm.tunnel : Start these links",
    "overssh.swarm.swarm : Join the swarm",
    "overssh.swarm.verify : Measure every other container",
]


def break_off(place: str) -> None:
    """Start site, and kill all of it as soon as it says that it has come to this task."""
    with subprocess.Popen(
        ["ansible-playbook", "--inventory", str(lab.INVENTORY), "overssh.swarm.site"],
        cwd=lab.PROJECT,
        env={**os.environ, "ANSIBLE_CONFIG": str(lab.PROJECT / "ansible.cfg"), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        seen = any(f"TASK [{place}" in line for line in running.stdout)
        os.killpg(running.pid, signal.SIGKILL)
    assert seen, f"site ended before it came to {place}"


def test_site_is_broken_off_again_and_again_and_converges():
    for place in PLACES:
        break_off(place)
    done = lab.play("overssh.swarm.site")
    assert done.status == 0
    assert "6 of 6 pairs pass" in done.output
    again = lab.play("overssh.swarm.site")
    assert (again.status, again.total("changed")) == (0, 0)


def test_teardown_takes_back_a_half_done_site():
    assert lab.play("overssh.swarm.teardown").status == 0
    break_off(PLACES[-2])
    assert lab.play("overssh.swarm.teardown").status == 0
    again = lab.play("overssh.swarm.teardown")
    assert (again.status, again.total("changed")) == (0, 0)


@pytest.mark.parametrize("aspect", snapshot.SCRIPTS)
def test_nothing_is_left_of_all_this(node, aspect):
    assert snapshot.take(node, aspect) == snapshot.fresh(node, aspect)
