# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of a fleet: its nodes, the links between them, and the hubs that forward for a node; pure.

Hubs have links with each other, every other node dials hubs, and nodes of a site have links with each other. More links
may be set. Of two nodes that could dial each other, the later one of the inventory does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.lanes import AUTO, Lanes, lanes_at_start

from . import settings as fleet_settings

# A node's own link name is a unit's name, a file's name and an interface's alias.
LONGEST_NAME = 64


@dataclass(frozen=True)
class Member:
    """One node, as far as the plan needs it.

    hubs: those that it dials, the preferred one first, None for all of the fleet; links: further links that it dials;
    site_host, site_port: the address for nodes of its site; jump: its jump host; transport, lanes: of the links that it
    dials, where tun has one lane; mtu: None for auto.
    """

    name: str
    hub: bool
    manager: bool
    address: str | None
    hubs: tuple[str, ...] | None
    links: tuple[Mapping[str, Any], ...]
    site: str | None
    site_host: str | None
    site_port: int
    jump: str | None
    dial_host: str
    dial_port: int
    transport: str
    lanes: Lanes
    mtu: int | None
    python: str
    firewall_owner: str


@dataclass(frozen=True)
class Hop:
    """A node on the way of a connection, and the address at which the previous node dials it."""

    member: Member
    host: str
    port: int


@dataclass(frozen=True)
class Link:
    """A link: dialling node, dialled node, address, and the nodes between, the first one to dial first."""

    dialler: Member
    dialled: Member
    host: str
    port: int
    jumps: tuple[Hop, ...] = ()

    @property
    def mtu(self) -> int:
        """The dialling end's MTU, or the best one for its transport, but at most the other end's."""
        mine = fleet_settings.BEST_MTU[self.dialler.transport] if self.dialler.mtu is None else self.dialler.mtu
        return mine if self.dialled.mtu is None else min(mine, self.dialled.mtu)

    @property
    def ends(self) -> tuple[Member, Member]:
        """Both ends."""
        return self.dialler, self.dialled

    def other(self, member: Member) -> Member:
        """The end that is not this node."""
        return self.dialled if member is self.dialler else self.dialler


@dataclass(frozen=True)
class Topology:
    """All links of a fleet, and each node's neighbours in the order of the links."""

    members: tuple[Member, ...]
    links: tuple[Link, ...]
    neighbours: Mapping[str, tuple[Member, ...]]
    hubs: tuple[Member, ...]

    def uplinks(self, member: Member) -> list[Member]:
        """The hubs that forward for a node, the preferred one first."""
        order = {name: index for index, name in enumerate(member.hubs or ())}
        found = [peer for peer in self.neighbours[member.name] if peer.hub]
        return sorted(found, key=lambda peer: order.get(peer.name, len(order)))


def members_of(hosts: Mapping[str, Mapping[str, Any]], own: Mapping[str, Mapping[str, Any]]) -> list[Member]:
    """The nodes of the inventory; hosts: as in Ansible; own: each host's checked settings.

    By default the hubs are the swarm's managers, an odd number of them: with two managers neither may fail, so a
    manager beyond an odd number makes a swarm weaker.
    """
    undecided = [name for name, settings in own.items() if settings["hub"] and settings["manager"] is None]
    said = sum(settings["manager"] is True for settings in own.values())
    chosen = undecided if (said + len(undecided)) % 2 or not undecided else undecided[:-1]
    return [_member(name, variables, own[name], name in chosen) for name, variables in hosts.items()]


def _member(name: str, variables: Mapping[str, Any], own: Mapping[str, Any], chosen: bool) -> Member:
    return Member(
        name=name,
        hub=own["hub"],
        manager=chosen if own["manager"] is None else own["manager"],
        address=own["address"],
        hubs=None if own["hubs"] is None else tuple(dict.fromkeys(own["hubs"])),
        links=tuple(own["links"]),
        site=own["site"],
        site_host=own["site_host"],
        site_port=own["site_port"] or int(variables.get("ansible_port") or 22),
        jump=own["jump"],
        dial_host=own["dial_host"] or str(variables.get("ansible_host") or name),
        dial_port=own["dial_port"] or int(variables.get("ansible_port") or 22),
        transport=own["transport"],
        lanes=1 if own["transport"] == "tun" and own["lanes"] == AUTO else own["lanes"],
        mtu=None if own["mtu"] == "auto" else own["mtu"],
        python=own["python"],
        firewall_owner=own["firewall_owner"],
    )


