# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a fleet: who dials whom, over which devices, with which addresses and routes.

One pure function of the inventory and of what the nodes already hold. Nobody is ever renumbered: the swarm knows a node
by its address and can't follow a change.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import _hosts, _rules, _settings

# A node's own link name is a unit's name, a file's name and an interface's alias.
LONGEST_NAME = 64


@dataclass(frozen=True)
class Member:
    """One node as far as the plan has to know it."""

    name: str
    hub: bool
    manager: bool
    address: str | None
    dial_host: str
    dial_port: int


def plan(hosts: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The whole fleet's plan, plain data.

    hosts: the inventory's variables by host name, in inventory order. found: what host_info returned for each of them.
    The result's "problems" holds every reason not to go on, one sentence each; the rest is complete only without any.
    """
    settings, own, problems = _settings.read(hosts)
    members = [_member(name, variables, own[name]) for name, variables in hosts.items()]
    problems += _shape(members)
    problems += _hosts.problems(found, settings)
    problems += _hosts.collisions(found, settings)
    addresses, address_problems = assign(members, settings["underlay"], _hosts.held(found, settings["underlay"]))
    problems += address_problems
    problems += _own_devices(members, addresses, settings, found)
    answer: dict[str, Any] = {"problems": problems, "settings": settings, "addresses": addresses, "nodes": {}}
    if not problems:
        answer["nodes"] = {node["name"]: node for node in _nodes(members, addresses, settings)}
        answer["founder"] = _founder(members, found)
    return answer


def _founder(members: list[Member], found: Mapping[str, Mapping[str, Any]]) -> str:
    """The manager that the others join: one that has the swarm already, or else the first."""
    managers = [member.name for member in members if member.manager]
    return next((name for name in managers if _hosts.in_swarm(found[name])), managers[0])


def _member(name: str, variables: Mapping[str, Any], own: Mapping[str, Any]) -> Member:
    return Member(
        name=name,
        hub=own["hub"],
        manager=own["hub"] if own["manager"] is None else own["manager"],
        address=own["address"],
        dial_host=own["dial_host"] or str(variables.get("ansible_host") or name),
        dial_port=own["dial_port"] or int(variables.get("ansible_port") or 22),
    )


def _shape(members: list[Member]) -> list[str]:
    """What is wrong with the fleet as a whole."""
    names = [member.name for member in members]
    hubs = [member.name for member in members if member.hub]
    found = []
    if len(members) < 2:
        found.append(f"the group has {len(members)} host{'s' * (len(members) != 1)}; a fleet takes two or more.")
    if not hubs:
        found.append(
            f"no host of the group is a hub; set overssh_hub: true on the one of {_list(names)} that others can dial."
        )
    if len(hubs) > 1:
        found.append(f"{_list(hubs)} all have overssh_hub: true; exactly one hub is supported, set it on one of them.")
    if members and not any(member.manager for member in members):
        found.append(f"no host of the group is a manager; set overssh_manager: true on one of {_list(names)}.")
    for member in members:
        if not _settings.NETWORK_NAME.match(member.name) or len(member.name) > LONGEST_NAME:
            found.append(
                f"{member.name}: an inventory name becomes the name of units and containers; it takes up to "
                f"{LONGEST_NAME} letters, digits, '_', '.' and '-'."
            )
    return found


def assign(members: list[Member], underlay: str, held: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Every member's underlay address, and what stands in the way of one.

    held: addresses that are in use on the hosts, by node name. An address of the inventory wins over none; one that
    differs from the held one is refused. The rest get the lowest free ones, hubs first, in inventory order.
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


def device_for(peer_address: str, settings: Mapping[str, Any]) -> str:
    """The device of the link to a peer: numbered by the peer's address, so that it is the same for ever."""
    offset = int(ipaddress.IPv4Address(peer_address)) - int(ipaddress.IPv4Network(settings["underlay"]).network_address)
    return f"tun{settings['tun_base'] + offset}"


def _own_devices(
    members: list[Member],
    addresses: Mapping[str, str],
    settings: Mapping[str, Any],
    found: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """The devices of the plan that somebody else has on a host already."""
    problems = []
    for member in members:
        foreign = _hosts.foreign_devices(found.get(member.name, {}))
        for peer in _peers(member, members):
            if peer.name in addresses and device_for(addresses[peer.name], settings) in foreign:
                problems.append(
                    f"{member.name}: {device_for(addresses[peer.name], settings)} exists and is not ours; "
                    f"set overssh_tun_base to a number with free devices above it."
                )
    return problems


def _peers(member: Member, members: list[Member]) -> list[Member]:
    """Whom a member has a link with: a spoke with the hub, the hub with all."""
    return [peer for peer in members if peer is not member and (peer.hub or member.hub)]


def _nodes(
    members: list[Member], addresses: Mapping[str, str], settings: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for member in members:
        mine = addresses[member.name]
        peers = _peers(member, members)
        devices = [_device(member, mine, addresses[peer.name], peer, settings) for peer in peers]
        node = {
            "name": member.name,
            "address": mine,
            "hub": member.hub,
            "manager": member.manager,
            "devices": devices,
            "links": [] if member.hub else [_link(peer, mine, addresses[peer.name], settings) for peer in peers],
            "accepts": [
                {"peer": peer.name, "device": device_for(addresses[peer.name], settings)}
                for peer in peers
                if member.hub
            ],
        }
        node["rules"] = _rules.wanted(node, settings)
        yield node


def _device(member: Member, mine: str, theirs: str, peer: Member, settings: Mapping[str, Any]) -> dict[str, Any]:
    route = {"destination": settings["underlay"], "source": mine}
    return {
        "name": device_for(theirs, settings),
        "peer": peer.name,
        "addresses": [{"address": mine, "peer": theirs}],
        "mtu": settings["mtu"],
        "routes": [] if member.hub else [route],
        "forwarding": member.hub,
    }


def _link(hub: Member, mine: str, theirs: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "peer": hub.name,
        "host": hub.dial_host,
        "port": hub.dial_port,
        "device": device_for(theirs, settings),
        "remote_device": device_for(mine, settings),
        "remote_address": theirs,
    }


def _list(names: list[str]) -> str:
    return ", ".join(names)
