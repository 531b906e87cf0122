# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's routes, as `ip` shows them."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from typing import Union

from .._core.command import Runner

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
# Kinds of routes that lead nowhere by design, or to every host at once.
_NO_DESTINATION = ("broadcast", "multicast", "anycast", "throw")


@dataclass(frozen=True)
class Route:
    """Where the host sends packets for a network; device is empty where the route has none."""

    destination: Network
    device: str


def read_routes(run: Runner, family: int = 4) -> tuple[Route, ...]:
    """All routes of all tables but the default ones; family: 4 or 6."""
    return parse_routes(run(["ip", "-json", f"-{family}", "route", "show", "table", "all"]).stdout)


def device_to(run: Runner, address: str) -> str:
    """The device that packets to the address leave by, "" where there is no way."""
    answer = run(["ip", "-json", "route", "get", address], check=False)
    routes = json.loads(answer.stdout or "[]") if answer.rc == 0 else []
    return str(routes[0].get("dev", "")) if routes else ""


def parse_routes(text: str) -> tuple[Route, ...]:
    """The routes of `ip -json route show table all` that say where a network is."""
    found = []
    for route in json.loads(text or "[]"):
        if route.get("type") in _NO_DESTINATION or route.get("dst") in (None, "default", "0.0.0.0/0"):
            continue
        found.append(Route(ipaddress.ip_network(route["dst"], strict=False), route.get("dev", "")))
    return tuple(found)
