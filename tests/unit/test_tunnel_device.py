# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a tun device, and whose it is: asked of the kernel."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel import device_owner, holds

TUNSETIFF = 0x400454CA
TUN_WITHOUT_HEADER = 0x1001
DEVICE = "tun4040"


@pytest.fixture
def held() -> Iterator[None]:
    """This process holds the device, which goes away with it."""
    try:
        handle = os.open("/dev/net/tun", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no tun devices here: {error}")
    try:
        fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), TUN_WITHOUT_HEADER))
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
    assert device_owner(DEVICE) == ""


def test_what_is_not_there_is_held_by_nobody() -> None:
    assert not holds(0, DEVICE)
    assert device_owner("tun4041") is None
    assert not Path("/sys/class/net/tun4041").exists()
