# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change is confirmed over a new connection, whatever stands between the controller and the host, or taken back."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import lab, snapshot

HUB, SPOKE = lab.hub(), "edge1"
EARLY = {"chain": "inet overssh early", "hook": "input", "priority": -200, "verdict": "drop", "protocol": "tcp"}
HARMLESS = {**EARLY, "name": "harmless", "ports": ["2399"]}
# What lets those in who are, and nobody new: case A of the project's collection.
SHUT = {**EARLY, "name": "shut", "ports": ["22"], "ct_state": ["new"], "force_lockout": True}
OLD = "by a connection that had begun"
UNSEEN = "by no connection that the host can see"
COMMON = "-o 'UserKnownHostsFile=\"{known}\"' -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"


def rules(node: str) -> list[str]:
    return snapshot.take(node, snapshot.RULESET)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For what a way needs on the controller; its connections end with the test."""
    made = tmp_path_factory.mktemp("w")
    yield made
    for control in made.glob("*.sock"):
        subprocess.run(
            ["ssh", "-o", f"ControlPath={control}", "-O", "exit", "nobody"], capture_output=True, check=False
        )


@contextlib.contextmanager
def reached(node: str, **variables: Any) -> Iterator[Any]:
    """A function that runs a task, nft_rule by default, on the node, which is reached as these variables say."""
    before = rules(node)
    with lab.changed_inventory({node: variables}) as there:
        try:
            yield lambda module="nft_rule", **arguments: lab.task_of(
                there, node, f"overssh.swarm.{module}", **arguments
            )
        finally:
            lab.task(node, "overssh.swarm.checkpoint", name="firewall", state="absent")
            lab.task(node, "overssh.swarm.nft_rule", state="absent", all=True, confirm="none")
    assert rules(node) == before


def common(more: str = "") -> str:
    """What ssh is told on every way: the lab's own words, and more."""
    return f"{COMMON.format(known=lab.STATE / 'known_hosts')} {more}"


def stays(change: Any, node: str) -> None:
    done = change(**HARMLESS, rollback_timeout=40)
    assert not done["failed"], done["msg"]
    assert (done["changed"], done["pending"]) == (True, False)
    assert any("overssh:harmless" in line for line in rules(node))


def goes(change: Any, node: str, said: str, rule: dict[str, Any] | None = None) -> None:
    before, began = rules(node), time.monotonic()
    refused = change(**(rule or HARMLESS), rollback_timeout=600)
    assert refused["failed"]
    assert said in refused["msg"], refused["msg"]
    assert time.monotonic() - began < 300, "taken back at once, and not when its time was over"
    assert rules(node) == before


def wrapper(folder: Path, words: str) -> str:
    """A program in the place of ssh, as for a bastion or a cloud; first words count for ssh.

    What Ansible tells the multiplexer (-O) is nothing to it: that is its own.
    """
    there = folder / "ssh"
    script = f'#!/bin/sh\ncase " $* " in *" -O "*) exit 0 ;; esac\nexec ssh {words} "$@"\n'
    there.write_text(script, encoding="utf-8")
    there.chmod(0o755)
    return str(there)


def shared(folder: Path, name: str = "a") -> str:
    return f"-o ControlMaster=auto -o ControlPersist=60 -o ControlPath={folder}/{name}.sock"


def test_connections_that_ansible_shares():
    with reached(SPOKE) as change:
        stays(change, SPOKE)


def test_connections_that_nobody_shares():
    with reached(SPOKE, ansible_ssh_args="-o ControlMaster=no -o ControlPath=none") as change:
        stays(change, SPOKE)


def test_connections_that_an_ssh_configuration_shares(folder):
    config = folder / "config"
    words = f"ControlMaster auto\nControlPersist 60\nControlPath {folder}/b.sock\n"
    config.write_text(f"Host *\n{words}", encoding="utf-8")
    with reached(SPOKE, ansible_ssh_args="-C", ansible_ssh_common_args=common(f"-F {config}")) as change:
        stays(change, SPOKE)


