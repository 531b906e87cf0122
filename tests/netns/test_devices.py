# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of devices on the real kernel, beside what `ip` says of the same devices."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._linux.devices import IFF_MULTI_QUEUE, IFF_TAP, IFF_TUN

# tun5 and tun7 are held for as long as it runs; tun7 is not up.
PROGRAM = """
import dataclasses, fcntl, json, os, struct, subprocess
from ansible_collections.overssh.swarm.plugins.module_utils._linux import devices

held = {}
for name in ("tun5", "tun7"):
    held[name] = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(held[name], 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1101 if name == "tun5" else 0x5001))
asked = subprocess.run(["ip", "-json", "-details", "address", "show"], check=True, capture_output=True, text=True)
links, told = devices.read_links(), devices.read_devices()
assert [dataclasses.asdict(devices.find(link.name)) for link in links] == [dataclasses.asdict(link) for link in links]
assert {link.name for link in links} == devices.names()
assert devices.find("tun9") is devices.find("a-name-of-more-than-15-bytes") is devices.find("") is None
addresses = {link.name: devices.addresses_of(link.index) for link in links}
assert addresses == {device.name: list(device.addresses) for device in told}
print(json.dumps({"ip": json.loads(asked.stdout), "told": [dataclasses.asdict(device) for device in told]}))
"""
LAID = (
    "link set lo up",
    "link add br0 type bridge",
    "link add vx0 type vxlan id 5 dstport 4789 gbp",
    "link add vx1 type vxlan id 6 dstport 8472",
    "link add vx2 type vxlan external dstport 4790",
    "link set vx0 master br0",
    "link set vx1 mtu 1300 txqueuelen 30 up",
    "tuntap add dev tun5 mode tun user nobody group 7 multi_queue",
    "tuntap add dev tap5 mode tap",
    "link set tun5 mtu 1400 up alias overssh",
    "address add 10.1.1.1 peer 10.2.2.2/32 dev tun5",
    "address add 10.1.1.1/32 dev tun5",
    "address add fd00::1 peer fd00::2/128 dev tun5 nodad",
    "address add fd00::9/64 dev tun5 nodad",
    "address add 10.9.9.1/24 brd + scope link dev br0",
)


@pytest.fixture(scope="module")
def told() -> Iterator[dict[str, Any]]:
    """What the reader and `ip` tell of the same devices, each by its name."""
    name = f"overssh-tun-{os.getpid()}-devices"
    inside = ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in LAID:
            subprocess.run(["ip", "-n", name, *words.split()], check=True)
        done = subprocess.run([*inside, sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        yield {
            "ip": {link["ifname"]: link for link in found["ip"]},
            "told": {device["name"]: device for device in found["told"]},
        }
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["ip", "netns", "delete", name], check=True)


def test_it_tells_what_ip_tells(told: dict[str, Any]) -> None:
    assert list(told["told"]) == list(told["ip"])
    for name, shown in told["ip"].items():
        info = shown.get("linkinfo", {})
        assert {**told["told"][name], "carrier": None, "tun": None, "vxlan": None} == {
            "name": name,
            "index": shown["ifindex"],
            "mtu": shown["mtu"],
            "txqueuelen": shown["txqlen"],
            "kind": info.get("info_kind", ""),
            "alias": shown.get("ifalias", ""),
            "up": "UP" in shown["flags"],
            "carrier": None,
            "port_of": shown.get("master", ""),
            "port_kind": info.get("info_slave_kind", ""),
            "tun": None,
            "vxlan": None,
            "addresses": [
                {
                    "own": each["local"],
                    "prefix": each["prefixlen"],
                    "peer": each.get("address"),
                    "scope": each["scope"],
                }
                for each in shown["addr_info"]
            ],
        }
        if "UP" in shown["flags"]:  # of others `ip` does not tell it
            assert told["told"][name]["carrier"] == ("LOWER_UP" in shown["flags"])


def test_it_tells_who_may_have_a_tun_device_and_of_what_kind_it_is(told: dict[str, Any]) -> None:
    tuns = {name: device["tun"] for name, device in told["told"].items() if device["tun"]}
    assert sorted(tuns) == ["tap5", "tun5", "tun7"]
    assert tuns["tun5"]["flags"] & (IFF_TUN | IFF_MULTI_QUEUE) == IFF_TUN | IFF_MULTI_QUEUE
    assert (tuns["tun5"]["owner"], tuns["tun5"]["group"]) == (pwd.getpwnam("nobody").pw_uid, 7)
    assert tuns["tun7"] == {"flags": 0x5001, "owner": None, "group": None}
    assert tuns["tap5"]["flags"] & (IFF_TUN | IFF_TAP) == IFF_TAP


def test_it_tells_that_a_process_holds_a_device_that_is_not_up(told: dict[str, Any]) -> None:
    found = {name: (told["told"][name]["up"], told["told"][name]["carrier"]) for name in ("tun5", "tun7", "tap5")}
    assert found == {"tun5": (True, True), "tun7": (False, True), "tap5": (False, False)}


def test_it_tells_which_ports_of_vxlan_nobody_else_may_have(told: dict[str, Any]) -> None:
    found = {name: device["vxlan"] for name, device in told["told"].items() if device["vxlan"]}
    assert found == {
        "vx0": {"port": 4789, "vni": 5, "alone": True},
        "vx1": {"port": 8472, "vni": 6, "alone": False},
        "vx2": {"port": 4790, "vni": 0, "alone": True},
    }
