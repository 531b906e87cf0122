# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight's findings and site's remaining work, in three lines; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import hosts
from .settings import subnets_of
from .topology import Topology

# More than these are counted, not named.
NAMED = 4


def summary(plan: Mapping[str, Any], shape: Topology, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The three lines: hosts, plan, and remaining work. plan: of a fleet without problems."""
    return [
        f"Found: {_hosts_line(plan, shape, found)}.",
        f"Plan: {_plan_line(plan, shape)}.",
        f"site would {_left(plan, found)}.",
    ]


def _hosts_line(plan: Mapping[str, Any], shape: Topology, found: Mapping[str, Mapping[str, Any]]) -> str:
    nodes = plan["nodes"].values()
    versions = sorted({str(answer["host"]["docker"].get("version") or "") for answer in found.values()} - {""})
    docker = f", Docker {' and '.join(versions)}" if versions else ""
    managers = [node["name"] for node in nodes if node["manager"]]
    return (
        f"{_count(len(found), 'host')} fit to take part{docker}; {_names(hub.name for hub in shape.hubs)} as "
        f"{'hub' if len(shape.hubs) == 1 else 'hubs'}, {_names(managers)} as "
        f"{'manager' if len(managers) == 1 else 'managers'}"
    )


def _plan_line(plan: Mapping[str, Any], shape: Topology) -> str:
    dialled: dict[tuple[str, str, int], list[str]] = {}
    for link in shape.links:
        dialled.setdefault((link.dialled.name, link.host, link.port), []).append(link.dialler.name)
    ways = [
        f"{_names(diallers)} {'dials' if len(diallers) == 1 else 'dial'} {name} at {host} port {port}"
        for (name, host, port), diallers in dialled.items()
    ]
    settings = plan["settings"]
    networks = [f"{each['name']} {' + '.join(subnets_of(each))}" for each in settings["overlays"]]
    return (
        f"{'; '.join(ways) if len(ways) <= NAMED else _count(len(shape.links), 'link')}; underlay "
        f"{settings['underlay']}, overlay {'networks' if len(networks) > 1 else 'network'} {_names(networks) or 'none'}"
    )


def _left(plan: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> str:
    links = [link for node in plan["nodes"].values() for link in node["links"]]
    missing = [
        node["name"]
        for node in plan["nodes"].values()
        for link in node["links"]
        if link["device"] not in hosts.own_devices(found[node["name"]])
    ]
    outside = [name for name, node in plan["nodes"].items() if not node["in_swarm"]]
    steps = []
    if missing:
        steps.append(f"make {_count(len(missing), 'link')}{f' of {len(links)}' if len(missing) < len(links) else ''}")
    founds = plan["first_manager"] in outside
    if founds:
        steps.append(f"start a swarm on {plan['first_manager']}")
    joining = [name for name in outside if name != plan["first_manager"]]
    if joining:
        steps.append(f"join {_names(joining)} to {'it' if founds else 'the swarm'}")
    chosen = [name for name in outside if plan["nodes"][name]["bridge_subnet"]]
    if chosen:
        subnets = sorted({plan["nodes"][name]["bridge_subnet"] for name in chosen})
        steps.append(f"give docker_gwbridge the subnet {_names(subnets)} on {_names(chosen)}")
    if not steps:
        return "find all links made and all hosts in the swarm, see that firewalls and networks are so too, and verify"
    return f"{', '.join(steps)}, open the firewalls where they would drop the swarm's packets, and verify"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _names(names: Iterable[str]) -> str:
    given = list(names)
    if len(given) > NAMED:
        return f"{', '.join(given[: NAMED - 1])} and {len(given) - NAMED + 1} more"
    return _list(given)


def _list(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
