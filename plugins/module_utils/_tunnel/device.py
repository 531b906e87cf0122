# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tun device under a link, as this host's kernel shows it: whose it is, of what kind, and who holds it."""

from __future__ import annotations

import os
import pwd

from .._core.errors import OversshError
from .._core.files import read_text
from .._linux.devices import IFF_TUN, Link, find
from .lanes import Lanes, lanes_at_start
from .model import TUN_MTU_MAX


def require_fit(device: str, transport: str, lanes: Lanes) -> None:
    """OversshError where the device is there and can't carry the link; one that is missing is for the link to name."""
    link = find(device)
    several = several_queues(link)
    if transport == "tun" and link is not None and link.mtu > TUN_MTU_MAX:
        raise OversshError(
            f"the MTU of {device} is {link.mtu}, and over ssh -w every packet from the first one of more than "
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


def owner_of(link: Link | None) -> str | None:
    """The account that a device belongs to: "" where it is nobody's, None where there is no such device."""
    if link is None:
        return None
    if link.tun is None or link.tun.owner is None:
        return ""
    try:
        return pwd.getpwuid(link.tun.owner).pw_name
    except KeyError:
        return f"the account of number {link.tun.owner}"


def several_queues(link: Link | None) -> bool | None:
    """Whether a device was made for several queues, None where it is no tun device or there is none."""
    return link.tun.multi_queue if link and link.tun and link.tun.flags & IFF_TUN else None


def has_carrier(link: Link | None) -> bool:
    """Whether a device is up and a process holds it."""
    return link is not None and link.up and link.carrier
