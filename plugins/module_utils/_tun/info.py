# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tun devices of this host as modules return them; only looks."""

from __future__ import annotations

from typing import Any

from .._watcher.unit import devices_left_alone
from .model import device_result
from .observe import netlink, read_devices


def info() -> dict[str, Any]:
    """All devices of ours, and their parts that the watcher leaves alone."""
    with netlink() as kernel:
        devices = [device_result(device) for device in read_devices(kernel)]
    return {"devices": devices, "left_alone": devices_left_alone()}
