# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a fleet: who dials whom, over which devices, with which addresses and routes.

One pure function of the inventory and of what the nodes already hold. Nobody is ever renumbered: the swarm knows a node
by its address and can't follow a change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _hosts, _rules, _settings
from ._addressing import assign, device_for
from ._routing import HUBS_TABLE, between_hubs, routes
from ._topology import Link, Member, Topology, family_problems, members_of, problems, topology


@dataclass(frozen=True)
class Fleet:
    """What the plan for each node is made of; devices: those that are numbered after each node."""

    topology: Topology
    addresses: Mapping[str, str]
    devices: Mapping[str, str]
    settings: Mapping[str, Any]
    found: Mapping[str, Mapping[str, Any]]
    gone: frozenset[str]


def plan(
    hosts: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]], gone: Collection[str] = ()
) -> dict[str, Any]:
    """The whole fleet's plan, plain data.

    hosts: the inventory's variables by host name, in inventory order. found: what host_info returned for each of them.
    gone: nodes that the fleet shall have no link with any more.
    The result's "problems" holds every reason not to go on, one sentence each; the rest is complete only without any.
    """
    settings, own, said = _settings.read(hosts)
    members = members_of(hosts, own)
    shape = topology(members)
    said += problems(shape, {name: str(variables.get("ansible_connection")) for name, variables in hosts.items()})
    said += family_problems(shape, {name: _hosts.families(answer) for name, answer in found.items()})
    said += _hosts.problems(found, settings)
    said += _hosts.helper_problems(found, _streams(shape.links))
    said += _hosts.sshd_problems(found, _dialled(shape.links))
    said += _hosts.collisions(found, settings)
    held = _hosts.held(found, settings["underlay"])
    addresses, address_problems = assign(members, settings["underlay"], held)
    said += address_problems
    devices = {name: device_for(address, settings) for name, address in addresses.items()}
    fleet = Fleet(shape, addresses, devices, settings, found, frozenset(gone))
    said += _taken_devices(fleet)
    answer: dict[str, Any] = {"problems": said, "settings": settings, "addresses": addresses, "nodes": {}}
    if not said:
        answer["nodes"] = {node["name"]: node for node in _nodes(fleet)}
        answer["founder"] = _founder(members, found)
        answer["gone"] = {name: held.get(name, "") for name in gone}
        answer["underlay_mtu"] = min(link.mtu for link in shape.links)
    return answer


def _founder(members: Sequence[Member], found: Mapping[str, Mapping[str, Any]]) -> str:
    """The manager that the others join: one that has the swarm already, or else the first."""
    managers = [member.name for member in members if member.manager]
    return next((name for name in managers if _hosts.in_swarm(found[name])), managers[0])


def _streams(links: Sequence[Link]) -> set[str]:
    """The nodes that a stream begins or ends on."""
    return {member.name for link in links if link.dialler.transport == "stream" for member in link.ends}


def _dialled(links: Sequence[Link]) -> set[str]:
    """The nodes whose sshd others log in to."""
    return {name for link in links for name in (link.dialled.name, *(hop.member.name for hop in link.jumps))}


def _taken_devices(fleet: Fleet) -> Iterator[str]:
    """The devices of the plan that somebody else has on a host already."""
    for member in fleet.topology.members:
        foreign = _hosts.foreign_devices(fleet.found.get(member.name, {}))
        if not foreign:
            continue
        for peer in (member, *fleet.topology.neighbours[member.name]):
            if fleet.devices.get(peer.name) in foreign:
                yield (
                    f"{member.name}: {fleet.devices[peer.name]} exists and is not ours; "
                    f"set overssh_tun_base to a number with free devices above it."
                )


def _nodes(fleet: Fleet) -> Iterator[dict[str, Any]]:
    own: dict[str, list[Link]] = {member.name: [] for member in fleet.topology.members}
    forwards = _forwards(fleet.topology.links)
    for link in fleet.topology.links:
        for member in link.ends:
            own[member.name].append(link)
    for member in fleet.topology.members:
        links = own[member.name]
        ours = _hosts.own_devices(fleet.found[member.name])
        routed = routes(fleet.topology, member, fleet.addresses, fleet.settings["underlay"])
        node = {
            "name": member.name,
            "address": fleet.addresses[member.name],
            "hub": member.hub,
            "manager": member.manager,
            "devices": [
                *(_device(member, link, routed[link.other(member).name], fleet, ours) for link in links),
                _own_device(member, routed[member.name], fleet, ours),
            ],
            "links": [_dialling(link, fleet) for link in links if member is link.dialler],
            "accepts": [_accepted(link, fleet) for link in links if member is link.dialled],
            "forwards": [
                {**forward, "device": fleet.devices[forward["peer"]]} for forward in forwards.get(member.name, [])
            ],
        }
        node["obsolete"] = _obsolete(node, fleet)
        node["rules"] = _rules.wanted(node, fleet.settings)
        yield node


