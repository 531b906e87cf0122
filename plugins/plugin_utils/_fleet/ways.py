# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who dials whom, as the inventory alone says, for hosts to look whether that can be; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from . import settings
from .topology import members_of, topology


def ways(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Of each host where it dials whom, and at which address each of those that dial it is reached.

    hosts: the inventory's variables by host name. A host that dials from behind a NAT comes from another address than
    the one that it is reached at; of hosts that are reached by a name none is told.
    """
    _fleet, own, _problems = settings.read(hosts)
    found: dict[str, dict[str, list[dict[str, Any]]]] = {name: {"dials": [], "dialled_by": []} for name in hosts}
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
