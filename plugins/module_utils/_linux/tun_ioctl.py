# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ioctls of /dev/net/tun. Source: linux/if_tun.h, linux/ethtool.h."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator

from .._core.errors import OversshError
from .devices import IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TUN, IFF_VNET_HDR, find

CLONE_DEVICE = "/dev/net/tun"
# Of the flags of a device, the ones that the next program to open it may change.
KEPT = IFF_MULTI_QUEUE | IFF_NO_PI | IFF_VNET_HDR
TUNSETIFF, TUNSETPERSIST, TUNSETOWNER, TUNSETGROUP, TUNSETOFFLOAD = (
    0x400454CA,
    0x400454CB,
    0x400454CC,
    0x400454CE,
    0x400454D0,
)
# In an owner's or a group's place: anybody with CAP_NET_ADMIN, nobody else.
NOBODY_IN_PARTICULAR = -1
SIOCETHTOOL, ETHTOOL_GTXCSUM = 0x8946, 0x16


def create(name: str, uid: int, gid: int, multi_queue: bool) -> None:
    """Make a persistent device for whole packets; uid and gid may be NOBODY_IN_PARTICULAR."""
    with _opened(name, IFF_TUN | IFF_NO_PI | (IFF_MULTI_QUEUE if multi_queue else 0)) as device:
        if uid != NOBODY_IN_PARTICULAR:
            fcntl.ioctl(device, TUNSETOWNER, uid)
        if gid != NOBODY_IN_PARTICULAR:
            fcntl.ioctl(device, TUNSETGROUP, gid)
        fcntl.ioctl(device, TUNSETPERSIST, 1)


def set_owner(name: str, uid: int) -> None:
    """Let an account open the device."""
    with _attached(name) as device:
        fcntl.ioctl(device, TUNSETOWNER, uid)


def set_group(name: str, gid: int) -> None:
    """Let a group open the device."""
    with _attached(name) as device:
        fcntl.ioctl(device, TUNSETGROUP, gid)


def clear_offload(name: str) -> None:
    """Have the kernel hand out whole packets with their checksums again.

    Offload flags stay on a persistent device after the program that set them was killed, and plain ssh then loses every
    TCP packet while ping works.
    """
    with _attached(name) as device:
        fcntl.ioctl(device, TUNSETOFFLOAD, 0)


def flags(name: str) -> int:
    """The flags of the device's making and use, 0 where it is no tun device."""
    found = find(name)
    return found.tun.flags if found and found.tun else 0


def offloads(name: str) -> bool:
    """Whether the kernel leaves checksums to the reader of the device."""
    request = array.array("B", struct.pack("II", ETHTOOL_GTXCSUM, 0))
    # struct ifreq: the device's name, then a pointer to the request.
    question = struct.pack("16sP16x", name.encode(), request.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            fcntl.ioctl(asking, SIOCETHTOOL, question)
        except OSError:
            return False
    checksums: int = struct.unpack("II", request.tobytes())[1]
    return checksums != 0


@contextlib.contextmanager
def temporary(name: str) -> Iterator[int]:
    """Make a device for whole packets that ends with the block, or with the process however it ends."""
    with _opened(name, IFF_TUN | IFF_NO_PI) as device:
        yield device


@contextlib.contextmanager
def _attached(name: str) -> Iterator[int]:
    """The device opened as it is, where no process has it."""
    # The kernel would give another queue of several to anybody, and flags hold for all of them.
    found = find(name)
    if found and found.up and found.carrier:
        raise OversshError(in_use(name))
    with _opened(name, IFF_TUN | (found.tun.flags if found and found.tun else 0) & KEPT) as device:
        yield device


def in_use(name: str) -> str:
    """The sentence on a device that a process has open."""
    return f"{name} is in use by another process; stop the link that runs over it first"


@contextlib.contextmanager
def _opened(name: str, mode: int) -> Iterator[int]:
    """The device opened, made where it does not exist; OversshError says why it could not be."""
    try:
        device = os.open(CLONE_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise OversshError(f"can't open {CLONE_DEVICE}: {error.strerror}; load the kernel module tun") from error
    try:
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), mode))
        yield device
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise OversshError(in_use(name)) from error
        raise OversshError(f"{name}: the kernel refuses it: {error.strerror}") from error
    finally:
        os.close(device)
