# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The swarm's ports answer on the tunnels, and nowhere else; with real packets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import lab, probe

PROGRAM = Path(probe.__file__)
PORTS = ["2377/tcp", "7946/tcp", "7946/udp", "4789/udp"]


def from_outside(node: str, *ports: str) -> dict[str, str]:
    """From this machine, which stands on the lab's networks as their router."""
    command = [sys.executable, str(PROGRAM), lab.hosts()[node]["ansible_host"], *ports]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def from_inside(node: str, address: str, *ports: str) -> dict[str, str]:
    """From a node, through its tunnel."""
    script = f"python3 - {address} {' '.join(ports)} <<'PROGRAM'\n{PROGRAM.read_text(encoding='utf-8')}\nPROGRAM\n"
    return json.loads(lab.inside(node, script))


def test_the_probe_tells_an_open_port():
    assert from_outside(lab.hub(), "22/tcp") == {"22/tcp": "open"}


@pytest.mark.parametrize("port", PORTS)
def test_the_hub_rejects_it_from_outside(port):
    assert from_outside(lab.hub(), port) == {port: "rejected"}


def test_the_hub_takes_the_same_from_a_tunnel():
    spoke = next(node for node in lab.hosts() if node != lab.hub())
    taken = {"2377/tcp": "open", "7946/tcp": "open", "7946/udp": "silent", "4789/udp": "silent"}
    assert from_inside(spoke, "172.30.0.1", *PORTS) == taken


def test_a_spoke_that_drops_by_policy_still_drops():
    assert from_outside("edge2", *PORTS) == dict.fromkeys(PORTS, "silent")


def test_a_spoke_that_lets_everybody_in_can_be_closed():
    """edge1 has no firewall of its own: what Docker does not listen for there its kernel answers itself."""
    answered = dict.fromkeys(["2377/tcp", "7946/tcp"], "refused")
    assert from_outside("edge1", *answered) == answered
    try:
        closed = lab.play("overssh.swarm.firewall", "--extra-vars", "overssh_firewall_restrict=true")
        assert closed.status == 0
        assert from_outside("edge1", *PORTS) == dict.fromkeys(PORTS, "silent")
        assert from_outside("edge1", "22/tcp", "2378/tcp") == {"22/tcp": "open", "2378/tcp": "refused"}
        assert from_inside("edge2", "172.30.0.2", "7946/tcp") == {"7946/tcp": "open"}
        again = lab.play("overssh.swarm.firewall", "--extra-vars", "overssh_firewall_restrict=true")
        assert (again.status, again.total("changed")) == (0, 0)
    finally:
        opened = lab.play("overssh.swarm.firewall")
    assert opened.status == 0
    assert from_outside("edge1", *answered) == answered
    assert lab.inside("edge1", "nft list tables | grep overssh || true") == ""
