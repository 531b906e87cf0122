# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker engine as a swarm will find it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._docker import daemon
from ansible_collections.overssh.swarm.plugins.module_utils._host import docker as host_docker
from ansible_collections.overssh.swarm.plugins.module_utils._linux.devices import Address, Device

FILE = "/etc/docker/daemon.json"
TEXT = """{
  "bip": "192.168.99.1/24",
  "default-address-pools": [{"base": "10.200.0.0/15", "size": 24}],
  "features": {"swarm-nftables": true}
}
"""
NFTABLES = {"FirewallBackend": {"Driver": "nftables"}, "ServerVersion": "29.7.2"}
ALLOWED = {"features": {"swarm-nftables": True}}


def read(texts: dict[str, str]) -> Any:
    return texts.get


def test_what_an_engine_was_told_is_read_with_its_place() -> None:
    told, places = daemon.settings(["dockerd", "-H", "fd://"], read({FILE: TEXT}))
    assert told["default-address-pools"] == [{"base": "10.200.0.0/15", "size": 24}]
    assert places == {
        "bip": f"{FILE} line 2",
        "default-address-pools": f"{FILE} line 3",
        "features": f"{FILE} line 4",
    }
    assert daemon.settings(["dockerd"], read({})) == ({}, {})
    assert daemon.settings(["dockerd"], read({FILE: "{"})) == ({}, {})


def test_flags_count_as_the_file_does() -> None:
    words = ["dockerd", "--config-file=/srv/d.json", "--bip", "10.9.0.1/24", "--live-restore", "--iptables=false"]
    words += ["--default-address-pool", "base=10.8.0.0/16,size=24", "--feature", "swarm-nftables=true"]
    told, places = daemon.settings(words, read({"/srv/d.json": '{"mtu": 1400}', FILE: TEXT}))
    assert told == {
        "mtu": 1400,
        "bip": "10.9.0.1/24",
        "live-restore": True,
        "iptables": False,
        "default-address-pools": [{"base": "10.8.0.0/16", "size": "24"}],
        "features": {"swarm-nftables": True},
    }
    assert (places["mtu"], places["bip"]) == ("/srv/d.json line 1", "the command line of dockerd")


@pytest.mark.parametrize(
    ("info", "told", "sentence"),
    [
        ({"LiveRestoreEnabled": False, "FirewallBackend": {"Driver": "iptables"}}, {}, ""),
        (
            {"LiveRestoreEnabled": True},
            {},
            f"Docker's live-restore is on, and a swarm refuses it; take it out of {FILE}.",
        ),
        (NFTABLES, {}, f"Docker's firewall-backend is nftables ({FILE}), and a swarm refuses it;"),
        ({"FirewallBackend": {"Driver": "nftables+firewalld"}}, {}, "a swarm refuses it; set it to iptables, or,"),
        (NFTABLES, ALLOWED, ""),
        ({**NFTABLES, "ServerVersion": "29.5.3"}, ALLOWED, "from Docker 29.6 on"),
        (NFTABLES, {"features": {"swarm-nftables": False}}, "from Docker 29.6 on"),
        ({**NFTABLES, "Swarm": {"LocalNodeState": "active"}}, {}, ""),
        (NFTABLES, {"iptables": False}, ""),
    ],
)
def test_engines_that_refuse_swarm_mode_are_told_by_their_setting(
    info: dict[str, Any], told: dict[str, Any], sentence: str
) -> None:
    said = host_docker.problems(info, told, {})
    assert sentence in said[0] if sentence else said == []


def test_pools_are_those_that_the_engine_runs_with() -> None:
    told = {"default-address-pools": [{"base": "10.8.0.0/16", "size": "24"}]}
    running = {"DefaultAddressPools": [{"Base": "10.9.0.0/16", "Size": 26}]}
    assert host_docker.pools(running, told) == [{"base": "10.9.0.0/16", "size": 26}]
    assert host_docker.pools({"DefaultAddressPools": None}, told) == [{"base": "10.8.0.0/16", "size": 24}]
    assert host_docker.pools({}, {}) == []


class Asked:
    """An engine that is in a swarm."""

    def info(self) -> dict[str, Any]:
        swarm = {"LocalNodeState": "active", "NodeAddr": "172.30.0.1"}
        return {"Name": "web", "ServerVersion": "26.1.5", "Swarm": swarm, "DockerRootDir": "/nowhere"}

    def networks(self) -> list[dict[str, Any]]:
        bridge = {"Name": "bridge", "Scope": "local", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}}
        ingress = {"Name": "ingress", "Scope": "swarm", "IPAM": {"Config": [{"Subnet": "10.201.0.0/24"}]}}
        return [bridge, ingress, {"Name": "host", "Scope": "local", "IPAM": {"Config": None}}]


def test_an_engine_in_a_swarm_tells_what_lies_under_its_networks() -> None:
    devices = tuple(
        Device(name, mtu, addresses=(Address("172.30.0.1", 32),))
        for name, mtu in (("tun1002", 9000), ("tun1003", 1500))
    )
    answer, problems = host_docker.look(Asked, devices)
    assert problems == []
    assert answer["networks"] == []
    named = {
        key: answer[key]
        for key in (
            "version",
            "hostname",
            "swarm",
            "swarm_address",
            "underlay_mtu",
            "node_id",
            "members",
            "unavailable",
        )
    }
    assert named == {
        "version": "26.1.5",
        "hostname": "web",
        "swarm": "active",
        "swarm_address": "172.30.0.1",
        "underlay_mtu": 1500,
        "node_id": "",
        "members": {},
        "unavailable": {},
    }


def test_an_engine_outside_of_any_tells_its_own_networks() -> None:
    class Free(Asked):
        def info(self) -> dict[str, Any]:
            return {**super().info(), "Swarm": {"LocalNodeState": "inactive"}}

    answer, _problems = host_docker.look(Free, ())
    assert answer["networks"] == [{"name": "bridge", "subnet": "172.17.0.0/16"}]


def test_a_manager_tells_which_nodes_take_no_containers_and_what_is_fixed() -> None:
    class Manager(Asked):
        def info(self) -> dict[str, Any]:
            found = super().info()
            cluster = {"DataPathPort": 7777, "DefaultAddrPool": ["10.0.0.0/8"], "SubnetSize": 24}
            return {**found, "Swarm": {**found["Swarm"], "ControlAvailable": True, "Cluster": cluster}}

        def nodes(self) -> list[dict[str, Any]]:
            return [
                {
                    "ID": f"n{number}",
                    "Status": {"Addr": f"172.30.0.{number}", "State": "ready"},
                    "Spec": {"Availability": word},
                    **({"ManagerStatus": {"Reachability": "unreachable"}} if word == "pause" else {}),
                }
                for number, word in enumerate(("active", "drain", "pause"), start=1)
            ]

    answer, _problems = host_docker.look(Manager, ())
    assert answer["unavailable"] == {"172.30.0.2": "drain", "172.30.0.3": "pause"}
    assert answer["members"] == {"n1": "ready", "n2": "ready", "n3": "unreachable"}
    assert (answer["data_path_port"], answer["swarm_pool"], answer["swarm_pool_prefix"]) == (7777, ["10.0.0.0/8"], 24)
