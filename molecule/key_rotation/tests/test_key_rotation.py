# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys are replaced while traffic runs, and an old one opens nothing any more."""

from __future__ import annotations

import pytest

from tests.support import lab
from tests.support.traffic import between

pytestmark = pytest.mark.turns

HUBS = lab.hubs()
DIALLING = [name for name in lab.hosts() if name != HUBS[0]]
KEY = "/etc/overssh/keys/id_ed25519"
OLD = "/run/old-key"


def public(node: str) -> str:
    return lab.inside(node, f"cat {KEY}.pub").split()[1]


@pytest.fixture(scope="module")
def rotated():
    """What it was like to have the keys replaced: the keys before, the traffic meanwhile, the play."""
    lab.inside("edge2", f"cp -p {KEY} {OLD}")
    before = {node: public(node) for node in DIALLING}
    with between("edge2", "edge3") as seen:
        play = lab.play("overssh.swarm.rotate_keys")
    yield before, seen, play
    lab.inside("edge2", f"rm {OLD}")


def test_check_mode_makes_no_key():
    before = {node: public(node) for node in DIALLING}
    assert lab.play("overssh.swarm.rotate_keys", "--check", "--diff").status == 0
    assert {node: public(node) for node in DIALLING} == before
    assert lab.inside("edge2", "ls /etc/overssh/keys").split() == ["id_ed25519", "id_ed25519.pub"]


def test_every_node_that_dials_has_another_key(rotated):
    before, _seen, play = rotated
    assert play.status == 0
    assert {node for node in DIALLING if public(node) != before[node]} == set(DIALLING)


def test_connections_are_kept_and_traffic_stands_for_a_moment_at_most(rotated):
    _before, seen, _play = rotated
    assert seen["broken"] == ""
    assert seen["tcp"]["answered"] == seen["tcp"]["asked"]
    # One link at a time ends, and the kernel tells routes of it within a second.
    assert seen["udp"]["longest_s"] < 2


@pytest.mark.parametrize("hub", HUBS)
def test_the_old_key_opens_nothing(rotated, hub):
    conf, ours = f"/etc/overssh/links/{hub}.conf", "/run/overssh-tried.conf"
    told = {}
    for key in (OLD, KEY):
        lab.inside("edge2", f"sed 's#IdentityFile .*#IdentityFile {key}#' {conf} >{ours}")
        told[key] = lab.inside("edge2", f"timeout 10 ssh -F {ours} -T {hub} </dev/null 2>&1 || true; rm {ours}")
    assert "Permission denied (publickey" in told[OLD]
    assert "Permission denied" not in told[KEY]
    keys = lab.inside(hub, "cat /etc/overssh/authorized_keys").splitlines()
    assert len([line for line in keys if line.endswith("overssh:edge2")]) == 1


def test_nothing_is_left_to_do_and_no_half_made_key(rotated):
    assert lab.play("overssh.swarm.site").total("changed") == 0
    for node in DIALLING:
        assert sorted(lab.inside(node, "ls /etc/overssh/keys").split()) == ["id_ed25519", "id_ed25519.pub"]
