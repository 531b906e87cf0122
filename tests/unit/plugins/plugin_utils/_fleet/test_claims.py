# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others on a host have of what the fleet is to have: their files as they are read, and what is said of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._host import managers, sysctl, vxlan
from ansible_collections.overssh.swarm.plugins.module_utils._linux.devices import Device, Vxlan

from tests.unit.plugins.plugin_utils._fleet.fleets import host, planned

THREE: dict[str, dict[str, Any]] = {
    "cloud1": {"overssh_hub": True, "ansible_host": "198.51.100.7"},
    "edge1": {},
    "edge2": {},
}


def warned(node: str, **found: Any) -> list[str]:
    plan = planned(THREE, **{node: host(**found)})
    assert plan["problems"] == []
    warnings: list[str] = plan["warnings"]
    return warnings


def claims(tmp_path: Path, texts: dict[str, str], running: bool = True) -> list[dict[str, Any]]:
    for name, text in texts.items():
        stem, _under, suffix = name.rpartition("_")
        (tmp_path / f"{stem}.{suffix}").write_text(text, encoding="utf-8")
    return [asdict(claim) for claim in managers.networkd([str(tmp_path)], running)]


ALL = "[Match]\nName=*\n[Network]\nDHCP=yes\n"


def test_a_file_of_networkd_that_takes_all_devices_is_named(tmp_path: Path) -> None:
    (said,) = warned("edge1", managers=claims(tmp_path, {"00-b_network": ALL}))
    assert said == (
        f"edge1: systemd-networkd has * in {tmp_path}/00-b.network line 2, which fits tun1002 and 1 more, and takes "
        "their addresses and routes away when it is reloaded; narrow it, so that it is not about devices called "
        "tun1002 and 1 more."
    )


@pytest.mark.parametrize(
    "texts",
    [
        {"00-b_network": ALL, "00-a_network": "[Match]\nName=tun*\n[Link]\nUnmanaged=yes\n"},
        {"10-netplan-all_network": ALL, "99-default_network": ALL},
        {"00-b_network": "[Match]\nName=eth*  en*\n"},
        {"00-b_network": "[Match]\nName=!tun*\n"},
        {"00-b_network": "[Match]\nName=*\nType=ether\n"},
        {"00-b_network": "[Match]\nMACAddress=00:11:22:33:44:55\n"},
        {"00-b_network": "[Network]\nDHCP=yes\n"},
        {"b_link": "[Match]\nOriginalName=*\n[Link]\nNamePolicy=keep kernel\n"},
        {"b_netdev": "[NetDev]\nName=br0\nKind=bridge\n"},
    ],
)
def test_files_that_leave_our_devices_alone_are_not_named(tmp_path: Path, texts: dict[str, str]) -> None:
    assert warned("edge1", managers=claims(tmp_path, texts)) == []


@pytest.mark.parametrize(
    ("texts", "running", "words"),
    [
        ({"00-b_network": "# all\n[Match]\nName=!eth0\n"}, True, "has eth0 in {}/00-b.network line 3"),
        ({"00-b_network": "[Match]\nKind=tun\n"}, True, "has * in {}/00-b.network line 2"),
        ({"00-b_network": "[Match]\nName=t?n[0-9]*\n"}, True, "fits tun1002 and 1 more"),
        ({"b_link": "[Match]\nOriginalName=tun*\n[Link]\nMTUBytes=1400\n"}, False, "and gives them the MTU 1400"),
        (
            {"b_netdev": "[NetDev]\nName=tun1001\nKind=tun\n"},
            True,
            "which fits tun1001, and makes a device of that name",
        ),
        ({"00-netplan-x_network": ALL}, True, "netplan has * in"),
    ],
)
def test_files_that_do_not_are(tmp_path: Path, texts: dict[str, str], running: bool, words: str) -> None:
    (said,) = warned("edge1", managers=claims(tmp_path, texts, running))
    assert words.format(tmp_path) in said


def test_where_networkd_does_not_run_its_files_do_nothing(tmp_path: Path) -> None:
    assert claims(tmp_path, {"00-b_network": ALL}, running=False) == []


def test_stanzas_with_our_names_are_found(tmp_path: Path) -> None:
    there = tmp_path / "interfaces"
    there.write_text("auto lo tun1001\nallow-hotplug eth0\niface tun1001 inet manual\n")
    found = [(claim.place.rpartition("/")[2], claim.patterns) for claim in managers.ifupdown(str(there))]
    assert found == [
        ("interfaces line 1", ("lo", "tun1001")),
        ("interfaces line 2", ("eth0",)),
        ("interfaces line 3", ("tun1001",)),
    ]


DHCPCD = (
    "edge1: dhcpcd takes tun1001 and tun1002, as {} does not keep it from them, and gives them addresses by which the "
    "nodes at their other ends can't be reached any more; name them there in a line 'denyinterfaces', and restart it."
)
CONNMAN = (
    "edge1: ConnMan takes tun1001 and tun1002, as {} does not keep it from them, and sets them down whenever it "
    "starts; name them there in NetworkInterfaceBlacklist, beside what stands in it or what it is by default, and "
    "restart it."
)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("hostname\npersistent\n", ""),
        ("# deny\nallowinterfaces eth*, tun*\n", " line 2"),
        ("denyinterfaces veth* wlan0\ninterface eth0\n", ""),
        ("denyinterfaces tun1*\n", None),
        ("denyinterfaces wlan0\ndenyinterfaces eth0,tun1002 tun1003 tun1001\n", None),
        ("allowinterfaces eth* en*\n", None),
    ],
)
def test_a_dhcpcd_that_takes_our_devices_is_refused(text: str, place: str | None) -> None:
    found = [asdict(claim) for claim in managers.dhcpcd("/etc/dhcpcd.conf", text)]
    plan = planned(THREE, edge1=host(managers=found))
    assert plan["problems"] == ([] if place is None else [DHCPCD.format(f"/etc/dhcpcd.conf{place}")])
    assert plan["warnings"] == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[General]\n", ""),
        ("[General]\nNetworkInterfaceBlacklist=vmnet,virbr\n", " line 2"),
        ("[General]\nNetworkInterfaceBlacklist=vmnet,tun1\n", None),
    ],
)
def test_a_connman_that_takes_them_is_named(text: str, place: str | None) -> None:
    found = [asdict(claim) for claim in managers.connman("/etc/connman/main.conf", text)]
    said = [] if place is None else [CONNMAN.format(f"/etc/connman/main.conf{place}")]
    assert warned("edge1", managers=found) == said


