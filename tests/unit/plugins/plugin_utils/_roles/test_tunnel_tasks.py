# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan's devices and links are options that the two modules know."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._account import info as account_info
from ansible_collections.overssh.swarm.plugins.modules import ssh_tunnel, tun_interface
from ansible_collections.overssh.swarm.plugins.plugin_utils._roles.tunnel_tasks import interfaces, links, prepared

from tests.unit.plugins.plugin_utils._fleet.fleets import planned

HUB = {"overssh_hub": True, "overssh_dial_host": "192.0.2.1"}
NODES = planned({"cloud1": HUB, "edge1": {}, "edge2": {}})["nodes"]
SHARED = {"user": "overssh", "identity_file": "/key"}


@pytest.mark.parametrize("node", NODES)
def test_each_device_of_the_plan_is_one_that_tun_interface_takes(node: str) -> None:
    found = interfaces(NODES[node]["devices"], "overssh")
    assert all(set(each) <= {"name", *tun_interface.OPTIONS} for each in found)
    assert [each["description"] for each in found] == [device["peer"] for device in NODES[node]["devices"]]
    assert {(each["owner"], each["group"]) for each in found} == {("overssh", "overssh")}


def test_a_node_that_passes_nothing_on_leaves_forwarding_as_it_is() -> None:
    assert {each["forwarding"] for each in interfaces(NODES["edge1"]["devices"], "overssh")} == {None}
    assert True in {each["forwarding"] for each in interfaces(NODES["cloud1"]["devices"], "overssh")}


def test_obsolete_devices_go_before_others_come() -> None:
    found = interfaces(NODES["edge1"]["devices"], "overssh", [{"peer": "edge9", "device": "tun1009"}])
    assert found[0] == {"name": "tun1009", "state": "absent"}
    assert all("state" not in each for each in found[1:])


def test_each_link_of_the_plan_is_one_that_ssh_tunnel_takes() -> None:
    (found,) = links(NODES["edge1"]["links"], SHARED)
    assert set(found) <= {"name", *ssh_tunnel.LINK}
    assert {name for name in ssh_tunnel.NEEDED if found.get(name) is None} == {"host_keys"} - set(found)
    assert (found["name"], found["user"], found["identity_file"]) == ("cloud1", "overssh", "/key")


ACCOUNT = {"comment": "overssh tunnels", "home": "/etc/overssh", "shell": "/bin/sh"}
WANTED: dict[str, Any] = {
    "account": ACCOUNT,
    "folders": ["/etc/overssh"],
    "texts": {"/etc/overssh/authorized_keys": "key\n", "/etc/ssh/sshd_config.d/overssh.conf": None},
    "programs": {},
    "all_programs": ["stream", "stream.py", "watch.py"],
    "block": "",
    "effective": ["permittty no"],
    "pending": False,
    "keys": ["ssh-ed25519 AAAA"],
}


@pytest.fixture
def found(tmp_path) -> dict[str, Any]:
    """A host that has all that is wanted, its files looked at as host_info does."""
    keys = tmp_path / "authorized_keys"
    keys.write_text("key\n")
    keys.chmod(0o644)
    tmp_path.chmod(0o755)
    files = {
        "/etc/overssh": account_info.file(str(tmp_path)),
        "/etc/overssh/authorized_keys": account_info.file(str(keys)),
    }
    for each in files.values():
        assert each is not None
        each.update(uid=0, gid=0)
    effective = ["permittty no", "maxsessions 1"]
    return {"account": ACCOUNT, "files": files, "block": "", "pending": False, "effective": effective}


def test_a_host_that_has_all_that_is_wanted_is_prepared(found: dict[str, Any]) -> None:
    assert prepared(found, WANTED)


@pytest.mark.parametrize(
    "change",
    [
        {"account": {}},
        {"account": {**ACCOUNT, "shell": "/bin/bash"}},
        {"files": {}},
        {"block": "Match User overssh"},
        {"pending": True},
        {"effective": ["permittty yes"]},
    ],
)
def test_a_host_on_which_anything_differs_is_not(found: dict[str, Any], change: dict[str, Any]) -> None:
    assert not prepared({**found, **change}, WANTED)


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "0666"},
        {"uid": 1000},
        {"sha256": "0" * 64},
        {"kind": "l"},
    ],
)
def test_keys_that_somebody_has_changed_are_seen(found: dict[str, Any], change: dict[str, Any]) -> None:
    found["files"]["/etc/overssh/authorized_keys"].update(change)
    assert not prepared(found, WANTED)


def test_a_file_that_has_to_be_absent_is_seen(found: dict[str, Any]) -> None:
    found["files"]["/etc/ssh/sshd_config.d/overssh.conf"] = found["files"]["/etc/overssh/authorized_keys"]
    assert not prepared(found, WANTED)


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("stream.py", True),
        ("stream", True),
        ("stream/wire.py", True),
        ("stream/__pycache__/wire.cpython-311.pyc", True),
        ("streams", False),
        ("somebody/wire.py", False),
    ],
)
def test_no_other_program_of_ours_may_be_there(found: dict[str, Any], path: str, ours: bool) -> None:
    found["files"][f"/usr/local/lib/overssh/{path}"] = found["files"]["/etc/overssh/authorized_keys"]
    assert prepared(found, WANTED) is not ours


def test_each_file_of_a_program_has_to_be_there(found: dict[str, Any]) -> None:
    wanted = {**WANTED, "programs": {"stream/wire.py": "key\n"}}
    assert not prepared(found, wanted)
    found["files"]["/usr/local/lib/overssh/stream/wire.py"] = found["files"]["/etc/overssh/authorized_keys"]
    assert prepared(found, wanted)


def test_a_peer_whose_key_is_yet_to_be_made_has_to_be_let_in_later(found: dict[str, Any]) -> None:
    assert not prepared(found, {**WANTED, "keys": ["ssh-ed25519 AAAA", ""]})


def test_a_change_that_waits_for_a_persons_word_is_let_be(found: dict[str, Any]) -> None:
    assert prepared({**found, "pending": True}, {**WANTED, "pending": True})


def test_sshds_own_file_does_not_matter_where_it_reads_others(found: dict[str, Any]) -> None:
    assert prepared({**found, "block": "anything"}, {**WANTED, "block": None})


def test_a_host_with_nothing_of_ours_is_not_prepared() -> None:
    assert not prepared({}, WANTED)
