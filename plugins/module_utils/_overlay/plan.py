# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps to a desired overlay network; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from .._core.errors import OversshError
from .._core.plan import Plan, Step
from .model import AUTO, ENCRYPTED, MANAGED, MTU, VXLAN_IDS, Attached, Desired, Observed, OverlayNetwork, Subnet
from .mtu import mtu_difference, wanted_mtu

ABSENT: dict[str, Any] = {"state": "absent"}
INGRESS = "ingress"
SUBNETS = "subnets"
# The length of the IDs that 'docker network ls' shows.
SHORT_ID = 12
# What the engine makes with every new swarm.
NEW_INGRESS = OverlayNetwork(name=INGRESS, network_id="", driver="overlay", scope="swarm", ingress=True)


def plan_network(desired: Desired, observed: Observed) -> Plan:
    """The plan; OversshError where a needed change has to be allowed by the operator first."""
    found = observed.network
    if not desired.ingress and (desired.name == INGRESS or (found and found.ingress)):
        raise OversshError(
            f"the network {desired.name} is the engine's own ingress network; choose another name, or set "
            "ingress: true to manage that one"
        )
    if desired.state == "absent" and observed.state == "inactive" and not (found and found.is_overlay):
        return Plan(ABSENT, ABSENT)
    _refuse_elsewhere(observed)
    if found and not found.is_overlay:
        raise OversshError(
            f"{found.name} is a {found.driver} network of this host, which is not touched; choose another name"
        )
    if desired.state == "absent":
        return _plan_absent(desired, observed)
    _refuse_what_does_not_work(desired, observed)
    if desired.ingress:
        found = NEW_INGRESS if found is None and observed.to_come else found
        desired = _kept(desired, found)
    wanted = _wanted(desired, observed)
    after = _described(wanted)
    if MTU not in wanted.options:
        after["mtu"] = AUTO
    if found is None:
        _refuse_whole_pool(desired.name, desired.subnets, observed.pools)
        return Plan(ABSENT, after, (_create(wanted),))
    differences = _differences(desired, observed, found)
    if not differences:
        return _plan_nodes(observed, found)
    if desired.on_change != "recreate" or observed.publishers:
        raise OversshError(
            f"the network {found.name} is there, but {', '.join(differences)}; Docker can't change that in place: "
            f"{_way(desired, observed)}"
        )
    if {each.subnet for each in found.subnets} != {each.subnet for each in desired.subnets}:
        _refuse_whole_pool(desired.name, desired.subnets, observed.pools)
    off = tuple(_take_off(found.name, one) for one in observed.attached)
    back = tuple(_put_back(found.name, _fitting(one, wanted.subnets)) for one in reversed(observed.attached))
    return Plan(_described(found), after, (*off, _remove(found), _create(wanted), *back))


def has_to_be_remade(desired: Desired, observed: Observed) -> bool:
    """Whether a network of that name is there, and Docker can't change it to the desired one; not for ingress."""
    if desired.state == "absent" or desired.ingress or observed.network is None or not observed.network.is_overlay:
        return False
    try:
        return bool(_differences(desired, observed, observed.network))
    except OversshError:  # which the plan tells
        return False


def _refuse_what_does_not_work(desired: Desired, observed: Observed) -> None:
    """OversshError where Docker accepts a network and containers then miss each other, or something else."""
    if observed.esp is False:
        raise OversshError(
            f"the network {desired.name} is to be encrypted, and the kernel of this host has no ESP, so that "
            "containers here would reach none on other nodes, although Docker calls them running; load the kernel "
            "module esp4, or leave encrypted out"
        )
    if observed.network:
        _refuse_twins(observed.network.name, observed)
    else:
        _refuse_name(desired.name, observed)
    refuse_overlap(desired.name, desired.subnets, desired.underlay, observed)


