# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inject packets that appear to come in by a device, also where a program holds that device.

A tun device of our own takes them, and its traffic control redirects them to the other device as received. Our device
ends with this process, and its filter with it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from .._core.command import Runner
from .._core.errors import OversshError
from .._linux import tun_ioctl
from .._linux.devices import Address as DeviceAddress
from .._linux.devices import Device, read_devices
from .._linux.packet import Address
from .._nftables.conditions import Network

# Whoever has a port takes what comes in by it, and expects an Ethernet header.
PORTS_OF = ("bridge", "bond", "team")


class Held(NamedTuple):
    """An address of a device; network: its subnet; peer: the address at the other end, where there is only one."""

    own: Address
    network: Network
    peer: Address | None


@dataclass(frozen=True)
class Inlet:
    """The device by which packets are to come in; port_of: the device that it is a port of."""

    name: str
    up: bool
    carrier: bool
    port_of: str
    addresses: tuple[Held, ...]


def read_inlet(name: str) -> Inlet:
    """Read the device from the host."""
    for device in read_devices():
        if device.name == name:
            return inlet(device)
    raise OversshError(f"this host has no interface {name}; in_interface names one that is there")


def inlet(device: Device) -> Inlet:
    """The facts of a device that an injection needs."""
    return Inlet(
        name=device.name,
        up=device.up,
        carrier=device.carrier,
        port_of=device.port_of if device.port_kind in PORTS_OF else "",
        addresses=tuple(_held(address) for address in device.addresses if address.scope != "link"),
    )


def _held(address: DeviceAddress) -> Held:
    there = address.peer or address.own
    return Held(
        own=ipaddress.ip_address(address.own),
        network=ipaddress.ip_interface(f"{there}/{address.prefix}").network,
        peer=ipaddress.ip_address(address.peer) if address.peer else None,
    )


def ends(
    here: Inlet, family: int | None, source: Address | None, destination: Address | None
) -> tuple[Address, Address]:
    """The packet's source and destination: the given ones, else a neighbour's address and the device's."""
    possible = [held for held in here.addresses if family in (None, held.own.version)]
    possible.sort(key=lambda held: not _near(held, source, destination))
    if destination is None:
        if not possible:
            raise OversshError(f"{here.name} has no address of that family, so say the packet's destination")
        destination = possible[0].own
    if source is None:
        source = _neighbour(possible[0], destination) if possible else None
        if source is None:
            raise OversshError(f"the addresses of {here.name} don't tell whom packets come from, so say the source")
    return source, destination


def _near(held: Held, source: Address | None, destination: Address | None) -> bool:
    """Whether such a packet is for this one of the device's addresses rather than another."""
    return source in held.network if source is not None else destination in (None, held.own)


def _neighbour(held: Held, destination: Address) -> Address | None:
    """Somebody else's address in the device's network."""
    if held.peer is not None:
        return held.peer
    return next((address for address in held.network.hosts() if address not in (held.own, destination)), None)


@contextmanager
def injector(run: Runner, here: Inlet) -> Iterator[Callable[[bytes], None]]:
    """A context whose function injects IP packets."""
    if not here.up:
        raise OversshError(f"{here.name} is down, so nothing can come in by it; bring it up first")
    if not here.carrier:
        raise OversshError(f"{here.name} has no carrier, so nothing can come in by it; the link that it is for is down")
    if here.port_of:
        raise OversshError(
            f"{here.name} is a port of {here.port_of}, which takes what comes in by it; ask about in_interface: "
            f"{here.port_of}"
        )
    with contextlib.ExitStack() as stack:
        try:
            device = stack.enter_context(_connected(run, here.name))
        except (OversshError, OSError) as error:
            raise OversshError(
                f"this host can't make a packet that seems to have come in by {here.name} ({error}); have another host "
                "of the inventory send it, with peer instead of inject"
            ) from error
        yield lambda packet: _write(device, here.name, packet)


@contextmanager
def _connected(run: Runner, target: str) -> Iterator[int]:
    """A device of ours whose packets the target takes in."""
    name = f"ovtrace{os.getpid()}"
    with tun_ioctl.temporary(name) as device:
        run(["ip", "link", "set", "dev", name, "addrgenmode", "none", "up"])
        run(["tc", "qdisc", "add", "dev", name, "clsact"])
        # u32 that looks at nothing, as kernels come without matchall.
        every = ["u32", "match", "u32", "0", "0"]
        hand_over = ["action", "mirred", "ingress", "redirect", "dev", target]
        run(["tc", "filter", "add", "dev", name, "ingress", "protocol", "all", *every, *hand_over])
        yield device


def _write(device: int, target: str, packet: bytes) -> None:
    try:
        os.write(device, packet)
    except OSError as error:
        raise OversshError(f"no packet can be made that seems to have come in by {target}: {error.strerror}") from error
