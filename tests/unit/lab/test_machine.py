# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from tests.lab.inside import command
from tests.lab.machine import create_arguments
from tests.lab.network import LabNetwork
from tests.lab.node import plan_nodes
from tests.lab.settings import read_settings

SETTINGS = read_settings({"LAB_NAME": "t", "LAB_KIND": "vm"}, Path("/project"))
CLOUD = LabNetwork("t-cloud", "c", IPv4Network("10.100.0.0/24"), "10.100.0.1")
EDGE = LabNetwork("t-edge", "e", IPv4Network("10.100.1.0/24"), "10.100.1.1")
NODES = plan_nodes(SETTINGS, CLOUD, EDGE, [2222])
ARGUMENTS = [create_arguments(SETTINGS, node, "kernel", "disk", ["192.0.2.53", "192.0.2.54"]) for node in NODES]


def test_the_container_lends_the_node_its_address_and_its_port() -> None:
    assert "--ip=10.100.0.2" in ARGUMENTS[0]
    assert [[word for word in words if word.startswith("--publish")] for words in ARGUMENTS] == [
        ["--publish=10.100.1.1:2222:22"],
        [],
        [],
    ]
    assert {"--env=LAB_GATEWAY=10.100.1.1", "--env=LAB_HOST=edge1"} <= set(ARGUMENTS[1])


def test_it_has_no_privilege_but_that_of_a_network_device() -> None:
    for words in ARGUMENTS:
        assert "--privileged" not in words
        assert [word for word in words if word.startswith("--cap-add")] == ["--cap-add=NET_ADMIN"]


def test_the_disk_that_all_start_from_is_read_only() -> None:
    assert "--volume=disk:/disk:ro" in ARGUMENTS[0]
    assert "--volume=t-edge1-docker:/node" in ARGUMENTS[1]


def test_a_container_is_entered_by_its_engine() -> None:
    settings = read_settings({"LAB_NAME": "t"}, Path("/project"))
    assert command(settings, "edge1", "sh", "-eu") == ["docker", "exec", "--interactive", "t-edge1", "sh", "-eu"]
    assert "--tty" in command(settings, "edge1", "bash", terminal=True)
