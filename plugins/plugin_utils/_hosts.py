# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts themselves say to the plan: what they lack, what they hold, what they would collide with.

Reads the answers of host_info, one mapping per host; pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

OUR_ALIAS = "overssh "
OLDEST_PYTHON = (3, 9)


def problems(found: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
    """Why a host can't take part, one sentence each."""
    said = []
    for name, host in found.items():
        if not host:
            said.append(
                f"{name}: was not looked at, since the run is limited to other hosts; the plan takes the whole group, "
                f"so run it without a limit, hosts that are as they should be stay so."
            )
        elif host.get("unreachable"):
            said.append(f"{name}: can't be reached over ssh: {_first_line(host.get('msg'))}")
        elif host.get("failed") or "host" not in host:
            said.append(f"{name}: could not be looked at: {_first_line(host.get('msg') or host.get('module_stderr'))}")
        else:
            said += [f"{name}: {sentence}" for sentence in host["host"]["problems"]]
            said += _foreign_swarm(name, host, ipaddress.IPv4Network(settings["underlay"]))
    return said


def families(answer: Mapping[str, Any]) -> list[int]:
    """The address families that the host can dial others with; empty where that is not known."""
    return list(answer.get("host", {}).get("families", []))


def sshd_problems(found: Mapping[str, Mapping[str, Any]], dialled: set[str]) -> list[str]:
    """Why one of the hosts that others dial would not let them in."""
    return [
        f"{name}: {sentence}"
        for name, answer in found.items()
        if name in dialled
        for sentence in answer.get("host", {}).get("sshd", {}).get("problems", [])
    ]


def helper_problems(found: Mapping[str, Mapping[str, Any]], streams: set[str]) -> list[str]:
    """Why the helper of the stream transport can't run on one of the hosts that it has to run on."""
    said = []
    for name, answer in found.items():
        python = answer.get("host", {}).get("python")
        if name not in streams or not python:
            continue
        way_out = "name one of version 3.9 or later with overssh_python"
        if python["error"]:
            said.append(
                f"{name}: {python['path']}, which is to run the helper of the stream transport, can't be run by an "
                f"account without privileges ({python['error']}); {way_out}."
            )
        elif _version(python["version"]) < OLDEST_PYTHON:
            said.append(
                f"{name}: {python['path']} is Python {python['version']}, which is too old for the helper of the "
                f"stream transport; {way_out}."
            )
    return said


def python_fits(answer: Mapping[str, Any]) -> bool:
    """Whether programs of ours run with the host's Python; True where it is yet to be seen."""
    python = answer.get("host", {}).get("python")
    return not python or (not python["error"] and _version(python["version"]) >= OLDEST_PYTHON)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))


def host_keys(answer: Mapping[str, Any]) -> list[str]:
    """The public keys by which the host's sshd is known."""
    return list(answer["host"]["sshd"].get("host_keys", []))


def in_swarm(answer: Mapping[str, Any]) -> bool:
    """Whether the host is an active member of a swarm."""
    return bool(answer["host"]["docker"].get("swarm") == "active")


def _foreign_swarm(name: str, answer: Mapping[str, Any], underlay: ipaddress.IPv4Network) -> list[str]:
    """A swarm that was formed on other addresses than ours is somebody else's."""
    address = answer["host"]["docker"].get("swarm_address")
    if not address or (":" not in address and ipaddress.IPv4Address(address) in underlay):
        return []
    return [
        f"{name}: is in a swarm already, as {address}, which is not in overssh_underlay {underlay}; a swarm can't "
        f"follow a change of addresses, so take the host out of that swarm with 'docker swarm leave' first."
    ]


def _first_line(words: Any) -> str:
    lines = [line.strip() for line in str(words or "no reason was given").splitlines() if line.strip()]
    return " ".join(lines[:2]).rstrip(".") + "."


def devices(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tun devices that a host has."""
    return list(answer.get("host", {}).get("devices", []))


def ours(device: Mapping[str, Any]) -> bool:
    """Whether this collection made the device; its alias says so."""
    return str(device.get("alias") or "").startswith(OUR_ALIAS)


def own_devices(answer: Mapping[str, Any]) -> set[str]:
    """The names of the devices that are ours."""
    return set(own_peers(answer))


def own_peers(answer: Mapping[str, Any]) -> dict[str, str]:
    """The nodes that our devices lead to, by device."""
    return {device["name"]: str(device["alias"])[len(OUR_ALIAS) :] for device in devices(answer) if ours(device)}


def foreign_devices(answer: Mapping[str, Any]) -> set[str]:
    """The names of interfaces that are not ours."""
    return {device["name"] for device in devices(answer) if not ours(device)}


def held(found: Mapping[str, Mapping[str, Any]], underlay: str) -> dict[str, str]:
    """The underlay addresses in use, by node name.

    A node's own devices come first; a node whose devices are gone (reinstalled, unplugged) is still remembered by its
    peers, whose devices carry its name and its address.
    """
    space = ipaddress.IPv4Network(underlay)
    own: dict[str, str] = {}
    remembered: dict[str, str] = {}
    for name, answer in found.items():
        for device in filter(ours, devices(answer)):
            peer_name = str(device["alias"])[len(OUR_ALIAS) :]
            for pair in device.get("addresses", []):
                if pair.get("address") and ipaddress.IPv4Address(pair["address"]) in space:
                    own.setdefault(name, pair["address"])
                if pair.get("peer") and ipaddress.IPv4Address(pair["peer"]) in space:
                    remembered.setdefault(peer_name, pair["peer"])
    return {**remembered, **own}


def collisions(found: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
    """Networks of the settings that overlap each other, or a route of any host."""
    planned = list(_planned(settings))
    said = []
    for index, (variable, one) in enumerate(planned):
        for other_variable, other in planned[index + 1 :]:
            if one.overlaps(other):
                said.append(f"{other_variable} {other} overlaps {variable} {one}; choose networks that don't.")
    for name, answer in found.items():
        mine = {device["name"] for device in devices(answer) if ours(device)}
        seen = set()
        for destination, interface in _routes(answer):
            for variable, network in planned:
                if interface in mine or not network.overlaps(destination) or variable in seen:
                    continue
                seen.add(variable)
                via = f" (on {interface})" if interface else ""
                said.append(
                    f"{name}: {variable} {network} overlaps the host's route {destination}{via}; choose another."
                )
    return said


def _planned(settings: Mapping[str, Any]) -> Iterator[tuple[str, ipaddress.IPv4Network]]:
    yield "overssh_underlay", ipaddress.IPv4Network(settings["underlay"])
    for pool in settings["swarm_pool"]:
        yield "overssh_swarm_pool", ipaddress.IPv4Network(pool)
    for overlay in settings["overlays"]:
        yield f"overssh_overlays: {overlay['name']}", ipaddress.IPv4Network(overlay["subnet"])


def _routes(answer: Mapping[str, Any]) -> Iterator[tuple[ipaddress.IPv4Network, str]]:
    """A host's routes with their devices, without the default route, which every address is behind."""
    for route in answer.get("host", {}).get("routes", []):
        yield ipaddress.IPv4Network(route["destination"], strict=False), str(route.get("device") or "")
