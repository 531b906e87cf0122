# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that was restarted is what it was, with no run of Ansible; with systemd-networkd and with NetworkManager."""

from __future__ import annotations

import json

import pytest

from tests.support import lab
from tests.support.traffic import between

NODES = list(lab.hosts())
HUB, SPOKE = lab.hub(), "edge4"
# What has to be as before: addresses and routes of our devices, rules, units, and the part in the swarm.
PICTURES = {
    "devices": """
for each in /sys/class/net/tun*; do
    device=${each##*/}
    echo $device
    ip -br address show $device | awk '{print $3, $4, $5}'
    for table in main 7946; do
        ip route show table $table dev $device 2>/dev/null | sed 's/ linkdown//; s/ *$//' | sort
    done
done
""",
    "rules": "ip rule; nft list ruleset | grep -o 'overssh:[^\"]*' | sort",
    "units": "systemctl list-unit-files --no-legend 'overssh-*' | awk '{print $1, $2}' | sort",
    "swarm": "docker info --format '{{.Swarm.NodeID}} {{.Swarm.NodeAddr}} {{.Swarm.ControlAvailable}}'",
}


NO_JOBS = "! systemctl list-jobs --no-legend --plain | grep -q overssh"
# Each of them has the device that leads to the world, as on a host of its own; they stay in charge of it.
FIND = """
address=$(ip -4 -br address show eth0 | awk '{print $3}')
gateway=$(ip -4 route show default | awk '{print $3}')
"""
# It forgets the routing rules of others when it starts.
NETWORKD = """
systemctl disable --quiet --now NetworkManager.service NetworkManager-wait-online.service
file=/etc/systemd/network/10-eth0.network
printf '[Match]\\nName=eth0\\n[Network]\\nAddress=%s\\nGateway=%s\\n' $address $gateway >$file
systemctl enable --quiet --now systemd-networkd.service
# On a host that has had it from the beginning our units have brought the rules back by now.
systemctl restart systemd-networkd.service
# It would wait for the addresses that the lab's engine gives to its devices.
systemctl disable --quiet systemd-networkd-wait-online.service
"""
NETWORK_MANAGER = """
systemctl enable --quiet --now NetworkManager.service
nmcli connection show wired >/dev/null 2>&1 || nmcli connection add type ethernet ifname eth0 con-name wired \\
    ipv4.method manual ipv4.addresses $address ipv4.gateway $gateway ipv6.method ignore
nmcli connection up wired
"""


@pytest.fixture(scope="module", autouse=True)
def network_managers():
    """The hub is a host of systemd-networkd, the spoke one of NetworkManager; the others have neither configured."""
    lab.inside(HUB, FIND + NETWORKD)
    lab.wait_for(HUB, "networkctl --no-pager --no-legend list eth0 | grep -q configured", 30)
    lab.wait_for(HUB, NO_JOBS, 30)
    lab.inside(SPOKE, FIND + NETWORK_MANAGER)
    lab.wait_for(SPOKE, "nmcli --terse --fields DEVICE,STATE device | grep -qx eth0:connected", 30)


def picture(node: str) -> dict[str, str]:
    return {name: lab.inside(node, script) for name, script in PICTURES.items()}


@pytest.mark.turns
@pytest.mark.parametrize("node", [SPOKE, HUB])
def test_everything_is_back(node):
    before = picture(node)
    with between("edge2", "edge3") as seen:
        lab.machine("restart", node, "--time", "10")
        lab.wait_for(node, "test $(systemctl is-system-running) = running", 120)
        lab.all_ready("edge1")
        for other in NODES:
            if other != node:
                address = f"172.30.0.{NODES.index(other) + 1}"
                lab.wait_for(node, f"ping -q -c 1 -W 1 {address}", 60)
    assert seen["broken"] == ""
    assert seen["udp"]["longest_s"] < 4
    assert picture(node) == before


def test_the_managers_of_its_network_may_be_restarted():
    for node, unit in ((HUB, "systemd-networkd"), (SPOKE, "NetworkManager")):
        before = picture(node)
        lab.inside(node, f"systemctl restart {unit}")
        lab.wait_for(node, f"systemctl is-active --quiet {unit} && ping -q -c 1 -W 1 172.30.0.2", 30)
        lab.wait_for(node, NO_JOBS, 30)
        assert picture(node) == before, unit


def test_docker_wants_its_address_first_and_starts_without_it_too():
    shown = lab.inside(SPOKE, "systemctl show docker.service -p Wants -p After -p Requires")
    found = dict(line.split("=", 1) for line in shown.splitlines())
    own = f"overssh-tun{1001 + NODES.index(SPOKE)}.service"
    assert own in found["Wants"].split()
    assert own in found["After"].split()
    assert "overssh" not in found["Requires"]


def test_no_node_is_left_without_its_links():
    for node in NODES:
        units = json.loads(lab.inside(node, "systemctl list-units --output=json 'overssh-link-*'"))
        assert all(unit["active"] == "active" for unit in units), node
    assert lab.play("overssh.swarm.site").total("changed") == 0
