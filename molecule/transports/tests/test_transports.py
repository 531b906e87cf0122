# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two transports of a link on a finished fleet: their faults, and how a fleet changes from one to the other."""

from __future__ import annotations

import json
import re

import pytest

from tests.scenarios import lab

RESOURCES = lab.PROJECT / "molecule" / "resources"
UNIT = "overssh-link-cloud1.service"
# The networks over the tunnels have to be made anew where those carry less than before.
CONSENT = ("--extra-vars", "overlay_on_change=recreate")


def settle(*words: str) -> None:
    """Run site with these settings until the fleet is so, prove it, and run it once more to see that it is settled."""
    done = lab.play("overssh.swarm.site", *words, *CONSENT)
    assert done.status == 0
    again = lab.play("overssh.swarm.site", *words)
    assert (again.status, again.total("changed")) == (0, 0)


def link(node: str) -> dict:
    """The node's link to the hub, as systemd and the helper's processes show it."""
    shown = lab.inside(node, f"systemctl show {UNIT} -p NRestarts,MainPID,ActiveState")
    return dict(line.split("=", 1) for line in shown.splitlines())


def helper_of(device: str) -> str:
    """The serving helper's process on the hub."""
    return lab.inside(lab.hub(), f"pgrep -f '^/usr/bin/python3 .*stream.py serve --device {device}'").strip()


def mtu(network: str = "overssh") -> int:
    (found,) = json.loads(lab.inside(lab.hub(), f"docker network inspect {network}"))
    return int(found["Options"]["com.docker.network.driver.mtu"])


def test_every_way_in_which_a_stream_can_fail_is_told():
    done = lab.play(str(RESOURCES / "stream_errors.yml"))
    assert done.status == 0
    assert done.recap["edge1"]["ok"] > 100


def test_a_far_end_that_stands_still_for_long_costs_seconds_only():
    """The hub's helper answers nothing for 30 s: the link is given up and taken over long before that is over."""
    still = helper_of("tun1002")
    restarts = int(link("edge1")["NRestarts"])
    lab.inside("cloud1", f"kill -STOP {still}; (sleep 30; kill -CONT {still} 2>/dev/null) >/dev/null 2>&1 &")
    lab.wait_for("edge1", f"journalctl -u {UNIT} --since -1min -o cat | grep 'cloud1 has been silent for 2.5 s'", 30)
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
    settle()


def test_more_lanes():
    settle("--extra-vars", "overssh_lanes=2")
    assert len(helper_of("tun1002").split()) == 2
    assert lab.inside("edge1", "pgrep -fc '^/usr/bin/ssh -F /etc/overssh/links/cloud1.conf'").strip() == "2"


@pytest.fixture(scope="module")
def tun():
    """The whole fleet on the transport tun, and back again."""
    words = ("--extra-vars", "overssh_transport=tun")
    settle(*words)
    yield words
    settle()
    assert mtu() == 65000
    assert lab.inside("cloud1", "getent passwd overssh").strip().endswith(":/bin/sh")


def test_a_fleet_on_tun_opens_nothing_that_stream_needs(tun):
    assert mtu() < 16380
    for node in lab.hosts():
        assert lab.inside(node, "getent passwd overssh").strip().endswith(":/bin/false")
    says = lab.inside("cloud1", "sshd -T -C user=overssh,host=x,addr=127.0.0.1")
    assert re.search("^maxsessions 0$", says, re.MULTILINE)
    assert re.search("^forcecommand /bin/false$", says, re.MULTILINE)
    assert "stream.py" not in lab.inside("cloud1", "cat /etc/overssh/authorized_keys")


def test_every_way_in_which_a_link_over_tun_can_fail_is_told(tun):
    done = lab.play(str(RESOURCES / "link_errors.yml"), *tun)
    assert done.status == 0
    assert done.recap["edge1"]["ok"] > 100


def test_one_spoke_on_tun_and_the_other_on_a_stream(tun, tmp_path):
    inventory = tmp_path / "mixed.yml"
    inventory.write_text("overssh:\n  hosts:\n    edge1:\n      overssh_transport: tun\n", encoding="utf-8")
    settle("--inventory", str(inventory))
    keys = lab.inside("cloud1", "cat /etc/overssh/authorized_keys")
    assert 'tunnel="1002",command="/bin/false"' in keys
    assert "serve --device tun1003" in keys