def refuse_overlap(name: str, subnets: Iterable[Subnet], underlay: str | None, observed: Observed) -> None:
    """OversshError where a subnet overlaps the underlay, a route of a host, or another network, or has a name server.

    Containers look for an address of their network only there, and so does Docker for their name server.
    """
    for subnet in (each.subnet for each in subnets):
        network = ipaddress.ip_network(subnet)
        for other in observed.others:
            for theirs in (each.subnet for each in other.subnets):
                if _overlap(network, ipaddress.ip_network(theirs)):
                    raise OversshError(
                        f"the subnet {subnet} of {name} overlaps {theirs} of the Docker network {other.name}; choose "
                        "another subnet"
                    )
        if underlay and _overlap(network, ipaddress.ip_network(underlay)):
            raise OversshError(f"the subnet {subnet} of {name} overlaps the underlay {underlay}; choose another subnet")
        for route in observed.routes:
            if _overlap(network, route.destination):
                raise OversshError(
                    f"the subnet {subnet} of {name} overlaps the route {route.destination} of this host (device "
                    f"{route.device or 'none'}); choose another subnet"
                )
        for resolver in observed.resolvers:
            if _is_in(resolver, network):
                raise OversshError(
                    f"the name server {resolver} of this host is in the subnet {subnet} of {name}, so that containers "
                    "there would resolve no names; choose another subnet"
                )


def _refuse_whole_pool(name: str, subnets: Iterable[Subnet], pools: Iterable[str]) -> None:
    """OversshError where a new network takes all of an address pool of the swarm; a part of it Docker leaves out."""
    for subnet in (each.subnet for each in subnets):
        for pool in pools:
            if ipaddress.IPv4Network(pool).subnet_of(ipaddress.IPv4Network(subnet)):
                raise OversshError(
                    f"the subnet {subnet} of {name} takes the whole address pool {pool} of the swarm, which networks "
                    "without a subnet get theirs from; choose a smaller or another one"
                )


def _refuse_name(name: str, observed: Observed) -> None:
    """OversshError where the name of a new network stands for another one too.

    The swarm takes no name twice, whatever its capitals. Docker takes the beginning of an ID for the network with that
    ID; a shorter name than the IDs that 'docker network ls' shows is nothing that anybody takes for one.
    """
    for other in observed.others:
        if other.scope == "swarm" and other.name.lower() == name.lower():
            raise OversshError(
                f"the swarm has the network {other.name}, and takes {name} for the same name; choose another name"
            )
        if len(name) >= SHORT_ID and other.network_id.startswith(name):
            raise OversshError(
                f"the name {name} is also the beginning of the ID of the network {other.name}, which Docker may take "
                "it for; choose another name"
            )


def _refuse_twins(name: str, observed: Observed) -> None:
    """OversshError where a network of this host alone has the name too, which is ambiguous for Docker then."""
    for other in observed.others:
        if other.name == name and other.scope != "swarm":
            raise OversshError(
                f"two networks here are called {name}, the swarm's and a {other.driver} network of this host alone, so "
                f"that Docker refuses the name as ambiguous; remove the latter with 'docker network rm "
                f"{other.network_id[:SHORT_ID]}'"
            )


def _wanted(desired: Desired, observed: Observed) -> OverlayNetwork:
    """The network to ask the engine for."""
    options = dict(desired.options)
    mtu = wanted_mtu(desired, observed)
    if mtu is not None:
        options[MTU] = str(mtu)
    if desired.encrypted:
        options[ENCRYPTED] = ""
    return OverlayNetwork(
        name=desired.name,
        network_id="",
        driver="overlay",
        scope="swarm",
        subnets=desired.subnets,
        attachable=desired.attachable,
        internal=desired.internal,
        ingress=desired.ingress,
        labels={**desired.labels, MANAGED: "true"},
        options=options,
    )


def _kept(desired: Desired, found: OverlayNetwork | None) -> Desired:
    """The ingress network as asked for, and in all else as it is, its addresses above all.

    It can't be attachable. Its VXLAN ID may still be in use on nodes while they let the old one go.
    """
    if found is None:
        return replace(desired, attachable=False)
    left = {key: value for key, value in found.options.items() if key not in (MTU, ENCRYPTED, VXLAN_IDS)}
    kept = replace(
        desired,
        name=found.name,
        attachable=False,
        internal=found.internal,
        encrypted=desired.encrypted or found.encrypted,
        labels={**found.labels, **desired.labels},
        options={**left, **desired.options},
    )
    return kept if desired.subnets else replace(kept, subnets=found.subnets)


