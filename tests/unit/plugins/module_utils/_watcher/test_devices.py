# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watcher takes out of a unit and out of the kernel's words, and when it gives way."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._linux.netlink import messages
from ansible_collections.overssh.swarm.plugins.module_utils._tun.model import Address, Desired, Route
from ansible_collections.overssh.swarm.plugins.module_utils._tun.unit import unit_text
from ansible_collections.overssh.swarm.plugins.module_utils._watcher.devices import KINDS, concerns, parts, subject
from ansible_collections.overssh.swarm.plugins.module_utils._watcher.fights import ROUND_SECONDS, ROUNDS, TRUCE, Fights

TEXT = unit_text(
    Desired(
        "tun1001",
        owner="overssh",
        mtu=9000,
        addresses=(Address("172.30.0.2", 32, "172.30.0.1"), Address("fd00:30::2", 128)),
        routes=(Route("172.30.0.0/16", "172.30.0.2", 2000, "172.30.0.1", 7946),),
        forwarding=True,
        forwarding6=False,
        failover=True,
        incoming_table=7946,
    ),
    "/sbin/ip",
)
WHAT = [
    "the device itself",
    "the MTU 9000",
    "the queue 500",
    "the setting net.ipv4.conf.tun1001.forwarding=1",
    "the setting net.ipv6.conf.tun1001.force_forwarding=0",
    "the setting net.ipv4.conf.tun1001.ignore_routes_with_linkdown=1",
    "the setting net.ipv4.conf.tun1001.rp_filter=2",
    "the setting net.ipv6.conf.tun1001.ignore_routes_with_linkdown=1",
    "the 4 rule iif tun1001 priority 7946 lookup 7946",
    "the 4 rule iif tun1001 priority 7947 unreachable",
    "the 6 rule iif tun1001 priority 7946 lookup 7946",
    "the 6 rule iif tun1001 priority 7947 unreachable",
    "the state up",
    "the address 172.30.0.2 peer 172.30.0.1/32",
    "the way to the peer of 172.30.0.2 peer 172.30.0.1/32",
    "the address fd00:30::2/128",
    "the route 172.30.0.0/16 via 172.30.0.1 src 172.30.0.2 metric 2000 table 7946",
]


def nothing(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(argv, 0, "", "")


def test_every_line_of_a_unit_is_looked_after() -> None:
    commands = re.findall(r"^ExecStart=(.*)$", TEXT, re.MULTILINE)
    assert [line for line in commands if not any(re.search(pattern, line) for pattern, _made in KINDS)] == []
    assert [part.what for part in parts("tun1001", TEXT, nothing)] == WHAT


def message(kind: int, body: bytes, flags: int = 0, process: int = 812) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, process) + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


NEW_LINK = message(16, bytes(16) + attribute(3, b"tun1001\0"))
DELETED_ADDRESS = message(21, struct.pack("=BBBBi", 2, 32, 0, 0, 7))
DELETED_ROUTE = message(25, bytes(12) + attribute(4, struct.pack("=i", 7)))
TAKEN_ROUTE = message(24, bytes([2, 16, *[0] * 10]) + attribute(1, bytes([172, 30, 0, 0])), flags=0x100)
NEW_ROUTE, NEW_ADDRESS = message(24, bytes([2, 16, *[0] * 10])), message(20, bytes(8))


@pytest.mark.parametrize(
    ("data", "subjects"),
    [
        (NEW_LINK + DELETED_ADDRESS, ["tun1001", 7]),
        (DELETED_ROUTE, [7]),
        (TAKEN_ROUTE, ["172.30.0.0/16"]),
        (NEW_ROUTE + NEW_ADDRESS, []),
        (message(33, bytes(12) + attribute(3, b"tun1002\0")), ["tun1002"]),
        (message(80, bytes(4) + attribute(1, struct.pack("=i", 7))), [7]),
        (b"\1\0", []),
    ],
)
def test_what_the_kernel_tells_of(data: bytes, subjects: list[int | str]) -> None:
    found = [message for message in messages(data) if concerns(message)]
    assert [subject(message) for message in found] == subjects
    assert {message.process for message in found} <= {812}


def test_it_gives_way_after_some_rounds_and_for_a_while(tmp_path: Path) -> None:
    fights = Fights(str(tmp_path / "told"))
    assert all(fights.round("tun1001", "the MTU 9000", "nmcli", float(now)) for now in range(ROUNDS))
    assert not fights.round("tun1001", "the MTU 9000", "nmcli", 6.0)
    assert fights.is_left("tun1001", "the MTU 9000", 7.0)
    assert not fights.is_left("tun1001", "the queue 500", 7.0)
    assert fights.pause(7.0) == TRUCE - 1
    assert json.loads((tmp_path / "told").read_text(encoding="utf-8")) == [
        {"subject": "tun1001", "what": "the MTU 9000", "by": "nmcli"}
    ]
    assert not fights.is_left("tun1001", "the MTU 9000", 6.0 + TRUCE)
    assert fights.round("tun1001", "the MTU 9000", "nmcli", 7.0 + TRUCE)


def test_what_happens_now_and_then_is_no_fight(tmp_path: Path) -> None:
    fights = Fights(str(tmp_path / "told"))
    times = [number * ROUND_SECONDS / ROUNDS for number in range(50)]
    assert all(fights.round("tun1001", "the MTU 9000", "nmcli", now) for now in times)
