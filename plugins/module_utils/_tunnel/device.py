# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tun device under a link, as this host's kernel shows it: whose it is, of what kind, and who holds it."""

from __future__ import annotations

import os
import pwd

from .._core.errors import OversshError
from .._core.files import read_text
from .lanes import Lanes, lanes_at_start
from .model import TUN_MTU_MAX

# linux/if.h and linux/if_tun.h
IFF_UP = 0x1
IFF_TUN, IFF_MULTI_QUEUE = 0x0001, 0x0100


def require_fit(device: str, transport: str, lanes: Lanes) -> None:
    """OversshError where the device is there and can't carry the link; one that is missing is for the link to name."""
    mtu, several = mtu_of(device), several_queues(device)
    if transport == "tun" and mtu > TUN_MTU_MAX:
        raise OversshError(
            f"the MTU of {device} is {mtu}, and over ssh -w every packet from the first one of more than "
            f"{TUN_MTU_MAX} bytes on is lost; make it smaller at both ends, or take transport: stream"
        )
    if several is not None and several != (lanes_at_start(lanes) > 1):
        raise OversshError(wrong_kind(device, "on this host", several, lanes))


def wrong_kind(device: str, where: str, several: bool, lanes: Lanes) -> str:
    """The sentence for a device whose queues don't fit the lanes."""
    had, wanted = ("several queues", "false") if several else ("one queue", "true")
    return (
        f"the device {device} {where} was made with {had}, and the link has lanes: {lanes}; make it anew with "
        f"multi_queue: {wanted}"
    )


def holds(pid: int, device: str) -> bool:
    """Whether the process has the tun device open."""
    try:
        with os.scandir(f"/proc/{pid}/fdinfo") as files:
            return any(f"iff:\t{device}\n" in (read_text(file.path) or "") for file in files)
    except (OSError, OversshError):  # it ends meanwhile
        return False


def device_owner(device: str) -> str | None:
    """The account that the device belongs to: "" where it is nobody's, None where there is no such device."""
    owner = sysfs(device, "owner")
    if owner is None:
        return None if sysfs(device, "ifindex") is None else ""
    if owner == "-1":
        return ""
    try:
        return pwd.getpwuid(int(owner)).pw_name
    except KeyError:
        return f"the account of number {owner}"


def mtu_of(device: str) -> int:
    """Its MTU in bytes, 0 where there is no such device."""
    return int(sysfs(device, "mtu") or 0)


def several_queues(device: str) -> bool | None:
    """Whether it was made for several queues, None where it is no tun device or there is none."""
    flags = int(sysfs(device, "tun_flags") or "0", 16)
    return bool(flags & IFF_MULTI_QUEUE) if flags & IFF_TUN else None


def is_up(device: str) -> bool:
    """Whether it is set up."""
    return bool(int(sysfs(device, "flags") or "0", 16) & IFF_UP)


def has_carrier(device: str) -> bool:
    """Whether a process holds it."""
    return sysfs(device, "carrier") == "1"


def sysfs(device: str, attribute: str) -> str | None:
    """One of its attributes, None where it can't be had."""
    try:
        text = read_text(f"/sys/class/net/{device}/{attribute}")
    except OversshError:  # "carrier" of a device that is down can't be read
        return None
    return None if text is None else text.strip()