def test_connections_that_a_program_in_the_place_of_ssh_shares(folder):
    with reached(SPOKE, ansible_ssh_executable=wrapper(folder, shared(folder))) as change:
        goes(change, SPOKE, OLD)
        goes(change, SPOKE, OLD, SHUT)
    # Nobody is locked out.
    assert lab.task(SPOKE, "ansible.builtin.ping")["ping"] == "pong"


def test_a_program_in_the_place_of_ssh_that_shares_nothing(folder):
    words = "-o ControlMaster=no -o ControlPath=none"
    with reached(SPOKE, ansible_ssh_executable=wrapper(folder, words)) as change:
        stays(change, SPOKE)


def test_a_jump_host_to_which_the_connection_is_shared(folder):
    key, known = lab.STATE / "id_ed25519", lab.STATE / "known_hosts"
    variables = lab.hosts()[HUB]
    hop = (
        f"ssh {shared(folder, 'c')} -i {key} -o UserKnownHostsFile={known} -o IdentitiesOnly=yes -W %h:%p "
        f"ops@{lab.hosts()[SPOKE]['ansible_host']}"
    )
    with reached(
        HUB,
        ansible_host=variables["overssh_dial_host"],
        ansible_port=variables["overssh_dial_port"],
        ansible_ssh_common_args=common(f"-o HostKeyAlias={variables['ansible_host']} -o ProxyCommand='{hop}'"),
    ) as change:
        stays(change, HUB)


def test_an_sshd_that_is_started_for_each_connection():
    lab.inside(SPOKE, "systemctl stop ssh.service; systemctl start ssh.socket")
    try:
        with reached(SPOKE) as change:
            stays(change, SPOKE)
    finally:
        lab.inside(SPOKE, "systemctl stop ssh.socket; systemctl start ssh.service")


def test_a_relay_on_the_host_itself():
    """As of programs that tell protocols apart on one port: sshd sees this host for its client."""
    proxy = "/usr/lib/systemd/systemd-socket-proxyd"
    lab.inside(SPOKE, f"systemd-run --quiet --unit=test-relay --socket-property=ListenStream=2299 {proxy} 127.0.0.1:22")
    address = lab.hosts()[SPOKE]["ansible_host"]
    try:
        with reached(SPOKE, ansible_port=2299, ansible_ssh_common_args=common(f"-o HostKeyAlias={address}")) as change:
            stays(change, SPOKE)
    finally:
        lab.inside(SPOKE, "systemctl stop test-relay.socket test-relay.service || true")


def test_no_login_at_all():
    """An engine that puts each command into the node; there is nothing that a firewall could cut."""
    with reached(SPOKE, ansible_connection="container", container_name=lab.container(SPOKE)) as change:
        stays(change, SPOKE)


def test_a_command_that_the_service_manager_runs():
    with reached(
        SPOKE,
        ansible_connection="container",
        container_name=lab.container(SPOKE),
        container_through="systemd-run --quiet --pipe --wait --collect",
    ) as change:
        goes(change, SPOKE, UNSEEN)


def test_a_persons_word_is_proved_too(folder):
    """With the checkpoint's own task, as the playbook confirm has it."""
    with reached(SPOKE, ansible_ssh_executable=wrapper(folder, shared(folder))) as change:
        assert change(**HARMLESS, confirm="manual", rollback_timeout=600)["pending"]
        said = change("checkpoint", name="firewall", state="confirmed")
        assert said["failed"]
        assert OLD in said["msg"], said["msg"]
        assert change("checkpoint_info")["changes"][0]["pending"]
        assert change("checkpoint", name="firewall", state="confirmed", force=True)["changed"]
        assert any("overssh:harmless" in line for line in rules(SPOKE))


def test_a_persons_word_comes_by_a_new_connection_where_ansible_shares_its_own():
    with reached(SPOKE) as change:
        assert change(**HARMLESS, confirm="manual", rollback_timeout=600)["pending"]
        assert change("checkpoint", name="firewall", state="confirmed")["changed"]
        assert any("overssh:harmless" in line for line in rules(SPOKE))
