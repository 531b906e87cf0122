# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a fleet: who dials whom, over which devices, with which addresses and routes.

One pure function of the inventory and of the nodes' present state. No node is ever renumbered: the swarm knows a node
by its address and can't follow a change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.lanes import lanes_at_start

from . import claims, firewall_rules, pools, slow_links, sshd_match, summary
from . import hosts as fleet_hosts
from . import settings as fleet_settings
from .addressing import address6_for, assign, device_for
from .once import once
from .routing import HUBS_TABLE, routes
from .topology import Link, Member, Topology, family_problems, members_of, problems, topology

# Of a device with IPv6 (RFC 8200).
SMALLEST_MTU_6 = 1280


@dataclass(frozen=True)
class Fleet:
    """The common parts of all nodes' plans; devices: the names numbered after each node.

    addresses6: of the IPv6 underlay, empty without one.
    """

    topology: Topology
    addresses: Mapping[str, str]
    addresses6: Mapping[str, str]
    devices: Mapping[str, str]
    settings: Mapping[str, Any]
    found: Mapping[str, Mapping[str, Any]]
    gone: frozenset[str]
    bridges: Mapping[str, pools.Bridge]

    def swarm_address(self, name: str) -> str:
        """The node's address in the swarm."""
        return (self.addresses6 if self.settings["swarm_family"] == "ipv6" else self.addresses)[name]


def plan(
    hosts: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]], gone: Collection[str] = ()
) -> dict[str, Any]:
    """The whole fleet's plan, as plain data.

    hosts: the inventory's variables by host name, in inventory order. found: host_info's answer for each host. gone:
    nodes that the fleet must have no link with any more. The result's "problems" has every reason not to go on, one
    sentence each; the rest is complete only without any.
    """
    settings, own, said = fleet_settings.read(hosts)
    members = members_of(hosts, own)
    shape = topology(members)
    said += problems(shape, {name: str(variables.get("ansible_connection")) for name, variables in hosts.items()}, gone)
    said += family_problems(shape, {name: fleet_hosts.families(answer) for name, answer in found.items()})
    said += fleet_hosts.problems(found, settings)
    said += fleet_hosts.double_problems(found)
    said += fleet_hosts.helper_problems(found, _streams(shape.links))
    said += sshd_match.problems(found, sshd_match.wanted(shape.links), settings["user"])
    said += sshd_match.mismatches(shape.links, found)
    said += fleet_hosts.ipv6_problems(found, settings, {hub.name for hub in shape.hubs})
    said += fleet_hosts.encryption_problems(found, settings)
    said += fleet_hosts.collisions(found, settings)
    said += fleet_hosts.operator_problems(found, settings)
    said += fleet_hosts.swarm_problems(found, settings)
    bridges = _bridges(shape, settings, found)
    overlays = [entry for entry in fleet_hosts.planned(settings) if entry[0] not in fleet_hosts.UNDERLAYS]
    said += pools.problems(found, bridges, overlays)
    said += fleet_hosts.swallowed([(link.dialled.name, link.host) for link in shape.links], found, settings)
    held = fleet_hosts.held(found, settings["underlay"])
    addresses, address_problems = assign(members, settings["underlay"], held)
    said += address_problems
    devices = {name: device_for(address, settings) for name, address in addresses.items()}
    fleet = Fleet(shape, addresses, _second(addresses, settings), devices, settings, found, frozenset(gone), bridges)
    said += _taken_devices(fleet)
    said += claims.problems(found, _device_names(fleet), settings)
    said += _small_links(fleet)
    answer: dict[str, Any] = {
        "problems": once(said, list(hosts)),
        "settings": settings,
        "addresses": addresses,
        "nodes": {},
    }
    answer["warnings"] = [
        *fleet_hosts.warnings(found),
        *fleet_hosts.subnets_warnings(settings),
        *sshd_match.warnings(found, shape.links, settings["user"]),
        *pools.warnings(found, overlays),
        *claims.warnings(found, _device_names(fleet), {hub.name for hub in shape.hubs}, settings),
        *_slow_links(shape, found),
    ]
    if not said:
        answer["nodes"] = {node["name"]: node for node in _nodes(fleet)}
        answer["first_manager"] = _first_manager(members, found)
        answer["swarm_addresses"] = {name: fleet.swarm_address(name) for name in addresses}
        answer["members"] = fleet_hosts.members(found)
        unavailable = fleet_hosts.unavailable(found)
        answer["unavailable"] = {
            name: unavailable[address] for name, address in answer["swarm_addresses"].items() if address in unavailable
        }
        held_in_swarm = _second(held, settings) if settings["swarm_family"] == "ipv6" else held
        answer["gone"] = {name: held_in_swarm.get(name, "") for name in gone}
        answer["underlay_mtu"] = min(link.mtu for link in shape.links)
        answer["summary"] = summary.summary(answer, shape, found)
    return answer