def _plan_nodes(observed: Observed, found: OverlayNetwork) -> Plan:
    """The steps for an unchanged network: nodes without it have to be touched."""
    described = _described(found)
    if not observed.missing:
        return Plan(described, described)
    step = Step("spread", f"have {', '.join(observed.missing)} take part in {found.name}")
    return Plan({**described, "missing": list(observed.missing)}, {**described, "missing": []}, (step,))


def _way(desired: Desired, observed: Observed) -> str:
    if observed.publishers:
        return (
            "it has to be made anew, which Docker refuses while services publish ports through it, as now "
            f"{', '.join(observed.publishers)}; have them publish in mode host, or remove them, and run this again "
            "with on_change: recreate"
        )
    users = "service publishes ports through it" if desired.ingress else "container uses it"
    way = "set on_change: recreate to have it removed and made anew"
    if not observed.users:
        return f"{way}, once no {users}"
    return (
        f"{way}; it is used by {', '.join(observed.users)}, of which services and the containers of this host are "
        "taken off it meanwhile, and services begin their tasks anew; others have to be removed before"
    )


def _plan_absent(desired: Desired, observed: Observed) -> Plan:
    found = observed.network
    if found is None:
        return Plan(ABSENT, ABSENT)
    if observed.publishers:
        raise OversshError(
            f"the network {found.name} can't be removed while services publish ports through it, as now "
            f"{', '.join(observed.publishers)}"
        )
    if not found.ours and desired.on_change != "recreate":
        raise OversshError(
            f"the network {found.name} was not made by this collection (it has no label {MANAGED}); remove it with "
            f"'docker network rm {found.name}', or set on_change: recreate to agree"
        )
    return Plan(_described(found), ABSENT, (_remove(found),))


def _refuse_elsewhere(observed: Observed) -> None:
    if not (observed.manager or observed.to_come):
        what = {"active": "a worker of its swarm", "inactive": "in no swarm"}.get(
            observed.state, f"in a swarm whose state here is {observed.state}"
        )
        raise OversshError(
            f"overlay networks are made and removed on a manager, and this host is {what}; run it on one"
        )


def _differences(desired: Desired, observed: Observed, found: OverlayNetwork) -> list[str]:
    """The differences from the desired network, in words; before its allocation only those known by then."""
    asked: list[tuple[str, Any, Any]] = [
        ("attachable", found.attachable, desired.attachable),
        ("internal", found.internal, desired.internal),
    ]
    if found.allocated:
        asked += _subnets_asked(desired.subnets, found.subnets)
        asked += [("encrypted", found.encrypted, desired.encrypted)]
        asked += [(f"option {key}", found.options.get(key), value) for key, value in desired.options.items()]
    asked += [(f"label {key}", found.labels.get(key), value) for key, value in desired.labels.items()]
    differences = [
        f"its {name} {'are' if name == SUBNETS else 'is'} {_word(is_)}, not {_word(wanted)}"
        for name, is_, wanted in asked
        if wanted is not None and is_ != wanted
    ]
    too_much_or_little = mtu_difference(desired, observed, found)
    return [*differences, too_much_or_little] if too_much_or_little else differences


def _subnets_asked(wanted: Sequence[Subnet], found: Sequence[Subnet]) -> Iterator[tuple[str, str | None, str | None]]:
    """The subnets, and what is asked for within each; their order is no difference."""
    there = {each.subnet: each for each in found}
    if wanted and {each.subnet for each in wanted} != set(there):
        is_, asked = _listed(found), _listed(wanted)
        yield "subnet" if len(wanted) == len(found) == 1 else SUBNETS, is_, asked
        return
    for each in wanted:
        where = f" in {each.subnet}" if len(wanted) > 1 else ""
        yield f"gateway{where}", there[each.subnet].gateway, each.gateway
        yield f"ip_range{where}", there[each.subnet].ip_range, each.ip_range