def topology(members: Sequence[Member]) -> Topology:
    """All links; names missing from the inventory are left out, and problems() reports them."""
    by_name = {member.name: member for member in members}
    links: dict[frozenset[str], Link] = {}
    for dialler, dialled, place in _wanted(members, by_name):
        pair = frozenset((dialler.name, dialled.name))
        if len(pair) == 2 and pair not in links:
            links[pair] = _link(dialler, dialled, place, by_name)
    neighbours: dict[str, list[Member]] = {member.name: [] for member in members}
    for link in links.values():
        neighbours[link.dialler.name].append(link.dialled)
        neighbours[link.dialled.name].append(link.dialler)
    return Topology(
        tuple(members),
        tuple(links.values()),
        {name: tuple(found) for name, found in neighbours.items()},
        tuple(member for member in members if member.hub),
    )


def _wanted(
    members: Sequence[Member], by_name: Mapping[str, Member]
) -> Iterator[tuple[Member, Member, Mapping[str, Any]]]:
    """The desired links, the most specific first; a pair may be repeated."""
    hubs = [member for member in members if member.hub]
    for member in members:
        for place in member.links:
            if place["peer"] in by_name:
                yield member, by_name[place["peer"]], place
    for index, hub in enumerate(hubs):
        for earlier in hubs[:index]:
            yield hub, earlier, {}
    for member in members:
        if not member.hub:
            chosen = hubs if member.hubs is None else [by_name[name] for name in member.hubs if name in by_name]
            for hub in chosen:
                yield member, hub, {}
    sites: dict[str, list[Member]] = {}
    for member in members:
        if member.site:
            for earlier in sites.setdefault(member.site, []):
                yield member, earlier, {}
            sites[member.site].append(member)


def _link(dialler: Member, dialled: Member, place: Mapping[str, Any], by_name: Mapping[str, Member]) -> Link:
    host, port = dialled.dial_host, dialled.dial_port
    jumps: tuple[Hop, ...] = ()
    at_home = dialler.site is not None and dialler.site == dialled.site and dialled.site_host is not None
    if at_home:
        host, port = str(dialled.site_host), dialled.site_port
    if not place.get("host") and not at_home:
        jumps = tuple(Hop(member, member.dial_host, member.dial_port) for member in _way(dialler, dialled, by_name))
    return Link(dialler, dialled, place.get("host") or host, place.get("port") or port, jumps)


def _way(dialler: Member, dialled: Member, by_name: Mapping[str, Member]) -> list[Member]:
    """The jump hosts on the way, the first one to dial first; a cycle ends it."""
    way: list[Member] = []
    here = dialled
    while here.jump in by_name and here.jump != dialler.name:
        here = by_name[str(here.jump)]
        if here in way or here is dialled:
            break
        way.append(here)
    return way[::-1]


def problems(fleet: Topology, connections: Mapping[str, str], gone: Collection[str] = ()) -> list[str]:
    """Problems of the fleet as a whole.

    connections: Ansible's variables of the connection to each host. gone: nodes that are about to leave the fleet.
    """
    members, names = fleet.members, [member.name for member in fleet.members]
    found = []
    without = f"without {_list(list(gone))} " if gone else ""
    way_out = " and run site first, or take all of it back with overssh.swarm.teardown" if gone else ""
    if len(members) < 2:
        number = f"{len(members)} host{'s' * (len(members) != 1)}"
        end = "; take all of it back with overssh.swarm.teardown." if gone else "."
        found.append(f"{without}the group has {number}; a fleet takes two or more{end}")
    if not fleet.hubs:
        found.append(
            f"{without}no host of the group is a hub; set overssh_hub: true on the one of {_list(names)} that others "
            f"can dial{way_out}."
        )
    if members and not any(member.manager for member in members):
        found.append(
            f"{without}no host of the group is a manager; set overssh_manager: true on one of {_list(names)}{way_out}."
        )
    known = set(names)
    for member in members:
        found += _own(member, known)
        if fleet.hubs and not member.hub:
            found += _lost(member, fleet, known)
    found += [sentence for link in fleet.links for sentence in _transport(link)]
    found += _no_address(fleet, connections)
    found += _cycles(members)
    return found


