# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tun device of this end, and who else holds it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import struct
import time
from collections.abc import Iterator

from wire import AUTO, LARGEST, VNET_HEADER
from words import EndedError, RefusedError

TAKE_OVER_SECONDS = 5.0

# linux/if_tun.h
CLONE_DEVICE = "/dev/net/tun"
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ, TUNSETVNETLE = 0x400454CA, 0x400454D0, 0x400454D8, 0x400454DC
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x0001, 0x1000, 0x4000, 0x0100
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 0x01, 0x02, 0x04


def mtu_of(device: str) -> int:
    """The device's MTU in bytes; RefusedError where there is no such device."""
    try:
        with open(f"/sys/class/net/{device}/mtu", encoding="ascii") as text:
            return int(text.read())
    except OSError as error:
        raise RefusedError(f"there is no device {device} on this host") from error


def open_device(device: str, lanes: int | str) -> int:
    """One queue of the device, which hands out and takes whole segments."""
    mtu_of(device)  # without this the kernel would be asked to make a device of that name
    try:
        descriptor = os.open(CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RefusedError(
            f"{CLONE_DEVICE} can't be opened on this host ({error.strerror}); its mode has to be 0666"
        ) from error
    several = lanes not in (1, AUTO)
    flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if several else 0)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", device.encode(), flags))
        fcntl.ioctl(descriptor, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER))
        fcntl.ioctl(descriptor, TUNSETVNETLE, struct.pack("i", 1))
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EBUSY:
            raise EndedError(f"the device {device} is in use by another process on this host") from error
        if error.errno == errno.EINVAL:
            kind = "one queue" if several else "several queues"
            raise RefusedError(
                f"the device {device} on this host was made for {kind}, and the link has lanes: {lanes}"
            ) from error
        raise RefusedError(
            f"the device {device} on this host can't be opened ({error.strerror}); it has to belong to the "
            "account that the link runs as"
        ) from error
    return descriptor


def release(descriptor: int) -> None:
    """Close the device; offloads that stay on it would make a plain ssh -w lose every TCP packet."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, 0)
    os.close(descriptor)


def discard(descriptor: int) -> None:
    """Throw away what the device held before the link was complete.

    From there on each flow keeps to one lane: while queues are still added, the kernel moves flows between them.
    """
    scratch = bytearray(LARGEST)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.readv(descriptor, [scratch])


def holders(device: str) -> Iterator[int]:
    """The other processes of this account that have the device open."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):  # it ended meanwhile, or is none of ours to look at
                if os.stat(f"/proc/{name}").st_uid == os.getuid() and _holds(name, device):
                    yield int(name)


def _holds(process: str, device: str) -> bool:
    if os.readlink(f"/proc/{process}/ns/net") != os.readlink("/proc/self/ns/net"):
        return False  # a device of that name there is another one
    for descriptor in os.listdir(f"/proc/{process}/fdinfo"):
        with open(f"/proc/{process}/fdinfo/{descriptor}", encoding="utf-8", errors="replace") as text:
            if f"iff:\t{device}\n" in text.read():
                return True
    return False


def take_over(device: str) -> None:
    """End what an earlier session of the same key left behind: it holds the device, and may do so for long."""
    deadline = time.monotonic() + TAKE_OVER_SECONDS
    left = list(holders(device))
    for process in left:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        left = list(holders(device))