def _listed(subnets: Iterable[Subnet]) -> str:
    return " and ".join(each.subnet for each in subnets)


def _take_off(name: str, one: Attached) -> Step:
    return replace(_detach(name, one), inverse=_attach(name, one))


def _put_back(name: str, one: Attached) -> Step:
    return replace(_attach(name, one), inverse=_detach(name, one))


def _detach(name: str, one: Attached) -> Step:
    args = {"kind": one.kind, "ident": one.ident, "name": name}
    return Step("detach", f"take the {one.kind} {one.name} off {name}", args)


def _attach(name: str, one: Attached) -> Step:
    args = {"kind": one.kind, "ident": one.ident, "name": name, "entry": dict(one.entry), "at": one.at}
    return Step("attach", f"put the {one.kind} {one.name} back on {name}", args)


def _fitting(one: Attached, subnets: Sequence[Subnet]) -> Attached:
    """The connection as it can be on the new network: a container keeps its address where that has it too.

    Docker names the address of a container as its owner's choice, also where it is the swarm's.
    """
    address = (one.entry.get("IPAMConfig") or {}).get("IPv4Address")
    if not address or any(_is_in(address, ipaddress.ip_network(each.subnet)) for each in subnets):
        return one
    return replace(one, entry={key: value for key, value in one.entry.items() if key != "IPAMConfig"})


def _create(wanted: OverlayNetwork) -> Step:
    name, subnets = wanted.name, _listed(wanted.subnets) or "the swarm's pool"
    return Step(
        "create",
        f"make the overlay network {name} on {subnets}",
        {"body": _body(wanted)},
        Step("remove", f"remove the overlay network {name} again", {"name": name, "network_id": None}),
    )


def _remove(found: OverlayNetwork) -> Step:
    """The inverse asks for the same network again, VXLAN ID included; see _kept for why not always."""
    options = {key: value for key, value in found.options.items() if not (found.ingress and key == VXLAN_IDS)}
    body = _body(replace(found, options=options))
    return Step(
        "remove",
        f"remove the overlay network {found.name}",
        {"name": found.name, "network_id": found.network_id},
        Step("create", f"make the overlay network {found.name} again", {"body": body}),
    )


def _body(network: OverlayNetwork) -> dict[str, Any]:
    """The engine's request for the network."""
    ipam: dict[str, Any] = {"Driver": "default"}
    if network.subnets:
        ipam["Config"] = [_without_empty(_config(each)) for each in network.subnets]
    return {
        "Name": network.name,
        "Driver": "overlay",
        "Scope": "swarm",
        "CheckDuplicate": True,
        "Attachable": network.attachable,
        "Internal": network.internal,
        "Ingress": network.ingress,
        "IPAM": ipam,
        "Labels": dict(network.labels),
        "Options": dict(network.options),
    }


def _config(subnet: Subnet) -> dict[str, Any]:
    return {"Subnet": subnet.subnet, "Gateway": subnet.gateway, "IPRange": subnet.ip_range}


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _described(network: OverlayNetwork) -> dict[str, Any]:
    """The network for the operator's eyes, before and after."""
    found: dict[str, Any] = {
        "state": "present",
        "attachable": network.attachable,
        "internal": network.internal,
        "encrypted": network.encrypted,
        "mtu": network.mtu,
        "labels": dict(network.labels),
    }
    options = {key: value for key, value in network.options.items() if key not in (MTU, ENCRYPTED, VXLAN_IDS)}
    subnets = [_without_empty(asdict(each)) for each in network.subnets]
    addresses = subnets[0] if len(subnets) == 1 else {"subnets": subnets}
    return {**found, **_without_empty({**addresses, "options": options})}


def _overlap(one: Any, other: Any) -> bool:
    return bool(one.version == other.version and one.overlaps(other))


def _is_in(text: str, network: Any) -> bool:
    try:
        return ipaddress.ip_address(text) in network
    except ValueError:  # a name server that nothing finds
        return False


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
