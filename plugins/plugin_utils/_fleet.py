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
    """One node as far as the plan has to know it; transport, lanes: of the link that it dials; mtu: None for auto."""

    name: str
    hub: bool
    manager: bool
    address: str | None
    dial_host: str
    dial_port: int
    transport: str
    lanes: int
    mtu: int | None
    python: str


@dataclass(frozen=True)
class Link:
    """A spoke's link with its hub."""

    spoke: Member
    hub: Member

    @property
    def mtu(self) -> int:
        """What the dialling end says or what is best for its transport, and no more than the hub allows."""
        mine = _settings.BEST_MTU[self.spoke.transport] if self.spoke.mtu is None else self.spoke.mtu
        return mine if self.hub.mtu is None else min(mine, self.hub.mtu)

    def other(self, member: Member) -> Member:
        """The other end."""
        return self.hub if member is self.spoke else self.spoke


def plan(hosts: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The whole fleet's plan, plain data.

    hosts: the inventory's variables by host name, in inventory order. found: what host_info returned for each of them.
    The result's "problems" holds every reason not to go on, one sentence each; the rest is complete only without any.
    """
    settings, own, problems = _settings.read(hosts)
    members = [_member(name, variables, own[name]) for name, variables in hosts.items()]
    links = _links(members)
    problems += _shape(members)
    problems += [sentence for link in links for sentence in _transport(link)]
    problems += _hosts.problems(found, settings)
    problems += _hosts.helper_problems(found, _streams(links))
    problems += _hosts.collisions(found, settings)
    addresses, address_problems = assign(members, settings["underlay"], _hosts.held(found, settings["underlay"]))
    problems += address_problems
    problems += _own_devices(links, addresses, settings, found)
    answer: dict[str, Any] = {"problems": problems, "settings": settings, "addresses": addresses, "nodes": {}}
    if not problems:
        answer["nodes"] = {node["name"]: node for node in _nodes(members, links, addresses, settings, found)}
        answer["founder"] = _founder(members, found)
        answer["underlay_mtu"] = min(link.mtu for link in links)
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
        transport=own["transport"],
        lanes=own["lanes"],
        mtu=None if own["mtu"] == "auto" else own["mtu"],
        python=own["python"],
    )


def _links(members: list[Member]) -> list[Link]:
    """Every spoke dials every hub, of which a fleet has one."""
    hubs = [member for member in members if member.hub]
    return [Link(member, hub) for member in members if not member.hub for hub in hubs]


def _streams(links: list[Link]) -> set[str]:
    """The nodes that a stream begins or ends on."""
    return {member.name for link in links if link.spoke.transport == "stream" for member in (link.spoke, link.hub)}


def _transport(link: Link) -> list[str]:
    """What a link's transport can't do."""
    if link.spoke.transport != "tun":
        return []
    name, found = link.spoke.name, []
    if link.spoke.lanes > 1:
        found.append(
            f"{name}: overssh_lanes is {link.spoke.lanes}, and the transport tun has one lane only; set "
            "overssh_transport: stream, or leave overssh_lanes out."
        )
    if link.mtu > _settings.LARGEST_TUN_MTU:
        found.append(
            f"{name}: overssh_mtu is {link.spoke.mtu}, and the transport tun loses everything from the first packet "
            f"over {_settings.LARGEST_TUN_MTU} bytes on; set overssh_mtu: auto, or overssh_transport: stream."
        )
    return found


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
    links: list[Link],
    addresses: Mapping[str, str],
    settings: Mapping[str, Any],
    found: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """The devices of the plan that somebody else has on a host already."""
    ends = [(member, link.other(member)) for link in links for member in (link.spoke, link.hub)]
    foreign = {member.name: _hosts.foreign_devices(found.get(member.name, {})) for member, _peer in ends}
    problems = []
    for member, peer in ends:
        if peer.name in addresses and device_for(addresses[peer.name], settings) in foreign[member.name]:
            problems.append(
                f"{member.name}: {device_for(addresses[peer.name], settings)} exists and is not ours; "
                f"set overssh_tun_base to a number with free devices above it."
            )
    return problems


def _nodes(
    members: list[Member],
    links: list[Link],
    addresses: Mapping[str, str],
    settings: Mapping[str, Any],
    found: Mapping[str, Mapping[str, Any]],
) -> Iterator[dict[str, Any]]:
    own: dict[str, list[Link]] = {member.name: [] for member in members}
    for link in links:
        own[link.spoke.name].append(link)
        own[link.hub.name].append(link)
    for member in members:
        ours = _hosts.own_devices(found[member.name])
        node = {
            "name": member.name,
            "address": addresses[member.name],
            "hub": member.hub,
            "manager": member.manager,
            "devices": [_device(member, link, addresses, settings, ours) for link in own[member.name]],
            "links": [_dialled(link, addresses, settings) for link in own[member.name] if member is link.spoke],
            "accepts": [_accepted(link, addresses, settings) for link in own[member.name] if member is link.hub],
        }
        node["rules"] = _rules.wanted(node, settings)
        yield node


def _device(
    member: Member, link: Link, addresses: Mapping[str, str], settings: Mapping[str, Any], ours: set[str]
) -> dict[str, Any]:
    mine, theirs = addresses[member.name], addresses[link.other(member).name]
    name = device_for(theirs, settings)
    return {
        "name": name,
        "peer": link.other(member).name,
        "addresses": [{"address": mine, "peer": theirs}],
        "mtu": link.mtu,
        "multi_queue": link.spoke.lanes > 1,
        # A device of ours may be replaced; one that somebody else makes from now on stays.
        "on_change": "recreate" if name in ours else "fail",
        "routes": [] if member.hub else [{"destination": settings["underlay"], "source": mine}],
        "forwarding": member.hub,
    }


def _dialled(link: Link, addresses: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, Any]:
    mine, theirs = addresses[link.spoke.name], addresses[link.hub.name]
    return {
        "peer": link.hub.name,
        "host": link.hub.dial_host,
        "port": link.hub.dial_port,
        "device": device_for(theirs, settings),
        "remote_device": device_for(mine, settings),
        "remote_address": theirs,
        "transport": link.spoke.transport,
        "lanes": link.spoke.lanes,
        "mtu": link.mtu,
        "python": link.spoke.python,
    }


def _accepted(link: Link, addresses: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "peer": link.spoke.name,
        "device": device_for(addresses[link.spoke.name], settings),
        "transport": link.spoke.transport,
        "lanes": link.spoke.lanes,
        "python": link.hub.python,
    }


def _list(names: list[str]) -> str:
    return ", ".join(names)