def _bridges(
    shape: Topology, settings: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]
) -> dict[str, pools.Bridge]:
    """The bridge of each host that can be planned."""
    networks = fleet_hosts.planned(settings)
    underlays = [network for variable, network in networks if variable in fleet_hosts.UNDERLAYS]
    overlays = [network for variable, network in networks if variable not in fleet_hosts.UNDERLAYS]
    dialled: dict[str, list[str]] = {name: [] for name in found}
    for link in shape.links:
        dialled.setdefault(link.dialler.name, []).append(link.jumps[0].host if link.jumps else link.host)
    return {
        name: pools.bridge_of(answer, [*overlays, *fleet_hosts.addresses_to_keep(answer, dialled[name])], underlays)
        for name, answer in found.items()
        if answer.get("host", {}).get("docker")
    }


def _second(addresses: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, str]:
    """The nodes' addresses in the IPv6 underlay."""
    return {name: address6_for(address, settings) for name, address in addresses.items() if settings["underlay6"]}


def _first_manager(members: Sequence[Member], found: Mapping[str, Mapping[str, Any]]) -> str:
    """The manager that the others join: one that has the swarm already, or else the first."""
    managers = [member.name for member in members if member.manager]
    listed = fleet_hosts.members(found)
    return next((name for name in managers if fleet_hosts.in_a_swarm(found[name], listed)), managers[0])


def _streams(links: Sequence[Link]) -> set[str]:
    """The nodes that a stream begins or ends on."""
    return {member.name for link in links if link.dialler.transport == "stream" for member in link.ends}


def _taken_devices(fleet: Fleet) -> Iterator[str]:
    """The devices of the plan that somebody else has on a host already."""
    for member in fleet.topology.members:
        foreign = fleet_hosts.foreign_devices(fleet.found.get(member.name, {}))
        if not foreign:
            continue
        for peer in (member, *fleet.topology.neighbours[member.name]):
            if fleet.devices.get(peer.name) in foreign:
                yield (
                    f"{member.name}: {fleet.devices[peer.name]} exists and is not ours; "
                    f"set overssh_tun_base to a number with free devices above it."
                )


def _device_names(fleet: Fleet) -> dict[str, list[str]]:
    """By node the names of the devices that the plan has there."""
    found = {}
    for member in fleet.topology.members:
        peers = (member, *fleet.topology.neighbours[member.name])
        found[member.name] = [fleet.devices[peer.name] for peer in peers if peer.name in fleet.devices]
    return found


