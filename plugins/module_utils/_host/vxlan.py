# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other users of VXLAN's UDP port on this host; only looks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._core.errors import OversshError
from .._core.files import read_text
from .._linux import proc
from .._linux.devices import Device

USUAL_PORT = 4789


def devices(found: Iterable[Device]) -> list[dict[str, Any]]:
    """The VXLAN devices among these; alone: whether it excludes others from its port ("Address already in use")."""
    return [
        {"name": one.name, "port": one.vxlan.port or USUAL_PORT, "vni": one.vxlan.vni, "alone": one.vxlan.alone}
        for one in found
        if one.vxlan is not None
    ]


def holder(port: int) -> str:
    """The program that holds the UDP port, with its unit; empty for none, and where the kernel holds it."""
    try:
        tables = "\n".join(read_text(f"/proc/net/{name}") or "" for name in ("udp", "udp6"))
    except OversshError:
        return ""
    numbers = of_port(tables, port)
    for each in proc.processes() if numbers else ():
        if numbers & proc.socket_numbers(each.pid):
            unit = proc.unit(each.pid)
            return f"{each.name} ({unit})" if unit else f"{each.name} (process {each.pid})"
    return ""


def of_port(tables: str, port: int) -> frozenset[str]:
    """The numbers of the sockets on a port, from the kernel's tables of UDP sockets."""
    rows = [row.split() for row in tables.splitlines()]
    return frozenset(row[9] for row in rows if len(row) > 9 and row[1].rpartition(":")[2] == f"{port:04X}")
