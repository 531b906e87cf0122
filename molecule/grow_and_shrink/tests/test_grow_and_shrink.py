# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes leave, alive or dead, and come back, while the others go on."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from tests.support import lab
from tests.support.traffic import between

NODES = list(lab.hosts())
HUBS = lab.hubs()
NODE = "edge4"
OTHERS = [name for name in NODES if name not in (NODE, *HUBS)]
OURS = "ls -d /etc/overssh /etc/systemd/system/overssh-* /sys/class/net/tun* /usr/local/lib/overssh 2>/dev/null || true"


def listed() -> set[str]:
    """The nodes that the swarm's managers know."""
    return set(lab.inside("edge1", "docker node ls --format '{{.Hostname}}'").split())


def remembered() -> set[str]:
    """The hubs that still have something of the node."""
    devices = f"grep -ls 'overssh {NODE}$' /sys/class/net/tun*/ifalias"
    keys = f"grep -ls 'overssh:{NODE}$' /etc/overssh/authorized_keys"
    return {hub for hub in HUBS if lab.inside(hub, f"{devices} || true; {keys} || true").strip()}


def untouched(play: lab.Play) -> None:
    """Nobody but hubs and the node itself has changed."""
    assert {name: play.recap[name]["changed"] for name in OTHERS} == dict.fromkeys(OTHERS, 0)


def let_in_again() -> None:
    """Until the hubs' sshd answer this machine.

    They refused the key of a node that they had forgotten, once a second, and shut out the address that it came from
    (PerSourcePenalties), which in the lab is ours as well.
    """
    deadline = time.monotonic() + 120
    for hub in HUBS:
        while not answers(lab.hosts()[hub]["ansible_host"]):
            assert time.monotonic() < deadline, hub
            time.sleep(1)


def answers(host: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, 22), timeout=5) as there:
        return there.recv(64).startswith(b"SSH-2.0")
    return False


def test_a_name_that_the_fleet_does_not_have_is_refused():
    for arguments in ((), ("-e", "overssh_node=moon")):
        done = lab.play("overssh.swarm.remove_node", *arguments)
        assert done.status != 0
        assert "is no host of the group overssh; say which one is to go with -e overssh_node=NAME." in done.output
    assert NODE in listed()


def test_the_first_hub_can_not_go_without_somebody_in_its_place():
    hubs_but_one = ["-e", json.dumps({"overssh_hub": False})]
    done = lab.play("overssh.swarm.remove_node", "-e", f"overssh_node={HUBS[0]}", *hubs_but_one)
    assert done.status != 0
    said = " ".join(done.output.split())
    assert f"without {HUBS[0]} no host of the group is a hub; set overssh_hub: true on the one of" in said
    assert "run site first, or take all of it back with overssh.swarm.teardown." in said
    assert done.total("changed") == 0


def test_a_run_that_is_limited_to_the_node_takes_nothing_away():
    done = lab.play("overssh.swarm.remove_node", "-e", f"overssh_node={NODE}", "--limit", f"localhost,{NODE}")
    assert done.status != 0
    assert "run overssh.swarm.remove_node without --limit." in " ".join(done.output.split())
    assert done.total("changed") == 0
    assert NODE in listed()


def test_check_mode_removes_nobody():
    assert lab.play("overssh.swarm.remove_node", "--check", "--diff", "-e", f"overssh_node={NODE}").status == 0
    assert NODE in listed()
    assert lab.play("overssh.swarm.site").total("changed") == 0


@pytest.mark.turns
@pytest.mark.parametrize("alive", [True, False], ids=["alive", "dead"])
def test_a_node_leaves_and_comes_back(alive):
    if not alive:
        lab.machine("stop", NODE)
    with between("edge2", "edge3") as seen:
        gone = lab.play("overssh.swarm.remove_node", "-e", f"overssh_node={NODE}")
    assert gone.status == 0
    untouched(gone)
    assert (seen["broken"], seen["udp"]["longest_s"] < 1) == ("", True)
    assert NODE not in listed()
    assert remembered() == set()
    if alive:
        assert lab.inside(NODE, OURS) == ""
        assert lab.inside(NODE, "docker info --format '{{.Swarm.LocalNodeState}}'").strip() == "inactive"
    else:
        lab.machine("start", NODE)
        lab.wait_for(NODE, "systemctl is-active docker && systemctl is-active ssh", 120)
        # It was away, and has to forget what it was by itself.
        assert lab.play("overssh.swarm.teardown", "--limit", f"localhost,{NODE}").status == 0
        let_in_again()
    with between("edge2", "edge3") as seen:
        back = lab.play("overssh.swarm.site")
    assert back.status == 0
    untouched(back)
    assert seen["broken"] == ""
    assert NODE in listed()
    assert lab.play("overssh.swarm.site").total("changed") == 0