def _slow_links(shape: Topology, found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The links that are up, and slower than their MTU would have them."""
    planned: dict[str, list[dict[str, Any]]] = {}
    for link in shape.links:
        planned.setdefault(link.dialler.name, []).append({"peer": link.dialled.name, "mtu": link.mtu})
    for name, links in planned.items():
        yield from slow_links.slow(fleet_hosts.lines(found.get(name, {})), name, links)


def _small_links(fleet: Fleet) -> Iterator[str]:
    """The links that can't carry IPv6."""
    for link in fleet.topology.links:
        if fleet.addresses6 and link.mtu < SMALLEST_MTU_6:
            yield (
                f"{link.dialler.name}: its link with {link.dialled.name} has an MTU of {link.mtu}, and "
                f"overssh_underlay6 takes {SMALLEST_MTU_6} or more; raise overssh_mtu, or leave overssh_underlay6 out."
            )


def _routed(member: Member, fleet: Fleet) -> dict[str, list[dict[str, Any]]]:
    """A node's routes of both families by the neighbour that they lead to."""
    found = routes(fleet.topology, member, fleet.addresses, fleet.settings["underlay"])
    if fleet.addresses6:
        for name, more in routes(fleet.topology, member, fleet.addresses6, fleet.settings["underlay6"]).items():
            found[name] += more
    return found


def _nodes(fleet: Fleet) -> Iterator[dict[str, Any]]:
    own: dict[str, list[Link]] = {member.name: [] for member in fleet.topology.members}
    forwards, sshd = _forwards(fleet.topology.links), sshd_match.wanted(fleet.topology.links)
    listed = fleet_hosts.members(fleet.found)
    for link in fleet.topology.links:
        for member in link.ends:
            own[member.name].append(link)
    for member in fleet.topology.members:
        links = own[member.name]
        ours = fleet_hosts.own_devices(fleet.found[member.name])
        routed = _routed(member, fleet)
        node = {
            "name": member.name,
            "address": fleet.addresses[member.name],
            "address6": fleet.addresses6.get(member.name, ""),
            "swarm_address": fleet.swarm_address(member.name),
            "hub": member.hub,
            "manager": member.manager,
            "in_swarm": fleet_hosts.in_swarm(fleet.found[member.name], fleet.swarm_address(member.name), listed),
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
        node["sshd"] = sshd_match.lines(sshd.get(member.name, {}))
        node["bridge_subnet"] = fleet.bridges.get(member.name, pools.Bridge()).subnet
        node["obsolete"] = _obsolete(node, fleet)
        node["firewall_owner"] = member.firewall_owner
        node["rules"] = firewall_rules.wanted(node, fleet.settings)
        node["closed"] = firewall_rules.closed(node, fleet.settings)
        yield node


def _obsolete(node: Mapping[str, Any], fleet: Fleet) -> list[dict[str, str]]:
    """Links of ours with nodes of the fleet that the plan has no link with any more.

    Those with nodes that left the inventory stay: a name may be missing there by mistake.
    """
    planned = {device["name"] for device in node["devices"]}
    return [
        {"peer": peer, "device": device}
        for device, peer in fleet_hosts.own_peers(fleet.found[node["name"]]).items()
        if device not in planned and (peer in fleet.gone or peer in fleet.addresses)
    ]


def _own_device(member: Member, routed: list[dict[str, Any]], fleet: Fleet, ours: set[str]) -> dict[str, Any]:
    """The device that holds a node's address whatever becomes of its links, and what no link takes."""
    name = fleet.devices[member.name]
    return {
        "name": name,
        "peer": member.name,
        "addresses": [{"address": of[member.name]} for of in (fleet.addresses, fleet.addresses6) if of],
        "mtu": fleet_settings.LARGEST_MTU,
        "multi_queue": False,
        "on_change": "recreate" if name in ours else "fail",
        "routes": routed,
        "forwarding": False,
        "forwarding6": False,
        "failover": False,
        "incoming_table": None,
    }


def _device(member: Member, link: Link, routed: list[dict[str, Any]], fleet: Fleet, ours: set[str]) -> dict[str, Any]:
    peer = link.other(member)
    name = fleet.devices[peer.name]
    return {
        "name": name,
        "peer": peer.name,
        "addresses": [
            {"address": of[member.name], "peer": of[peer.name]} for of in (fleet.addresses, fleet.addresses6) if of
        ],
        "mtu": link.mtu,
        "multi_queue": lanes_at_start(link.dialler.lanes) > 1,
        # A device of ours may be replaced; one that somebody else makes from now on stays.
        "on_change": "recreate" if name in ours else "fail",
        "routes": routed,
        "forwarding": member.hub,
        "forwarding6": member.hub and bool(fleet.addresses6),
        "failover": True,
        "incoming_table": HUBS_TABLE if member.hub and peer.hub else None,
    }


def _dialling(link: Link, fleet: Fleet) -> dict[str, Any]:
    return {
        "peer": link.dialled.name,
        "host": link.host,
        "port": link.port,
        "host_keys": fleet_hosts.host_keys(fleet.found[link.dialled.name]),
        "jumps": [
            {
                "name": hop.member.name,
                "host": hop.host,
                "port": hop.port,
                "host_keys": fleet_hosts.host_keys(fleet.found[hop.member.name]),
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
        "watchdog": link.dialler.transport == "tun" and fleet_hosts.python_fits(fleet.found[link.dialler.name]),
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
