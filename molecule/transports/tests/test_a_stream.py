# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links of a finished fleet that are streams: their faults, ends that die or stand still, and a newer helper."""

from __future__ import annotations

from tests.scenarios import lab

RESOURCES = lab.PROJECT / "molecule" / "resources"
UNIT = "overssh-link-cloud1.service"


def link(node: str) -> dict:
    """The node's link to the hub, as systemd and the helper's processes show it."""
    shown = lab.inside(node, f"systemctl show {UNIT} -p NRestarts,MainPID,ActiveState")
    return dict(line.split("=", 1) for line in shown.splitlines())


def helper_of(device: str) -> str:
    """The serving helper's process on the hub."""
    return lab.inside(lab.hub(), f"pgrep -f '^/usr/bin/python3 .*stream.py serve --device {device}'").strip()


def test_every_way_in_which_a_stream_can_fail_is_told():
    done = lab.play(str(RESOURCES / "stream_errors.yml"))
    assert done.status == 0
    assert done.recap["edge1"]["ok"] > 100


def test_a_far_end_that_stands_still_for_long_costs_seconds_only():
    """The hub's helper answers nothing for 30 s: the link is given up and taken over long before that is over."""
    still = helper_of("tun1002")
    restarts = int(link("edge1")["NRestarts"])
    lab.inside("cloud1", f"kill -STOP {still}; (sleep 30; kill -CONT {still} 2>/dev/null) >/dev/null 2>&1 &")
    lab.wait_for("edge1", f"journalctl -u {UNIT} --since -1min -o cat | grep 'cloud1 has been silent for 2 s'", 30)
    lab.wait_for("edge1", "ping -c1 -W1 172.30.0.1", 20)
    assert helper_of("tun1002") != still
    assert int(link("edge1")["NRestarts"]) == restarts + 1
    assert lab.play("overssh.swarm.verify").status == 0


def test_a_helper_that_dies_is_back_at_once():
    lab.inside("edge1", f"kill -KILL {link('edge1')['MainPID']}")
    lab.wait_for("edge1", "ping -c1 -W1 172.30.0.1", 20)
    lab.inside("cloud1", f"kill -KILL {helper_of('tun1002')}")
    lab.wait_for("edge1", "ping -c1 -W1 172.30.0.1", 20)
    assert lab.play("overssh.swarm.verify").status == 0


def test_a_helper_that_changed_is_installed_and_taken_into_use_at_both_ends():
    """An operator's fleet gets a newer helper by site alone, also when the two ends could not speak meanwhile."""
    for node in lab.hosts():
        lab.inside(node, "sed -i 's/^VERSION = .*/VERSION = \"0\"/' /usr/local/lib/overssh/stream.py")
    lab.inside("edge1", f"systemctl restart {UNIT}")
    lab.wait_for("edge1", "ping -c1 -W1 172.30.0.1", 20)
    done = lab.play("overssh.swarm.site")
    assert done.status == 0
    assert lab.play("overssh.swarm.site").total("changed") == 0
