# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan's view of the hosts: what they lack, what they have, and their conflicts.

Reads the answers of host_info, one mapping per host; pure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Union

from .settings import subnets_of

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
UNDERLAYS = ("overssh_underlay", "overssh_underlay6")
OUR_ALIAS = "overssh "
OLDEST_PYTHON = (3, 9)
# Before, VXLAN had IPv4 only (moby 46790).
OLDEST_DOCKER_OF_IPV6 = 25
# The first and the last version of Docker that give encrypted packets another SPI than all others.
OTHER_SPI = ((29, 0, 0), (29, 2, 0))
# How a client sees that sshd takes no login from its address.
ENDED_AT_ONCE = ("Not allowed at this time", "kex_exchange_identification", "Connection closed by")


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
            said.append(
                f"{name}: can't be reached over ssh: {_first_line(host.get('msg'))}{_shut_out(host.get('msg'))}"
            )
        elif host.get("failed") or "host" not in host:
            said.append(f"{name}: could not be looked at: {_first_line(host.get('msg') or host.get('module_stderr'))}")
        else:
            said += [f"{name}: {sentence}" for sentence in host["host"]["problems"]]
            foreign = _foreign_swarm(name, host, settings)
            # A node of our swarm may have lost one of several ways, and what is to mend or verify it has to run.
            said += [] if in_a_swarm(host, members(found)) and not foreign else _undialled(name, host)
            said += foreign
    return said


def doubles(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The names of one machine, for each machine with several."""
    names: dict[str, list[str]] = {}
    for name, answer in found.items():
        machine = answer.get("host", {}).get("machine")
        if machine:
            names.setdefault(machine, []).append(name)
    return [several for several in names.values() if len(several) > 1]


def double_problems(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Sentences on machines with several names; such a machine would get the part of each name."""
    for names in doubles(found):
        yield f"{' and '.join(names)} are one machine, to which these names lead; leave one of them in the inventory."


def ipv6_problems(
    found: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any], hubs: Collection[str]
) -> Iterator[str]:
    """Why a host can't have an IPv6 underlay, or a swarm on it."""
    if settings["swarm_family"] == "ipv6" and not settings["underlay6"]:
        yield (
            "overssh_swarm_family is ipv6, and there is no overssh_underlay6; set that to an IPv6 network such as "
            "fd8a:91c4:6e27::/64."
        )
    for name, answer in found.items():
        host = answer.get("host", {})
        version = str(host.get("docker", {}).get("version") or "")
        if settings["swarm_family"] == "ipv6" and version and int(version.partition(".")[0]) < OLDEST_DOCKER_OF_IPV6:
            yield (
                f"{name}: Docker {version} does not send containers' traffic over IPv6, as versions from "
                f"{OLDEST_DOCKER_OF_IPV6} on do; upgrade it, or set overssh_swarm_family: ipv4."
            )
        ipv6 = host.get("ipv6")
        if not settings["underlay6"] or not ipv6:
            continue
        if not ipv6["enabled"]:
            yield (
                f"{name}: IPv6 is switched off there for new devices; set net.ipv6.conf.all.disable_ipv6 and "
                "net.ipv6.conf.default.disable_ipv6 to 0, or leave overssh_underlay6 out."
            )
        elif name in hubs and ipv6["forwarding"] == "off":
            yield (
                f"{name}: is a hub, and its kernel, older than 6.17, passes IPv6 packets on for the whole host or not "
                "at all; set net.ipv6.conf.all.forwarding to 1 there (and accept_ra to 2 before, on devices that take "
                "their addresses from a router), or leave overssh_underlay6 out."
            )


