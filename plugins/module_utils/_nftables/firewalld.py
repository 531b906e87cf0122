# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accepts as firewalld settings: a zone of ours for the tunnels, and a policy of ours between them; pure.

firewalld assigns packets to zones by their interface, and its rules have no names. So all accepts of a host share their
interfaces, and our own rules file keeps their names.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .._core.errors import OversshError
from .accept import KERNEL_PROTOCOL, Accept, network_text, of_family, span_text
from .rules_file import Line
from .ruleset import FIREWALLD, ChainKey

ZONE, POLICY = "overssh", "overssh-transit"
KEYS = {"input": ChainKey(FIREWALLD, ZONE, "input"), "forward": ChainKey(FIREWALLD, POLICY, "forward")}
VERSIONS = {"ip": "ipv4", "ip6": "ipv6"}
EVERYWHERE = {"ip": "0.0.0.0/0", "ip6": "::/0"}
# Zones or policies with their settings.
Listing = Mapping[str, Mapping[str, tuple[str, ...]]]
# What firewalld keeps over a reload whether it is permanent or not.
KEPT_BY_RELOAD = frozenset({"interfaces"})


@dataclass(frozen=True)
class Zone:
    """The content of our zone and, as transit, of our policy; rules: rich rules as firewalld prints them."""

    interfaces: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    transit: frozenset[str] = frozenset()

    @property
    def described(self) -> list[str]:
        """The zone as data for a diff."""
        return sorted([*(f"interface {name}" for name in self.interfaces), *self.rules, *self.transit])


@dataclass(frozen=True)
class Firewalld:
    """The observed firewalld: our zone at runtime and in its files, None for no zone.

    zones, kept_zones: interfaces in zones of others, at runtime and in files; tunnels: the tun devices among them;
    lost: settings that a reload would lose.
    """

    running: Zone | None = None
    permanent: Zone | None = None
    zones: Mapping[str, str] = field(default_factory=dict)
    kept_zones: Mapping[str, str] = field(default_factory=dict)
    tunnels: frozenset[str] = frozenset()
    lost: tuple[str, ...] = ()


def lines_of(accept: Accept, persist: bool) -> list[Line]:
    """The accept as lines of our rules file; OversshError where firewalld can't select its packets.

    firewalld accepts the host's own packets, unless a policy of others restricts them.
    """
    if accept.path not in KEYS:
        return []
    rule = f"rule {accept.name}: firewalld owns this host's firewall"
    if not accept.in_interfaces:
        raise OversshError(f"{rule} and tells packets apart by their interfaces; say in_interfaces")
    if accept.out_interfaces and accept.out_interfaces != accept.in_interfaces:
        raise OversshError(
            f"{rule}; packets can be forwarded only among in_interfaces there, so leave out_interfaces out"
        )
    if not persist:
        raise OversshError(f"{rule} and keeps what it is told; persist: false can't be had here")
    anchor = " ".join(accept.in_interfaces)
    return [Line(KEYS[accept.path], f'{rich} comment "{accept.comment}"', anchor) for rich in rich_rules(accept)]


def rich_rules(accept: Accept) -> Iterator[str]:
    """The accept as firewalld's rich rules, in firewalld's spelling."""
    bare = not accept.source and not accept.destination
    numbered = accept.protocol in {"any", "icmp", "icmpv6"}
    for family in accept.families if numbered or not bare else ("",):
        sources = [network_text(network) for network in of_family(accept.source, family)]
        if bare and accept.protocol == "any":
            sources = [EVERYWHERE[family]]
        destinations = [network_text(network) for network in of_family(accept.destination, family)]
        for source, destination, element in itertools.product(
            sources or [""], destinations or [""], list(_elements(accept))
        ):
            words = ["rule"]
            words += [f'family="{VERSIONS[family]}"'] if family else []
            words += [f'source address="{source}"'] if source else []
            words += [f'destination address="{destination}"'] if destination else []
            yield " ".join([*words, *element, "accept"])


def _elements(accept: Accept) -> Iterator[list[str]]:
    for ports in accept.ports:
        yield [f'port port="{span_text(ports)}" protocol="{accept.protocol}"']
    if not accept.ports:
        kernel = KERNEL_PROTOCOL.get(accept.protocol, accept.protocol)
        yield [] if accept.protocol == "any" else [f'protocol value="{kernel}"']


def ours(lines: Iterable[Line]) -> list[Line]:
    """The lines that are kept by firewalld."""
    return [line for line in lines if line.key.family == FIREWALLD]


def zone_of(lines: Iterable[Line]) -> Zone | None:
    """The zone that these lines describe, None for no lines."""
    found = ours(lines)
    if not found:
        return None
    first = found[0]
    for line in found:
        if line.anchor != first.anchor:
            raise OversshError(
                f"rule {first.name} is for {first.anchor or 'no interface'}, {line.name} for {line.anchor or 'none'}: "
                f"firewalld's zone {ZONE}, which has both, would open each for both; give them the same interfaces, "
                "or take one away, change the other, and add it again"
            )
    return Zone(
        frozenset(first.anchor.split()),
        *(frozenset(text_of(line) for line in found if line.key == KEYS[path]) for path in ("input", "forward")),
    )


def text_of(line: Line) -> str:
    """The rich rule of a line."""
    return line.rule.rpartition(" comment ")[0]


def read_listing(text: str) -> Listing:
    """Each zone or policy with its settings, from the output of firewall-cmd --list-all-zones and its like."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    settings: dict[str, tuple[str, ...]] = {}
    name = ""
    for row in text.splitlines():
        if row.startswith("\t"):
            settings[name] = (*settings[name], row.strip())
        elif row.startswith(" "):
            name, _colon, value = row.strip().partition(":")
            settings[name] = tuple(value.split())
        elif row:
            settings = found.setdefault(row.split()[0], {})
    return found


def zone_from(zone: Mapping[str, tuple[str, ...]], policy: Mapping[str, tuple[str, ...]]) -> Zone:
    """Our zone, from firewalld's settings of the zone and of the policy."""
    rules, transit = (frozenset(part.get("rich rules", ())) for part in (zone, policy))
    return Zone(frozenset(zone.get("interfaces", ())), rules, transit)


def differences(running: Listing, permanent: Listing) -> list[str]:
    """Settings of zones or policies that run but are not kept, so a reload would lose them."""
    return [
        f"{setting} of {name}"
        for name, settings in running.items()
        for setting, values in settings.items()
        if setting not in KEPT_BY_RELOAD
        and sorted(values) != sorted(permanent.get(name, {}).get(setting, ()))
        and name not in {ZONE, POLICY}
    ]
