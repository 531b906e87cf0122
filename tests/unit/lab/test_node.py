# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import tarfile
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tests.lab.inventory import render_inventory, render_known_hosts, ssh_command, write
from tests.lab.network import LabNetwork
from tests.lab.node import Node, cgroup_complaint, create_arguments, name_servers, own_files, plan_nodes
from tests.lab.settings import read_settings

SETTINGS = read_settings({"LAB_NAME": "t", "LAB_NODES": "3"}, Path("/project"))
CLOUD = LabNetwork("t-cloud", "c", IPv4Network("10.100.0.0/24"), "10.100.0.1")
EDGE = LabNetwork("t-edge", "e", IPv4Network("10.100.1.0/24"), "10.100.1.1")
NODES = plan_nodes(SETTINGS, CLOUD, EDGE, [2222])


def _arguments(node: Node, cgroup_version: str = "1") -> list[str]:
    return create_arguments(SETTINGS, node, "image", cgroup_version, ["192.0.2.53"])


def test_the_hub_is_in_the_cloud_and_dialled_through_the_edges_gateway() -> None:
    assert [(node.name, node.address, node.dial) for node in NODES] == [
        ("cloud1", "10.100.0.2", ("10.100.1.1", 2222)),
        ("edge1", "10.100.1.2", None),
        ("edge2", "10.100.1.3", None),
    ]


def test_several_hubs_have_ports_of_their_own_and_dial_each_other_in_the_cloud() -> None:
    settings = read_settings({"LAB_NAME": "t", "LAB_NODES": "4", "LAB_HUBS": "2"}, Path("/project"))
    nodes = plan_nodes(settings, CLOUD, EDGE, [2222, 2223])
    assert [(node.name, node.address, node.dial, node.site_host) for node in nodes] == [
        ("cloud1", "10.100.0.2", ("10.100.1.1", 2222), "10.100.0.2"),
        ("cloud2", "10.100.0.3", ("10.100.1.1", 2223), "10.100.0.3"),
        ("edge1", "10.100.1.2", None, None),
        ("edge2", "10.100.1.3", None, None),
    ]
    assert nodes[1].ruleset == nodes[0].ruleset
    assert "      overssh_site: cloud\n      overssh_site_host: 10.100.0.3\n" in render_inventory(nodes)


def test_no_privileged_and_no_sys_resource() -> None:
    for node in NODES:
        arguments = _arguments(node)
        assert "--privileged" not in arguments
        assert "--cap-drop=SYS_RESOURCE" in arguments
        assert arguments[-1] == "image"


def test_only_the_hub_publishes_and_only_on_one_address() -> None:
    published = [[word for word in _arguments(node) if word.startswith("--publish")] for node in NODES]
    assert published == [["--publish=10.100.1.1:2222:22"], [], []]


@pytest.mark.parametrize(("version", "namespace", "bound"), [("1", "host", True), ("2", "private", False)])
def test_each_cgroup_version_has_its_way(version: str, namespace: str, bound: bool) -> None:
    arguments = _arguments(NODES[0], version)
    assert f"--cgroupns={namespace}" in arguments
    assert any(word.startswith("--volume=/sys/fs/cgroup") for word in arguments) == bound


def test_a_release_that_needs_cgroup_v2_gets_its_branch_on_an_engine_of_v1() -> None:
    settings = read_settings({"LAB_NAME": "t", "LAB_RELEASE": "forky"}, Path("/project"))
    arguments = create_arguments(settings, NODES[0], "image", "1", [])
    assert {"--cgroupns=private", "--env=LAB_CGROUP2=yes"} <= set(arguments)
    assert not any(word.startswith("--volume=/sys/fs/cgroup") for word in arguments)
    assert "--env=LAB_CGROUP2=yes" not in create_arguments(settings, NODES[0], "image", "2", [])