def _own(member: Member, known: set[str]) -> Iterator[str]:
    """Problems of one node's settings."""
    if not fleet_settings.NETWORK_NAME.match(member.name) or len(member.name) > LONGEST_NAME:
        yield (
            f"{member.name}: an inventory name becomes the name of units and containers; it takes up to "
            f"{LONGEST_NAME} letters, digits, '_', '.' and '-'."
        )
    if member.hub and member.hubs is not None:
        yield f"{member.name}: overssh_hubs is for nodes that are no hubs, and hubs dial each other; take it out."
    named = {
        "overssh_hubs": member.hubs or (),
        "overssh_links": [place["peer"] for place in member.links],
        "overssh_jump": [member.jump] if member.jump else [],
    }
    for variable, names in named.items():
        for name in names:
            if name not in known:
                yield f"{member.name}: {variable} names {name}, which is no host of the group."
            elif name == member.name:
                yield f"{member.name}: {variable} names the host itself; take it out."


def _lost(member: Member, fleet: Topology, known: Collection[str]) -> Iterator[str]:
    """Why a node that is no hub reaches none."""
    hubs = {hub.name for hub in fleet.hubs}
    for name in member.hubs or ():
        if name in known and name not in hubs and name != member.name:
            yield f"{member.name}: overssh_hubs names {name}, which is no hub; set overssh_hub: true there."
    if not fleet.uplinks(member):
        yield (
            f"{member.name}: has no link with a hub, so nobody passes its packets on; name one of "
            f"{_list(sorted(hubs))} in its overssh_hubs."
        )


def _transport(link: Link) -> Iterator[str]:
    """Problems of a link with its transport."""
    name = link.dialler.name
    if link.dialler.transport != "tun":
        return
    if lanes_at_start(link.dialler.lanes) > 1:
        yield (
            f"{name}: overssh_lanes is {link.dialler.lanes}, and the transport tun has one lane only; set "
            "overssh_transport: stream, or leave overssh_lanes out."
        )
    if link.mtu > fleet_settings.LARGEST_TUN_MTU:
        yield (
            f"{name}: overssh_mtu is {link.dialler.mtu}, and the transport tun loses everything from the first packet "
            f"over {fleet_settings.LARGEST_TUN_MTU} bytes on; set overssh_mtu: auto, or overssh_transport: stream."
        )


def _no_address(fleet: Topology, connections: Mapping[str, str]) -> Iterator[str]:
    """The nodes that somebody has to dial at an address that only they themselves understand."""
    reported = set()
    for link in fleet.links:
        places = [(link.dialled, link.host), *((hop.member, hop.host) for hop in link.jumps)]
        for member, host in places:
            nowhere = _is_loopback(host) or (connections.get(member.name) == "local" and host == member.name)
            if nowhere and member.name not in reported:
                reported.add(member.name)
                yield (
                    f"{member.name}: is to be dialled by {link.dialler.name}, and {host} is no address that another "
                    "host can dial; set overssh_dial_host."
                )


def _is_loopback(host: str) -> bool:
    literal = _literal(host)
    return host.rstrip(".").lower() == "localhost" if literal is None else literal.is_loopback


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is named by, None where it has a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def family_problems(fleet: Topology, families: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """Links to an address of a family that the dialling node does not have.

    families: of each node, by name; empty where unknown.
    """
    for link in fleet.links:
        # Through jump hosts it is the last of them that connects.
        who, host = (link.jumps[-1].member, link.host) if link.jumps else (link.dialler, link.host)
        literal, has = _literal(host), families.get(who.name, ())
        if literal is not None and has and literal.version not in has:
            yield (
                f"{who.name}: is to dial {link.dialled.name} at {host}, and has no IPv{literal.version} address; give "
                f"{link.dialled.name} an overssh_dial_host that it can dial, or {who.name} an address of that kind."
            )


def _cycles(members: Sequence[Member]) -> Iterator[str]:
    """Jump hosts that are dialled through each other."""
    jumps = {member.name: member.jump for member in members}
    reported: set[str] = set()
    for name in jumps:
        way = [name]
        while (following := jumps.get(way[-1])) is not None and following not in way:
            way.append(following)
        if following == name and name not in reported and len(way) > 1:
            reported.update(way)
            yield (
                f"{name}: is dialled through {' through '.join([*way[1:], name])}, which never begins; take one "
                "overssh_jump out."
            )


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