def encryption_problems(found: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> Iterator[str]:
    """Why containers of an encrypted network would not reach each other, although Docker calls them running."""
    networks = [overlay["name"] for overlay in settings["overlays"] if overlay["encrypted"]]
    if not networks:
        return
    what = f"the encrypted network{'' if len(networks) == 1 else 's'} {', '.join(networks)}"
    way_out = "leave encrypted out of overssh_overlays"
    versions = {}
    for name, answer in found.items():
        host = answer.get("host", {})
        if host.get("esp") is False:
            yield (
                f"{name}: the kernel has no ESP, so that containers there would reach no others on {what}; load the "
                f"kernel module esp4 there, or {way_out}."
            )
        versions[name] = str(host.get("docker", {}).get("version") or "")
    usual = next((name for name, version in versions.items() if version and not _marks_otherwise(version)), None)
    for name, version in versions.items():
        if usual and _marks_otherwise(version):
            yield (
                f"{name}: Docker {version} marks encrypted packets otherwise than Docker {versions[usual]} on {usual} "
                f"(29.0.0 to 29.2.0 do, with another SPI), so that their containers would not reach each other on "
                f"{what}; upgrade it to 29.2.1 or later, or {way_out}."
            )


def subnets_warnings(settings: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on networks of several subnets, in which Docker's own balancing is not whole (tried with 26.1)."""
    for overlay in settings["overlays"]:
        if len(subnets_of(overlay)) > 1:
            yield (
                f"overssh_overlays: {overlay['name']} has several subnets. Its containers reach each other, but not "
                "every node reaches every service at its own address, so that verify may fail for it; have services "
                "there use the endpoint mode dnsrr, or give the network one larger subnet."
            )


def _marks_otherwise(version: str) -> bool:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return found is not None and OTHER_SPI[0] <= tuple(map(int, found.groups())) <= OTHER_SPI[1]


def families(answer: Mapping[str, Any]) -> list[int]:
    """The address families that the host can dial with; empty where unknown."""
    return list(answer.get("host", {}).get("families", []))


def lines(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The measured speed of the links that the host dials; empty where unknown."""
    return list(answer.get("host", {}).get("lines", []))


def helper_problems(found: Mapping[str, Mapping[str, Any]], streams: set[str]) -> list[str]:
    """Why the helper of the stream transport can't run on a host that needs it."""
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
    """Whether our programs run with the host's Python; True where unknown yet."""
    python = answer.get("host", {}).get("python")
    return not python or (not python["error"] and _version(python["version"]) >= OLDEST_PYTHON)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))


def host_keys(answer: Mapping[str, Any]) -> list[str]:
    """The public keys of the host's sshd."""
    return list(answer["host"]["sshd"].get("host_keys", []))


def members(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The status of each node by its ID, from a manager among the hosts; empty without any."""
    said: dict[str, str] = {}
    for answer in found.values():
        said.update(answer.get("host", {}).get("docker", {}).get("members") or {})
    return said


def in_a_swarm(answer: Mapping[str, Any], listed: Mapping[str, str]) -> bool:
    """Whether the host is a member of a swarm: by the managers, else by its own engine.

    listed: see members(). An engine is not informed that its node was removed while it was away, and an engine whose
    first start failed calls itself failed for good.
    """
    docker = answer["host"]["docker"]
    word, node_id = docker.get("swarm"), docker.get("node_id")
    if not listed or not node_id:
        return bool(word == "active")
    return node_id in listed and (word == "active" or (word == "error" and listed[node_id] == "ready"))


def in_swarm(answer: Mapping[str, Any], address: str, listed: Mapping[str, str]) -> bool:
    """Whether the host is a member of a swarm at this address; listed: see members()."""
    return in_a_swarm(answer, listed) and bool(answer["host"]["docker"].get("swarm_address") == address)


def unavailable(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The availability of each node that takes no new containers, by address, from any manager."""
    said: dict[str, str] = {}
    for answer in found.values():
        said.update(answer.get("host", {}).get("docker", {}).get("unavailable") or {})
    return said


def warnings(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Sentences on conditions of a host that are no obstacle yet."""
    for name, answer in found.items():
        if answer.get("host") and in_a_swarm(answer, members(found)):
            yield from _undialled(name, answer)
    yield from _namesakes(found)


def _namesakes(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Machines that Docker calls by the same name; it keeps them apart by ID, and only its readers can't."""
    second = {name for names in doubles(found) for name in names[1:]}
    named: dict[str, list[str]] = {}
    for name, answer in found.items():
        hostname = answer.get("host", {}).get("docker", {}).get("hostname")
        if hostname and name not in second:
            named.setdefault(hostname, []).append(name)
    for hostname, names in named.items():
        if len(names) > 1:
            yield (
                f"{', '.join(names[:-1])} and {names[-1]} have the same host name, {hostname}. Docker lists nodes by "
                "host name, so 'docker node ls' and what is said of nodes won't tell them apart; give each a name of "
                "its own with 'hostnamectl set-hostname'."
            )


def _undialled(name: str, answer: Mapping[str, Any]) -> list[str]:
    """The places that a host can't dial."""
    return [f"{name}: {sentence}" for sentence in answer["host"].get("undialled", [])]


def addresses_to_keep(answer: Mapping[str, Any], dialled: Iterable[str]) -> list[Network]:
    """Addresses outside the fleet that a host has to reach: those it dials, name servers, the operator."""
    host = answer.get("host", {})
    texts = [*dialled, *host.get("resolvers", []), host.get("operator") or ""]
    return [network for text in texts if (network := _single(text)) is not None]


def _single(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text.strip("[]"))
    except ValueError:
        return None


def _foreign_swarm(name: str, answer: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """A swarm that was formed on other addresses than ours is somebody else's."""
    swarm = answer["host"]["docker"].get("swarm_address")
    if not swarm:
        return []
    address = ipaddress.ip_address(swarm)
    inside = [
        variable
        for variable in ("underlay", "underlay6")
        if settings[variable] and address in ipaddress.ip_network(settings[variable])
    ]
    wanted = "underlay6" if settings["swarm_family"] == "ipv6" else "underlay"
    if inside == [wanted]:
        return []
    if inside:
        return [
            f"{name}: is in the swarm as {address}, and overssh_swarm_family is {settings['swarm_family']}; a swarm "
            "can't follow a change of addresses, so set it back, or run overssh.swarm.teardown first."
        ]
    return [
        f"{name}: is in a swarm already, as {address}, which is not in overssh_{wanted} {settings[wanted]}; a swarm "
        f"can't follow a change of addresses, so take the host out of that swarm with 'docker swarm leave' first."
    ]


def _first_line(words: Any) -> str:
    lines = [line.strip() for line in str(words or "no reason was given").splitlines() if line.strip()]
    return " ".join(lines[:2]).rstrip(".") + "."


def _shut_out(words: Any) -> str:
    """The possible cause where sshd accepts a connection and ends it before a login."""
    if not any(sign in str(words) for sign in ENDED_AT_ONCE):
        return ""
    return (
        " Something answers there and ends the connection at once: sshd does that for a while where logins from the "
        "same address have failed before, and a NAT is one address (PerSourcePenalties; its journal says 'penalty'). "
        "Wait some minutes, or restart sshd there."
    )


def devices(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tun devices of a host."""
    return list(answer.get("host", {}).get("devices", []))


def ours(device: Mapping[str, Any]) -> bool:
    """Whether the device's alias marks it as ours."""
    return str(device.get("alias") or "").startswith(OUR_ALIAS)


def own_devices(answer: Mapping[str, Any]) -> set[str]:
    """The names of our devices."""
    return set(own_peers(answer))


def own_peers(answer: Mapping[str, Any]) -> dict[str, str]:
    """The nodes at the other ends of our devices, by device."""
    return {device["name"]: _peer(device) for device in devices(answer) if ours(device)}


def _peer(device: Mapping[str, Any]) -> str:
    return str(device["alias"])[len(OUR_ALIAS) :]


def foreign_devices(answer: Mapping[str, Any]) -> set[str]:
    """The names of others' interfaces."""
    return {device["name"] for device in devices(answer) if not ours(device)}


def held(found: Mapping[str, Mapping[str, Any]], underlay: str) -> dict[str, str]:
    """The underlay addresses in use, by node name.

    A node's own devices come first. Where they are gone (reinstalled, unplugged), the node's peers still have its name
    and address on theirs.
    """
    space = ipaddress.IPv4Network(underlay)
    own: dict[str, str] = {}
    remembered: dict[str, str] = {}
    # A second name for a machine has nothing besides what the first one has.
    second = {name for names in doubles(found) for name in names[1:]}
    for name, answer in found.items():
        if name in second:
            continue
        for device in filter(ours, devices(answer)):
            peer_name = _peer(device)
            for pair in device.get("addresses", []):
                if pair.get("address") and ipaddress.ip_address(pair["address"]) in space:
                    own.setdefault(name, pair["address"])
                if pair.get("peer") and ipaddress.ip_address(pair["peer"]) in space:
                    remembered.setdefault(peer_name, pair["peer"])
    return {**remembered, **own}


def collisions(found: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
    """Overlaps between networks of the settings, and with any host's route."""
    networks = planned(settings)
    said = []
    for index, (variable, one) in enumerate(networks):
        for other_variable, other in networks[index + 1 :]:
            if _overlap(one, other):
                said.append(f"{other_variable} {other} overlaps {variable} {one}; choose networks that don't.")
    for name, answer in found.items():
        mine = own_devices(answer)
        seen = set()
        for destination, interface in _routes(answer):
            for variable, network in networks:
                if interface in mine or not _overlap(network, destination) or variable in seen:
                    continue
                seen.add(variable)
                via = f" (on {interface})" if interface else ""
                said.append(
                    f"{name}: {variable} {network} overlaps the host's route {destination}{via}; choose another."
                )
    return said


def swallowed(
    dialled: Iterable[tuple[str, str]], found: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]
) -> Iterator[str]:
    """Addresses inside a network of the settings, which could not be reached any more.

    dialled: the targets of links, each with the name of its node. A host's packets for the underlay go into the
    tunnels, which are dialled at these very addresses. A container looks for an address of its overlay network only
    there, and so does Docker for its containers' name server.
    """
    underlays = [entry for entry in planned(settings) if entry[0] in UNDERLAYS]
    overlays = [entry for entry in planned(settings) if entry not in underlays]
    for name, address in dict.fromkeys(dialled):
        for variable, network in _around(address, underlays):
            yield (
                f"{name}: is dialled at {address}, which is in {variable} {network}, the network of the tunnels "
                "themselves; set overssh_dial_host, or choose another network."
            )
    for name, answer in found.items():
        for address in dict.fromkeys(answer.get("host", {}).get("resolvers") or []):
            for variable, network in _around(address, overlays):
                yield (
                    f"{name}: the name server {address} is in {variable} {network}, so that containers there would "
                    "resolve no names; choose another network."
                )


def operator_problems(found: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on an operator whose address lies in the underlay, so its connection would end in the tunnels."""
    underlays = [entry for entry in planned(settings) if entry[0] in UNDERLAYS]
    for name, answer in found.items():
        if own_devices(answer):
            continue  # then it comes by them
        client = str(answer.get("host", {}).get("operator") or "")
        for variable, network in _around(client, underlays):
            yield (
                f"{name}: the ssh connection of this run comes from {client}, which is in {variable} {network}; the "
                "answers to it would go into the tunnels, so choose another network."
            )


def swarm_problems(found: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> Iterator[str]:
    """Differences between the swarm and the settings that can't be changed."""
    for name, answer in found.items():
        docker = answer.get("host", {}).get("docker", {})
        for variable, is_ in (
            ("data_path_port", docker.get("data_path_port")),
            ("swarm_pool", docker.get("swarm_pool")),
            ("swarm_pool_prefix", docker.get("swarm_pool_prefix")),
        ):
            if docker.get("swarm") == "active" and is_ and is_ != settings[variable]:
                yield (
                    f"{name}: its swarm has {_spelt(is_)} where overssh_{variable} is {_spelt(settings[variable])}; "
                    "that is fixed when a swarm starts, so set it back, or run overssh.swarm.teardown first."
                )


def _spelt(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _around(text: str, networks: Iterable[tuple[str, Network]]) -> list[tuple[str, Network]]:
    """The networks that contain the address; none for a name."""
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return []
    return [(variable, network) for variable, network in networks if address in network]


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def planned(settings: Mapping[str, Any]) -> list[tuple[str, Network]]:
    """The networks of the settings, each with its variable; underlays first."""
    return list(_planned(settings))


def _planned(settings: Mapping[str, Any]) -> Iterator[tuple[str, Network]]:
    yield "overssh_underlay", ipaddress.IPv4Network(settings["underlay"])
    if settings["underlay6"]:
        yield "overssh_underlay6", ipaddress.IPv6Network(settings["underlay6"])
    for pool in settings["swarm_pool"]:
        yield "overssh_swarm_pool", ipaddress.IPv4Network(pool)
    for overlay in settings["overlays"]:
        for subnet in subnets_of(overlay):
            yield f"overssh_overlays: {overlay['name']}", ipaddress.IPv4Network(subnet)


def _routes(answer: Mapping[str, Any]) -> Iterator[tuple[Network, str]]:
    """A host's routes with their devices, without the default route, which every address is behind."""
    for route in answer.get("host", {}).get("routes", []):
        yield ipaddress.ip_network(route["destination"], strict=False), str(route.get("device") or "")