@pytest.mark.parametrize(
    ("command", "all_of_them"),
    [
        (["dhcpcd: [manager] [ip4] [ip6]"], True),
        (["dhcpcd: [privileged proxy]"], False),
        (["dhcpcd: eth0 [ip4]"], False),
        (["/usr/sbin/dhcpcd", "-q", "-b"], True),
        (["/sbin/dhcpcd", "-w", "eth0"], False),
        # It has ended meanwhile.
        ([], False),
    ],
)
def test_a_dhcpcd_of_one_interface_takes_no_other(command: list[str], all_of_them: bool) -> None:
    assert managers.takes_all(command, ["lo", "eth0"]) is all_of_them


@pytest.mark.parametrize(
    ("node", "line", "harms"),
    [
        ("cloud1", "net.ipv4.ip_forward = 0", True),
        ("cloud1", "net/ipv4/ip_forward=0", True),
        ("cloud1", "-net.ipv4.conf.all.forwarding=0", True),
        ("cloud1", "net.ipv4.conf.*.forwarding=0", True),
        ("cloud1", "net.ipv4.conf.eth0.forwarding=0", False),
        ("cloud1", "net.ipv4.conf.default.forwarding=0", False),
        ("cloud1", "#net.ipv4.ip_forward=0", False),
        ("cloud1", "net.ipv4.ip_forward=0\nnet.ipv4.ip_forward=1", False),
        ("cloud1", "net.ipv6.conf.all.forwarding=0", False),
        ("edge1", "net.ipv4.ip_forward=0", False),
        ("edge1", "net.ipv4.conf.*.rp_filter=1", True),
        ("edge1", "net.ipv4.conf.all.rp_filter=1", False),
        ("edge1", "net.ipv4.conf.*.rp_filter=2", False),
    ],
)
def test_files_of_sysctl_that_undo_what_our_devices_need(node: str, line: str, harms: bool) -> None:
    found = warned(node, sysctl=sysctl.assignments([("/etc/sysctl.d/90.conf", f"# hardened\n{line}\n")]))
    assert len(found) == harms
    assert not harms or "in /etc/sysctl.d/90.conf line 2 takes effect again whenever 'sysctl --system' runs" in found[0]


def test_ipv6_counts_where_there_is_an_underlay_of_it() -> None:
    fleet = {name: {**variables, "overssh_underlay6": "fd8a:91c4:6e27::/64"} for name, variables in THREE.items()}
    found = sysctl.assignments([("f", "net.ipv6.conf.default.disable_ipv6=1\nnet.ipv6.conf.all.forwarding=0\n")])
    warnings = planned(fleet, cloud1=host(sysctl=found))["warnings"]
    assert [sentence.split(" takes effect")[0] for sentence in warnings] == [
        "cloud1: net.ipv6.conf.default.disable_ipv6 = 1 in f line 1",
        "cloud1: net.ipv6.conf.all.forwarding = 0 in f line 2",
    ]


VXLAN = {"name": "vx0", "port": 4789, "vni": 10, "alone": False}


@pytest.mark.parametrize(
    ("found", "problem", "warning"),
    [
        ({"vxlans": [VXLAN]}, "", ""),
        ({"vxlans": [{**VXLAN, "alone": True}]}, "edge1: the VXLAN device vx0 has UDP port 4789 for itself", ""),
        ({"vxlans": [{**VXLAN, "alone": True, "port": 8472}]}, "", ""),
        ({"vxlans": [{**VXLAN, "vni": 4097}]}, "", "has UDP port 4789 and the number 4097, which Docker may take"),
        (
            {"vxlan_port": {"port": 4789, "holder": "vpnd (vpn.service)"}},
            "edge1: vpnd (vpn.service) has UDP port 4789",
            "",
        ),
        ({"vxlan_port": {"port": 4789, "holder": ""}}, "", ""),
    ],
)
def test_others_at_the_port_of_vxlan(found: dict[str, Any], problem: str, warning: str) -> None:
    plan = planned(THREE, edge1=host(**found))
    for sentence, said in ((problem, plan["problems"]), (warning, plan["warnings"])):
        assert sentence in said[0] if sentence else said == []


def test_vxlan_devices_are_read_with_what_keeps_others_from_their_port() -> None:
    found = [
        Device("eth0"),
        Device("a", vxlan=Vxlan(4789, 0, alone=True)),
        Device("b", vxlan=Vxlan(8472, 7, alone=False)),
    ]
    assert vxlan.devices(found) == [
        {"name": "a", "port": 4789, "vni": 0, "alone": True},
        {"name": "b", "port": 8472, "vni": 7, "alone": False},
    ]


def test_the_sockets_of_a_port_are_found_in_the_kernels_tables() -> None:
    row = "1: 00000000:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1399848 2 0 0"
    assert vxlan.of_port(f"  sl  local_address\n{row}", 4789) == {"1399848"}
    assert vxlan.of_port(row, 4790) == frozenset()
