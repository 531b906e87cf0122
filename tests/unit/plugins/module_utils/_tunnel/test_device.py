# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a tun device, whose it is and of what kind: asked of the kernel."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._linux.devices import find
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.device import (
    has_carrier,
    holds,
    owner_of,
    require_fit,
    several_queues,
)

TUNSETIFF, SIOCSIFMTU = 0x400454CA, 0x8922
TUN, TAP, SEVERAL_QUEUES = 0x1001, 0x1002, 0x1101
DEVICE = "tun4040"


@pytest.fixture
def held(request: pytest.FixtureRequest) -> Iterator[None]:
    """This process holds the device, which goes away with it."""
    flags = getattr(request, "param", TUN)
    try:
        handle = os.open("/dev/net/tun", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no tun devices here: {error}")
    try:
        fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), flags))
    except OSError as error:
        os.close(handle)
        pytest.skip(f"no tun devices here: {error}")
    yield
    os.close(handle)


@pytest.mark.usefixtures("held")
def test_the_holder_is_known_by_its_process() -> None:
    assert holds(os.getpid(), DEVICE)
    assert not holds(os.getpid(), "tun404")
    assert not holds(os.getppid(), DEVICE)
    found = find(DEVICE)
    assert owner_of(found) == ""
    assert not found.up
    assert not has_carrier(found)  # a device that is down carries nothing, whoever holds it


@pytest.mark.parametrize(("held", "several"), [(TUN, False), (SEVERAL_QUEUES, True), (TAP, None)], indirect=["held"])
@pytest.mark.usefixtures("held")
def test_its_queues_are_known_where_it_is_a_tun(several: bool | None) -> None:
    assert several_queues(find(DEVICE)) is several


@pytest.mark.parametrize(
    ("held", "lanes", "fitting", "sentence"),
    [
        (TUN, 2, 1, "was made with one queue, and the link has lanes: 2; make it anew with multi_queue: true"),
        (TUN, 2, "auto", "was made with one queue, and the link has lanes: 2; make it anew with multi_queue: true"),
        (SEVERAL_QUEUES, 1, 2, "was made with several queues, and the link has lanes: 1; make it anew with"),
        (SEVERAL_QUEUES, "auto", 2, "was made with several queues, and the link has lanes: auto; make it anew with"),
    ],
    indirect=["held"],
)
@pytest.mark.usefixtures("held")
def test_a_device_of_the_wrong_kind_is_refused(lanes: int | str, fitting: int | str, sentence: str) -> None:
    with pytest.raises(OversshError, match=f"the device {DEVICE} on this host {sentence}"):
        require_fit(DEVICE, "stream", lanes)
    require_fit(DEVICE, "stream", fitting)


@pytest.mark.usefixtures("held")
def test_a_large_mtu_is_for_streams_only() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for mtu in (16380, 16381):
            fcntl.ioctl(asking, SIOCSIFMTU, struct.pack("16si20x", DEVICE.encode(), mtu))
            require_fit(DEVICE, "stream", 1)
            if mtu == 16380:
                require_fit(DEVICE, "tun", 1)
    with pytest.raises(OversshError, match=f"the MTU of {DEVICE} is 16381, and over ssh -w every packet"):
        require_fit(DEVICE, "tun", 1)


def test_what_is_not_there_is_held_by_nobody() -> None:
    assert not holds(0, DEVICE)
    assert find("tun4041") is None
    assert owner_of(None) is None
    assert several_queues(None) is None
    assert not has_carrier(None)
    require_fit("tun4041", "tun", 1)  # the link will name it
    assert not Path("/sys/class/net/tun4041").exists()