def test_a_machine_without_cgroup_v2_can_not_have_it(tmp_path: Path) -> None:
    assert "this machine has none" in (cgroup_complaint("forky", "1", tmp_path) or "")
    assert cgroup_complaint("forky", "2", tmp_path) is None
    assert cgroup_complaint("bookworm", "1", tmp_path) is None
    (tmp_path / "cgroup.procs").touch()
    assert cgroup_complaint("forky", "1", tmp_path) is None


def test_the_files_of_a_node() -> None:
    contents = []
    for node in NODES:
        with tarfile.open(fileobj=io.BytesIO(own_files(node, "ssh-ed25519 AAAA lab\n"))) as archive:
            contents.append({entry.name: entry for entry in archive.getmembers()})
    unit = "etc/systemd/system/sysinit.target.wants/nftables.service"
    assert [unit in files for files in contents] == [True, False, True]
    key = contents[1]["home/ops/.ssh/authorized_keys"]
    assert (key.mode, key.uid) == (0o600, 1000)
    assert not any("ssh_host" in name for files in contents for name in files)


def test_a_node_may_come_with_its_host_key() -> None:
    with tarfile.open(
        fileobj=io.BytesIO(own_files(NODES[1], "ssh-ed25519 AAAA lab\n", ("secret", "known")))
    ) as archive:
        modes = {entry.name: entry.mode for entry in archive.getmembers()}
    assert modes["etc/ssh/ssh_host_ed25519_key"] == 0o600
    assert modes["etc/ssh/ssh_host_ed25519_key.pub"] == 0o644


def test_the_hub_s_ruleset_ends_in_a_reject() -> None:
    ruleset = NODES[0].ruleset or ""
    chain = ruleset.partition("chain input {")[2].partition("}")[0].split("\n")
    assert [line.strip() for line in chain if line.strip()][-1] == "reject with icmpx type admin-prohibited"


def test_name_servers_a_node_can_reach() -> None:
    assert name_servers("nameserver 127.0.0.53\n", "nameserver 192.0.2.1\nnameserver 2001:db8::1\n") == [
        "192.0.2.1",
        "2001:db8::1",
    ]
    assert name_servers("# nameserver 192.0.2.1\n") == []


def test_the_inventory() -> None:
    assert (
        render_inventory(NODES)
        == """\
---
# Written by the lab at every start.
overssh:
  hosts:
    cloud1:
      ansible_host: 10.100.0.2
      overssh_hub: true
      overssh_dial_host: 10.100.1.1
      overssh_dial_port: 2222
    edge1:
      ansible_host: 10.100.1.2
    edge2:
      ansible_host: 10.100.1.3
  vars:
    ansible_user: ops
    ansible_become: true
    ansible_python_interpreter: /usr/bin/python3
    ansible_ssh_private_key_file: "{{ inventory_dir }}/id_ed25519"
    ansible_ssh_common_args: >-
      -o 'UserKnownHostsFile="{{ inventory_dir }}/known_hosts"'
      -o StrictHostKeyChecking=yes
      -o IdentitiesOnly=yes
"""
    )


def test_known_hosts_have_every_key_under_the_dialled_address() -> None:
    keys = {"cloud1": ["ssh-ed25519 A", "ssh-rsa B"], "edge1": ["ssh-ed25519 C"], "edge2": []}
    assert render_known_hosts(NODES, keys).splitlines() == [
        "10.100.0.2 ssh-ed25519 A",
        "10.100.0.2 ssh-rsa B",
        "10.100.1.2 ssh-ed25519 C",
    ]


def test_ssh_never_trusts_the_wire() -> None:
    command = ssh_command(Path("/a b"), NODES[0], "true")
    assert "StrictHostKeyChecking=yes" in command
    assert 'UserKnownHostsFile="/a b/known_hosts"' in command
    assert command[-2:] == ["ops@10.100.0.2", "true"]


def test_a_file_is_replaced_in_one_go(tmp_path: Path) -> None:
    target = tmp_path / "inventory.yml"
    write(target, "one")
    write(target, "two")
    assert target.read_text(encoding="utf-8") == "two"
    assert [file.name for file in tmp_path.iterdir()] == ["inventory.yml"]
