# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of devices, before a kernel that answers as the real one does now and then; that is in tests/netns."""

from __future__ import annotations

import ast
import contextlib
import errno
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._linux import devices
from ansible_collections.overssh.swarm.plugins.module_utils._linux.devices import (
    Address,
    Device,
    carriers,
    find,
    read_addresses,
    read_devices,
    smallest_mtu,
)
from ansible_collections.overssh.swarm.plugins.module_utils._linux.netlink import HEADER, attribute

PLUGINS = Path(__file__).resolve().parents[5] / "plugins"
CHANGED_MEANWHILE = 0x10


class Kernel:
    """Answers each request with the next of these, each a list of what one recv gives."""

    def __init__(self, *answers: Iterable[bytes]) -> None:
        self.answers = [list(answer) for answer in answers]
        self._left: list[bytes] = []

    def send(self, _request: bytes) -> None:
        self._left = self.answers.pop(0)

    def recv(self, _most: int) -> bytes:
        return self._left.pop(0)


def message(kind: int, body: bytes, flags: int = 2) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def link(index: int, name: str, mtu: int = 1500) -> bytes:
    body = struct.pack("=BxHiII", 0, 1, index, 0x1, 0) + attribute(3, name.encode() + b"\0")
    return message(16, body + attribute(4, struct.pack("=I", mtu)))


def address(index: int, last: int) -> bytes:
    own = bytes([10, 0, 0, last])
    return message(20, struct.pack("=BBBBI", 2, 24, 0, 0, index) + attribute(1, own) + attribute(2, own))


def end(flags: int = 2) -> bytes:
    return message(3, struct.pack("=i", 0), flags)


def refusal(number: int) -> bytes:
    return message(2, struct.pack("=i", -number) + bytes(16))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = Kernel()
    monkeypatch.setattr(devices, "_kernel", lambda: contextlib.nullcontext(found))
    return found


def test_devices_come_in_the_order_in_which_they_were_made(kernel: Kernel) -> None:
    kernel.answers = [[link(7, "b") + link(2, "a"), link(3, "c"), end()], [address(3, 1), end()]]
    assert [(device.name, device.own) for device in read_devices()] == [("a", ()), ("c", ("10.0.0.1",)), ("b", ())]


def test_a_list_that_changed_meanwhile_is_asked_for_again(kernel: Kernel) -> None:
    kernel.answers = [[address(1, 1), end(CHANGED_MEANWHILE)], [address(1, 2), end()]]
    assert read_addresses() == {1: [Address("10.0.0.2", 24)]}
    assert kernel.answers == []


def test_one_that_always_changes_is_near_enough(kernel: Kernel) -> None:
    kernel.answers = [[address(1, number), end(CHANGED_MEANWHILE)] for number in range(9)]
    assert read_addresses() == {1: [Address("10.0.0.4", 24)]}


def test_no_device_is_no_error_and_a_refusal_is(kernel: Kernel) -> None:
    kernel.answers = [[refusal(errno.ENODEV)], [refusal(errno.EPERM)], [refusal(errno.EPERM)]]
    assert find("tun1001") is None
    with pytest.raises(OversshError, match="the kernel does not tell of a device: Operation not permitted"):
        find("tun1001")
    with pytest.raises(OversshError, match="the kernel does not tell of its devices: Operation not permitted"):
        read_addresses()


def test_without_netlink_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_words: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(devices.socket, "socket", refused)
    with pytest.raises(OversshError, match="the kernel can't be asked about its devices: Address family not"):
        read_devices()


def test_devices_are_found_by_an_address_of_theirs_however_it_is_spelled() -> None:
    tunnels = [
        Device("tun1002", 9000, addresses=(Address("fd00::1", 128, "fd00::2"),)),
        Device("tun1003", 1500, addresses=(Address("fd00::1", 128, "fd00::3"),)),
        Device("eth0", 1400, addresses=(Address("fd00::4", 64),)),
    ]
    assert [device.name for device in carriers(tunnels, "fd00:0::1")] == ["tun1002", "tun1003"]
    assert smallest_mtu(tunnels, "fd00:0::1") == 1500
    assert smallest_mtu(tunnels, "fd00::9") is None
    assert carriers(tunnels, "no address") == ()


def test_pyroute2_is_loaded_by_none_but_who_changes_devices() -> None:
    """It takes longer to load than most modules take, and preflight has to be able to say that it is missing."""
    found = {
        path.relative_to(PLUGINS).parts[1]
        for path in PLUGINS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pyroute2"
    }
    assert found == {"_tun"}
