# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts are to be asked, from the inventory alone: dial routes to try, and whether they need ESP; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from . import settings
from .topology import members_of, topology


def ways(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each host, the places that it dials, and the addresses of the hosts that dial it; and whether it needs ESP.

    hosts: the inventory's variables by host name. A host behind a NAT dials from another address than its own; a host
    that is reached by a name has no known address.
    """
    fleet, own, _problems = settings.read(hosts)
    encrypted = any(overlay["encrypted"] for overlay in fleet["overlays"])
    found: dict[str, dict[str, Any]] = {name: {"dials": [], "dialled_by": [], "encrypted": encrypted} for name in hosts}
    for link in topology(members_of(hosts, own)).links:
        first = link.jumps[0] if link.jumps else None
        peer, host, port = link.dialled.name, link.host, link.port
        if first is not None:
            peer, host, port = first.member.name, first.host, first.port
        found[link.dialler.name]["dials"].append({"peer": peer, "host": host, "port": port})
        where = str(hosts[link.dialler.name].get("ansible_host") or "")
        if first is None and _is_address(where):
            found[peer]["dialled_by"].append({"name": link.dialler.name, "address": where})
    return found


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False