def _obsolete(node: Mapping[str, Any], fleet: Fleet) -> list[dict[str, str]]:
    """Links of ours with nodes of the fleet that the plan has no link with any more.

    Those with nodes that left the inventory stay: a name may be missing there by mistake.
    """
    planned = {device["name"] for device in node["devices"]}
    return [
        {"peer": peer, "device": device}
        for device, peer in _hosts.own_peers(fleet.found[node["name"]]).items()
        if device not in planned and (peer in fleet.gone or peer in fleet.addresses)
    ]


def _own_device(member: Member, routed: list[dict[str, Any]], fleet: Fleet, ours: set[str]) -> dict[str, Any]:
    """The device that holds a node's address whatever becomes of its links, and what no link takes."""
    name, address = fleet.devices[member.name], fleet.addresses[member.name]
    return {
        "name": name,
        "peer": member.name,
        "addresses": [{"address": address}],
        "mtu": _settings.LARGEST_MTU,
        "multi_queue": False,
        "on_change": "recreate" if name in ours else "fail",
        "routes": routed,
        "forwarding": False,
        "failover": False,
        "incoming_table": None,
    }


def _device(member: Member, link: Link, routed: list[dict[str, Any]], fleet: Fleet, ours: set[str]) -> dict[str, Any]:
    peer = link.other(member)
    name = fleet.devices[peer.name]
    return {
        "name": name,
        "peer": peer.name,
        "addresses": [{"address": fleet.addresses[member.name], "peer": fleet.addresses[peer.name]}],
        "mtu": link.mtu,
        "multi_queue": link.dialler.lanes > 1,
        # A device of ours may be replaced; one that somebody else makes from now on stays.
        "on_change": "recreate" if name in ours else "fail",
        "routes": routed,
        "forwarding": member.hub,
        "failover": True,
        "incoming_table": HUBS_TABLE if between_hubs(member, peer) else None,
    }


def _dialling(link: Link, fleet: Fleet) -> dict[str, Any]:
    return {
        "peer": link.dialled.name,
        "host": link.host,
        "port": link.port,
        "host_keys": _hosts.host_keys(fleet.found[link.dialled.name]),
        "jumps": [
            {
                "name": hop.member.name,
                "host": hop.host,
                "port": hop.port,
                "host_keys": _hosts.host_keys(fleet.found[hop.member.name]),
            }
            for hop in link.jumps
        ],
        "device": fleet.devices[link.dialled.name],
        "remote_device": fleet.devices[link.dialler.name],
        "remote_address": fleet.addresses[link.dialled.name],
        "transport": link.dialler.transport,
        "lanes": link.dialler.lanes,
        "mtu": link.mtu,
        "python": link.dialler.python,
        "watchdog": link.dialler.transport == "tun" and _hosts.python_fits(fleet.found[link.dialler.name]),
    }


def _accepted(link: Link, fleet: Fleet) -> dict[str, Any]:
    return {
        "peer": link.dialler.name,
        "device": fleet.devices[link.dialler.name],
        "transport": link.dialler.transport,
        "lanes": link.dialler.lanes,
        "python": link.dialled.python,
    }


def _forwards(links: Sequence[Link]) -> dict[str, list[dict[str, Any]]]:
    """By jump host: for which dialling nodes it opens connections, and where to."""
    found: dict[str, dict[str, list[str]]] = {}
    for link in links:
        following = [*((hop.host, hop.port) for hop in link.jumps[1:]), (link.host, link.port)]
        for hop, (host, port) in zip(link.jumps, following):
            place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            places = found.setdefault(hop.member.name, {}).setdefault(link.dialler.name, [])
            if place not in places:
                places.append(place)
    return {name: [{"peer": peer, "to": places} for peer, places in by_peer.items()] for name, by_peer in found.items()}
