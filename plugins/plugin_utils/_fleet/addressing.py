# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every node's underlay address, and the devices numbered by it; pure. No node is ever renumbered."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .topology import Member


def assign(members: Sequence[Member], underlay: str, held: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Every member's underlay address, and sentences on members without one.

    held: addresses in use on the hosts, by node name. An address in the inventory comes first; one that differs from
    the held one is refused. The others get the lowest free ones, hubs first, in inventory order.
    """
    space = ipaddress.IPv4Network(underlay)
    problems: list[str] = []
    taken: dict[str, str] = {}
    owners = {address: name for name, address in held.items()}
    names = {member.name for member in members}
    for member in members:
        wanted, held_here = member.address, held.get(member.name)
        if wanted and held_here and wanted != held_here:
            problems.append(
                f"{member.name}: overssh_address is {wanted}, but the host holds {held_here}; an underlay address is "
                f"for life, so set it back, or run overssh.swarm.teardown first."
            )
        mine = held_here or wanted
        if mine is None:
            continue
        if not _usable(mine, space):
            variable = "its held address" if held_here else "overssh_address"
            problems.append(
                f"{member.name}: {variable} is {mine}, which is no host address of overssh_underlay {underlay}."
            )
        other = taken.get(mine) or (owners.get(mine) if owners.get(mine) != member.name else None)
        if other:
            problems.append(f"{member.name}: overssh_address {mine} belongs to {other} already; addresses are unique.")
        taken[mine] = member.name
    own = {name: address for address, name in taken.items()}
    reserved = set(taken) | {address for name, address in held.items() if name not in names}
    free = _free(space, reserved)
    for member in sorted(members, key=lambda each: not each.hub):
        if member.name in own:
            continue
        address = next(free, None)
        if address is None:
            problems.append(
                f"{member.name}: overssh_underlay {underlay} has no free address left for it; take a larger network."
            )
            break
        own[member.name] = address
    return own, problems


def _usable(address: str, space: ipaddress.IPv4Network) -> bool:
    ip = ipaddress.IPv4Address(address)
    return ip in space and ip not in (space.network_address, space.broadcast_address)


def _free(space: ipaddress.IPv4Network, reserved: set[str]) -> Iterator[str]:
    """The addresses that nobody has, lowest first."""
    for offset in range(1, space.num_addresses - 1):
        address = str(space.network_address + offset)
        if address not in reserved:
            yield address


def device_for(address: str, settings: Mapping[str, Any]) -> str:
    """The name of a node's own device, and of its neighbours' devices to it; its address gives the number."""
    return f"tun{settings['tun_base'] + _number(address, settings)}"


def address6_for(address: str, settings: Mapping[str, Any]) -> str:
    """A node's address in the IPv6 underlay, with the number of its IPv4 address."""
    return str(ipaddress.IPv6Network(settings["underlay6"]).network_address + _number(address, settings))


def _number(address: str, settings: Mapping[str, Any]) -> int:
    return int(ipaddress.IPv4Address(address)) - int(ipaddress.IPv4Network(settings["underlay"]).network_address)
