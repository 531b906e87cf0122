# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong is told in a sentence, before anything is changed on any host; the snapshot after these says so too."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path

import pytest
import yaml

from tests.scenarios import lab

EVERYWHERE = [
    pytest.param({"overssh_hub": False}, "no host of the group is a hub; set overssh_hub: true", id="no-hub"),
    pytest.param({"overssh_hub": "perhaps"}, "cloud1: overssh_hub is 'perhaps'; it takes true or false", id="no-bool"),
    pytest.param({"overssh_address": "172.30.0.7"}, "overssh_address 172.30.0.7 belongs to", id="one-address-for-all"),
    pytest.param({"overssh_underlay": "172.30.0.0/30"}, "overssh_underlay 172.30.0.0/30 has no free", id="too-small"),
    pytest.param({"overssh_underlay": "10.0.0.0/8"}, "overssh_underlay 10.0.0.0/8 overlaps the host's", id="route"),
    pytest.param({"overssh_underlay": "ten"}, "overssh_underlay is 'ten'; it takes an IPv4 network", id="no-network"),
    pytest.param(
        {"overssh_overlays": [{"name": "a", "subnet": "172.30.9.0/24"}]},
        "overssh_overlays: a 172.30.9.0/24 overlaps overssh_underlay",
        id="overlay-in-underlay",
    ),
    pytest.param({"overssh_overlays": [{"name": "a"}]}, "networks that all have a subnet", id="no-subnet"),
    pytest.param({"overssh_mtu": 70000}, "overssh_mtu is 70000; it takes auto, or a whole number", id="mtu"),
    pytest.param(
        {"overssh_transport": "tun", "overssh_mtu": 65000},
        "edge1: overssh_mtu is 65000, and the transport tun loses everything from the first packet over 16380 bytes on",
        id="mtu-of-tun",
    ),
    pytest.param(
        {"overssh_transport": "tun", "overssh_lanes": 2},
        "edge1: overssh_lanes is 2, and the transport tun has one lane only",
        id="lanes-of-tun",
    ),
    pytest.param({"overssh_transport": "udp"}, "overssh_transport is 'udp'; it takes stream or tun", id="transport"),
    pytest.param(
        {"overssh_python": "/usr/bin/python3.5"},
        "cloud1: /usr/bin/python3.5, which is to run the helper of the stream transport, can't be run by an account "
        "without privileges (No such file or directory); name one",
        id="python",
    ),
    pytest.param({"overssh_hubz": 1}, "there is no variable overssh_hubz; did you mean overssh_hub", id="misspelt"),
    pytest.param({"overssh_group": "nosuch"}, "The inventory has no group 'nosuch'", id="no-group"),
]


def refused(*arguments: str) -> str:
    """What site says when it refuses, on one line; it must not have changed anything."""
    done = lab.play("overssh.swarm.site", *arguments)
    assert done.status != 0
    assert done.total("changed") == 0
    return " ".join(done.output.split())


@contextlib.contextmanager
def without(node: str, path: str):
    """The node lacks a file meanwhile."""
    lab.inside(node, f"mv {path} {path}.hidden")
    try:
        yield
    finally:
        lab.inside(node, f"mv {path}.hidden {path}")


@pytest.mark.parametrize(("variables", "sentence"), EVERYWHERE)
def test_wrong_settings(variables, sentence):
    assert sentence in refused("--extra-vars", json.dumps(variables))


def test_one_host_is_no_fleet(tmp_path: Path):
    inventory = yaml.safe_load(lab.INVENTORY.read_text(encoding="utf-8"))
    alone = copy.deepcopy(inventory)
    alone[lab.GROUP]["hosts"] = {lab.hub(): inventory[lab.GROUP]["hosts"][lab.hub()]}
    # Beside the lab's own inventory, which names its keys by their place.
    there = lab.STATE / "alone.yml"
    there.write_text(yaml.safe_dump(alone), encoding="utf-8")
    try:
        done = lab.play("overssh.swarm.site", inventory=there)
    finally:
        there.unlink()
    assert done.status != 0
    assert "the group has 1 host; a fleet takes two or more." in done.output


def test_a_limited_run_is_no_fleet():
    assert "edge2: was not looked at, since the run is limited" in refused("--limit", "cloud1,edge1")


def test_an_unreachable_host_is_named():
    # Nothing listens on port 1: refused at once.
    said = refused("--extra-vars", '{"ansible_port": "{{ 1 if inventory_hostname == \'edge1\' else 22 }}"}')
    assert "edge1: can't be reached over ssh:" in said
    assert "cloud1: can't" not in said


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/usr/sbin/nft", "edge1: the program nft is missing; install the package nftables."),
        ("/dev/net/tun", "edge1: /dev/net/tun is missing; load the kernel module tun."),
        ("/run/systemd/system", "edge1: systemd does not run here"),
        ("/usr/lib/python3/dist-packages/pyroute2", "edge1: the Python library pyroute2 is missing"),
    ],
)
def test_a_host_that_lacks_something(path, sentence):
    with without("edge1", path):
        assert sentence in refused()


def test_a_tun_device_for_root_only():
    lab.inside("edge1", "chmod 0600 /dev/net/tun")
    try:
        assert "edge1: /dev/net/tun has the mode 0600, so tunnels can't open it without being root" in refused()
    finally:
        lab.inside("edge1", "chmod 0666 /dev/net/tun")


def test_an_sshd_that_would_not_hold_to_our_match_block():
    """The lab's hub is hardened for all accounts, which is no obstacle; a Match block that is read first is one."""
    there = "/etc/ssh/sshd_config.d/20-accounts.conf"
    lab.inside("cloud1", f"printf 'Match User *,!ops\\n    PermitTTY yes\\n    ForceCommand /bin/false\\n' >{there}")
    try:
        said = refused()
    finally:
        lab.inside("cloud1", f"rm {there}")
    for keyword, value, needed in (("PermitTTY", "yes", "no"), ("ForceCommand", "/bin/false", "none")):
        assert (
            f"cloud1: sshd's {keyword} is {value} for overssh, by a Match block in {there} that is read before ours, "
            f"and has to be {needed}; take the account out of that block, as in Match User *,!overssh."
        ) in said


def test_a_host_without_its_docker_engine():
    lab.inside("edge1", "systemctl stop docker.socket docker.service")
    try:
        assert "edge1: the Docker engine does not run on this host" in refused()
    finally:
        lab.inside("edge1", "systemctl start docker.socket docker.service")


def test_a_swarm_of_somebody_else():
    address = lab.hosts()["edge1"]["ansible_host"]
    lab.inside("edge1", f"docker swarm init --advertise-addr {address}")
    try:
        assert f"edge1: is in a swarm already, as {address}, which is not in overssh_underlay" in refused()
    finally:
        lab.inside(
            "edge1",
            "docker swarm leave --force; for try in $(seq 50); do"
            " docker network rm docker_gwbridge && exit; sleep 0.2; done; exit 1",
        )


def test_a_device_of_somebody_else():
    lab.inside("edge1", "ip tuntap add dev tun1001 mode tun")
    try:
        assert "edge1: tun1001 exists and is not ours; set overssh_tun_base" in refused()
    finally:
        lab.inside("edge1", "ip link delete tun1001")
