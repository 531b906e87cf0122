# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's network devices with their addresses, and its routes, as `ip` shows them."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Union

from .._core.command import Runner

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
# Kinds of routes that lead nowhere by design, or to every host at once.
_NO_DESTINATION = ("broadcast", "multicast", "anycast", "throw")


@dataclass(frozen=True)
class Device:
    """A network device: its name, its MTU and its own addresses (without prefix)."""

    name: str
    mtu: int
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Route:
    """Where the host sends packets for a network; device is empty where the route has none."""

    destination: Network
    device: str


def read_devices(run: Runner) -> tuple[Device, ...]:
    """All devices of the host."""
    return parse_devices(run(["ip", "-json", "address", "show"]).stdout)


def read_routes(run: Runner, family: int = 4) -> tuple[Route, ...]:
    """All routes of all tables but the default ones; family: 4 or 6."""
    return parse_routes(run(["ip", "-json", f"-{family}", "route", "show", "table", "all"]).stdout)


def device_to(run: Runner, address: str) -> str:
    """The device that packets to the address leave by, "" where there is no way."""
    answer = run(["ip", "-json", "route", "get", address], check=False)
    routes = json.loads(answer.stdout or "[]") if answer.rc == 0 else []
    return str(routes[0].get("dev", "")) if routes else ""


def parse_devices(text: str) -> tuple[Device, ...]:
    """The devices of `ip -json address show`."""
    return tuple(
        Device(
            link["ifname"],
            int(link.get("mtu", 0)),
            tuple(entry["local"] for entry in link.get("addr_info", []) if "local" in entry),
        )
        for link in json.loads(text or "[]")
        if "ifname" in link
    )


def parse_routes(text: str) -> tuple[Route, ...]:
    """The routes of `ip -json route show table all` that say where a network is."""
    found = []
    for route in json.loads(text or "[]"):
        if route.get("type") in _NO_DESTINATION or route.get("dst") in (None, "default", "0.0.0.0/0"):
            continue
        found.append(Route(ipaddress.ip_network(route["dst"], strict=False), route.get("dev", "")))
    return tuple(found)


def carriers(devices: Iterable[Device], address: str) -> tuple[Device, ...]:
    """The devices that have this address; a hub has the same one on each of its tunnels."""
    return tuple(device for device in devices if _same(device.addresses, address))


def smallest_mtu(devices: Iterable[Device], address: str) -> int | None:
    """The smallest MTU of the devices that have this address, None where none has it."""
    return min((device.mtu for device in carriers(devices, address)), default=None)


def _same(addresses: Iterable[str], wanted: str) -> bool:
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError:
        return False
    return any(ipaddress.ip_address(one) == address for one in addresses)
