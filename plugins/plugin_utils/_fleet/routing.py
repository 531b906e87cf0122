# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of a node to nodes that are no neighbours; pure.

The kernel has a route to each neighbour by the address of its device, and prefers it while the link is up. The routes
here come after these. A node that is no hub sends everything else to its hubs, the preferred one first. A hub sends
packets without a link, or without one that is up, to the first other hub. Packets from a hub have a table of their own:
to the neighbour itself, or to a later hub. So every hub that could have a link is tried, and no packet loops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .topology import Member, Topology

# Metrics: of the first hub, from each to the next one, and of the device that takes what no link takes. The kernel
# gives an IPv6 route to a neighbour 256, and one that names no metric 1024.
FIRST, STEP, LAST = 2000, 100, 1_000_000
# By which alone goes what comes from another hub.
HUBS_TABLE = 7946


def routes(
    fleet: Topology, member: Member, addresses: Mapping[str, str], underlay: str
) -> dict[str, list[dict[str, Any]]]:
    """A node's routes of one family, by the neighbour that they lead to.

    The routes of its own device take packets that no link takes. addresses, underlay: of that family.
    """
    mine = addresses[member.name]
    found: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in fleet.neighbours[member.name]}
    found[member.name] = [{"destination": underlay, "source": mine, "metric": LAST}]
    others = [hub for hub in fleet.hubs if hub.name in found and hub is not member] if member.hub else []
    _through(found, others or fleet.uplinks(member), underlay, mine)
    if not others:
        return found
    for peer in fleet.neighbours[member.name]:
        found[peer.name].append({**_to(addresses[peer.name], mine), "table": HUBS_TABLE})
    _through(found, _later(member, fleet.hubs), underlay, mine, HUBS_TABLE)
    for leaf in fleet.members:
        ways = [] if leaf.hub else fleet.uplinks(leaf)
        # Where every hub has a link with it, the routes above do.
        if leaf.hub or len(ways) == len(fleet.hubs):
            continue
        destination = _alone(addresses[leaf.name])
        _through(found, [hub for hub in ways if hub is not member], destination, mine)
        _through(found, _later(member, ways), destination, mine, HUBS_TABLE)
        found[member.name].append({**_to(addresses[leaf.name], mine), "metric": LAST, "table": HUBS_TABLE})
    return found


def _later(member: Member, hubs: Sequence[Member]) -> list[Member]:
    """The hubs after a hub; none where it is not among them."""
    places = [place for place, hub in enumerate(hubs) if hub is member]
    return list(hubs[places[0] + 1 :]) if places else []


def _through(
    found: dict[str, list[dict[str, Any]]],
    hubs: Sequence[Member],
    destination: str,
    source: str,
    table: int | None = None,
) -> None:
    """Routes to one destination through each of the hubs that there is a link with, the first one preferred."""
    for place, hub in enumerate(hubs):
        if hub.name in found:
            route = {"destination": destination, "source": source, "metric": FIRST + STEP * place}
            found[hub.name].append(route if table is None else {**route, "table": table})


def _to(address: str, source: str) -> dict[str, Any]:
    return {"destination": _alone(address), "source": source}


def _alone(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"
