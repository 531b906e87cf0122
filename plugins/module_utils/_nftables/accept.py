# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An accept: the packets that it is for, and the rules that let them pass in a given chain."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .._core.errors import OversshError
from .conditions import UNICAST_PROTOCOLS, UNTRACKED, Network, Packet, Span, address_span, span
from .ruleset import MARK, Statement, several

COMMENT_LIMIT = 128
PROTOCOLS = ("tcp", "udp", "icmp", "icmpv6", "esp", "any")
PATHS = ("input", "forward", "output")
PATH_HOOKS = {
    "input": ("ingress", "prerouting", "input"),
    "forward": ("ingress", "prerouting", "forward", "postrouting", "egress"),
    "output": ("output", "postrouting", "egress"),
}
# Where a chain is a device's: one of the family netdev, or of the family inet as it comes in.
DEVICE_HOOKS = frozenset({"ingress", "egress"})
# Where a packet has no outgoing interface yet.
BEFORE_ROUTING = frozenset({"ingress", "prerouting", "input"})
STATES = ("new", "established")
# Connections are tracked from this priority on; before, every packet is "invalid" to nft.
TRACKING_PRIORITY = -200

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]*")
INTERFACE = re.compile(r"[^\s/\"'\\*+@]{1,15}")
PORTS = re.compile(r"(\d+)(?:-(\d+))?")
KERNEL_PROTOCOL = {"icmpv6": "ipv6-icmp"}
FAMILY_OF_PROTOCOL = {"icmp": "ip", "icmpv6": "ip6"}
PLAIN_STATEMENTS = frozenset({"match", "accept"})
# Whose address the destination is: "local" is this host's.
LOCALITY = {"fib": {"result": "type", "flags": ["daddr"]}}


@dataclass(frozen=True)
class Accept:
    """A desired accept: its name and its packets."""

    name: str
    path: str = "input"
    protocol: str = "any"
    ports: tuple[Span, ...] = ()
    in_interfaces: tuple[str, ...] = ()
    out_interfaces: tuple[str, ...] = ()
    source: tuple[Network, ...] = ()
    destination: tuple[Network, ...] = ()

    @property
    def comment(self) -> str:
        """The comment of the accept's rules."""
        return f"{MARK}{self.name}"

    @property
    def families(self) -> tuple[str, ...]:
        """The possible address families of its packets."""
        possible = {"ip", "ip6"}
        if self.protocol in FAMILY_OF_PROTOCOL:
            possible &= {FAMILY_OF_PROTOCOL[self.protocol]}
        for networks in (self.source, self.destination):
            if networks:
                possible &= {family_of(network) for network in networks}
        return tuple(sorted(possible))

    @property
    def options(self) -> dict[str, Any]:
        """The task options that describe the accept, for accept_from."""
        return {
            "name": self.name,
            "path": self.path,
            "protocol": self.protocol,
            "ports": [span_text(ports) for ports in self.ports],
            "in_interfaces": list(self.in_interfaces),
            "out_interfaces": list(self.out_interfaces),
            "source": [network_text(network) for network in self.source],
            "destination": [network_text(network) for network in self.destination],
        }

    def packets(self, hook: str, priority: int, families: Iterable[str]) -> Iterator[Packet]:
        """The accept's kinds of packets, as a chain of this hook and priority sees them."""
        early = hook in BEFORE_ROUTING
        outgoing: Sequence[str | None] = ("",) if early else (self.out_interfaces or (None,))
        late = self.path == "output" or hook == "egress"
        incoming: Sequence[str | None] = ("",) if late else (self.in_interfaces or (None,))
        for family in families:
            for state, iif, oif, port, source, destination in itertools.product(
                states_at(hook, priority),
                incoming,
                outgoing,
                self.ports or (None,),
                of_family(self.source, family) or (None,),
                of_family(self.destination, family) or (None,),
            ):
                yield Packet(
                    family=family,
                    state=state,
                    hook=hook,
                    iif=iif,
                    oif=oif,
                    protocol=None if self.protocol == "any" else self.protocol,
                    port=port,
                    source=source,
                    destination=destination,
                    forwarded=self.path == "forward",
                )

    def replies(self, hook: str, priority: int, families: Iterable[str]) -> Iterator[Packet]:
        """This host's answers to its packets, as seen at a hook; only packets for this host get an answer here."""
        if self.path != "input":
            return
        for family in families:
            for oif in self.in_interfaces or (None,):
                yield Packet(
                    family=family,
                    state=states_at(hook, priority)[-1],
                    hook=hook,
                    iif="",
                    oif=oif,
                    protocol=None if self.protocol == "any" else self.protocol,
                    reply=True,
                )


def states_at(hook: str, priority: int) -> tuple[str, ...]:
    """The possible connection states of packets at a hook."""
    if hook == "ingress" or (hook in {"prerouting", "output"} and priority < TRACKING_PRIORITY):
        return (UNTRACKED,)
    return STATES if priority != TRACKING_PRIORITY else (*STATES, UNTRACKED)


@dataclass(frozen=True)
class Piece:
    """One rule of ours in a chain, its sets in order; equal pieces accept the same packets.

    local: True for packets to this host only, False for all others only, None for both.
    """

    comment: str
    protocol: str = "any"
    ports: tuple[Span, ...] = ()
    in_interfaces: tuple[str, ...] = ()
    out_interfaces: tuple[str, ...] = ()
    source: tuple[Network, ...] = ()
    destination: tuple[Network, ...] = ()
    local: bool | None = None

    @property
    def statements(self) -> tuple[Statement, ...]:
        """The rule in nft's JSON."""
        found: list[Statement] = []
        for key, names in (("iifname", self.in_interfaces), ("oifname", self.out_interfaces)):
            if names:
                found.append(_match({"meta": {"key": key}}, list(names)))
        for name, networks in (("saddr", self.source), ("daddr", self.destination)):
            if networks:
                left = {"payload": {"protocol": family_of(networks[0]), "field": name}}
                found.append(_match(left, [_network_json(network) for network in networks]))
        if self.ports:
            left = {"payload": {"protocol": self.protocol, "field": "dport"}}
            found.append(_match(left, [_span_json(ports) for ports in self.ports]))
        elif self.protocol != "any":
            found.append(_match({"meta": {"key": "l4proto"}}, [KERNEL_PROTOCOL.get(self.protocol, self.protocol)]))
        if self.local is not None:
            found.append({"match": {"op": "==" if self.local else "!=", "left": LOCALITY, "right": "local"}})
        return (*found, {"accept": None})

    @property
    def text(self) -> str:
        """The rule in nft's own language."""
        words: list[str] = []
        for key, names in (("iifname", self.in_interfaces), ("oifname", self.out_interfaces)):
            if names:
                words += [key, braces([f'"{name}"' for name in names])]
        for name, networks in (("saddr", self.source), ("daddr", self.destination)):
            if networks:
                words += [family_of(networks[0]), name, braces([network_text(network) for network in networks])]
        if self.ports:
            words += [self.protocol, "dport", braces([span_text(ports) for ports in self.ports])]
        elif self.protocol != "any":
            words += ["meta l4proto", KERNEL_PROTOCOL.get(self.protocol, self.protocol)]
        if self.local is not None:
            words.append("fib daddr type local" if self.local else "fib daddr type != local")
        return " ".join([*words, "accept", f'comment "{self.comment}"'])


def pieces(accept: Accept, chain_family: str, hook: str, iptables: bool) -> tuple[Piece, ...]:
    """The rules that accept these packets in a chain; an iptables rule has one interface, port and network each."""
    whole = Piece(
        comment=accept.comment,
        protocol=accept.protocol,
        ports=accept.ports,
        in_interfaces=() if hook == "egress" else accept.in_interfaces,
        out_interfaces=() if hook in BEFORE_ROUTING else accept.out_interfaces,
        local=None if iptables else _local(accept, hook, chain_family),
    )
    found = []
    for family in accept.families if chain_family in {"inet", "netdev"} else (chain_family,):
        found.append(
            replace(
                whole,
                source=of_family(accept.source, family),
                destination=of_family(accept.destination, family),
            )
        )
    found = list(dict.fromkeys(found))
    return tuple(single for piece in found for single in _singles(piece)) if iptables else tuple(found)


def for_hosts(accept: Accept) -> bool:
    """Whether the packets are for single addresses; such packets are for this host where they reach it."""
    return bool(accept.destination) and all(each.prefixlen == each.max_prefixlen for each in accept.destination)


def _local(accept: Accept, hook: str, family: str) -> bool | None:
    """Before routing, a chain sees packets for this host and others; an accept is for one kind of them.

    Packets for this host may go to a group's address too, unless their protocol is for one receiver only.
    """
    if hook not in {"ingress", "prerouting"}:
        return None
    if hook == "ingress" and (family == "inet" or for_hosts(accept)):
        # The kernel has no such look-up in these chains of the family inet.
        return None
    if accept.path == "forward":
        return False
    return True if accept.protocol in UNICAST_PROTOCOLS else None


def _singles(piece: Piece) -> Iterator[Piece]:
    for iif, oif, source, destination, port in itertools.product(
        _each(piece.in_interfaces),
        _each(piece.out_interfaces),
        _each(piece.source),
        _each(piece.destination),
        _each(piece.ports),
    ):
        yield replace(piece, in_interfaces=iif, out_interfaces=oif, source=source, destination=destination, ports=port)


def _each(values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return [(value,) for value in values] or [()]


def read_piece(comment: str, statements: Sequence[Statement]) -> Piece | None:
    """The piece that a rule on the host corresponds to; None where no piece of ours has such content."""
    values: dict[str, Any] = {}
    for statement in statements:
        if not set(statement) <= PLAIN_STATEMENTS:
            return None
        if "accept" in statement:
            continue
        match = statement["match"]
        left, right = match["left"], match["right"]
        if _is_locality(left) and right == "local" and match.get("op") in {"==", "!="} and "local" not in values:
            values["local"] = match["op"] == "=="
            continue
        if match.get("op") != "==":
            return None
        elements = right["set"] if isinstance(right, Mapping) and "set" in right else [right]
        read = _read_match(left, elements)
        if read is None or not set(read).isdisjoint(values):
            return None
        values.update(read)
    if {"accept": None} not in statements:
        return None
    return Piece(comment=comment, **values)


def _is_locality(left: Mapping[str, Any]) -> bool:
    fib = left.get("fib", {})
    return fib.get("result") == "type" and several(fib.get("flags")) == ("daddr",)


def _read_match(left: Mapping[str, Any], elements: list[Any]) -> dict[str, Any] | None:
    key = left.get("meta", {}).get("key")
    if key in {"iifname", "oifname"}:
        return {"in_interfaces" if key == "iifname" else "out_interfaces": tuple(sorted(map(str, elements)))}
    if key == "l4proto" and len(elements) == 1:
        protocol = str(elements[0])
        names = {kernel: name for name, kernel in KERNEL_PROTOCOL.items()}
        return {"protocol": names.get(protocol, protocol)}
    payload = left.get("payload", {})
    if payload.get("field") == "dport":
        spans = [span(element) for element in elements]
        if None in spans:
            return None
        return {"protocol": payload["protocol"], "ports": tuple(sorted(found for found in spans if found))}
    if payload.get("protocol") in {"ip", "ip6"} and payload.get("field") in {"saddr", "daddr"}:
        networks = _read_networks(elements)
        return None if networks is None else {"source" if payload["field"] == "saddr" else "destination": networks}
    return None


def _read_networks(elements: list[Any]) -> tuple[Network, ...] | None:
    networks: list[Network] = []
    for element in elements:
        found = address_span(element)
        if found is None:
            return None
        version, low, high = found
        kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        networks += ipaddress.summarize_address_range(kind(low), kind(high))
    return _collapsed(networks)


def accept_from(options: Mapping[str, Any]) -> Accept:
    """The accept that a task's options describe; OversshError names the wrong option."""
    name = rule_name(options.get("name"))
    accept = Accept(
        name=name,
        path=options.get("path") or "input",
        protocol=options.get("protocol") or "any",
        ports=ports_from(options.get("ports") or (), name),
        in_interfaces=interfaces_from(options.get("in_interfaces") or (), name, "in_interfaces"),
        out_interfaces=interfaces_from(options.get("out_interfaces") or (), name, "out_interfaces"),
        source=networks_from(options.get("source") or (), name, "source"),
        destination=networks_from(options.get("destination") or (), name, "destination"),
    )
    if accept.ports and accept.protocol not in {"tcp", "udp"}:
        raise OversshError(f"rule {name}: ports belong to the protocols tcp and udp, not to {accept.protocol}")
    if accept.out_interfaces and accept.path == "input":
        raise OversshError(f"rule {name}: a packet to this host has no outgoing interface; use path: forward or output")
    if accept.in_interfaces and accept.path == "output":
        raise OversshError(f"rule {name}: a packet of this host itself has no incoming interface; say out_interfaces")
    if not accept.families:
        raise OversshError(f"rule {name}: protocol, source and destination have no address family in common")
    if accept == Accept(name=name, path=accept.path):
        raise OversshError(
            f"rule {name} would accept everything from everywhere; say which protocol, interfaces or networks it is for"
        )
    return accept


def rule_name(name: Any) -> str:
    """The name, checked."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise OversshError(
            f"{name!r} can't name a rule: use letters, digits and . _ : @ / + -, with a letter or digit first"
        )
    if len(MARK) + len(name) > COMMENT_LIMIT:
        raise OversshError(f"the name {name[:40]}... is too long: at most {COMMENT_LIMIT - len(MARK)} characters fit")
    return name


def ports_from(values: Iterable[Any], name: str) -> tuple[Span, ...]:
    """Ports and port ranges, merged; name: the rule's, for the error."""
    found = []
    for value in values:
        match = PORTS.fullmatch(str(value).strip())
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= low <= high <= 65535:
            raise OversshError(f"rule {name}: {value!r} is no port or range of ports (as 7946 or 7946-7950)")
        found.append((low, high))
    merged: list[Span] = []
    for low, high in sorted(found):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def interfaces_from(values: Iterable[Any], name: str, option: str, wildcards: bool = False) -> tuple[str, ...]:
    """Interface names; wildcards: a name may end with * and then stands for all names that begin so."""
    for value in values:
        if not INTERFACE.fullmatch(str(value)[:-1] if wildcards and str(value).endswith("*") else str(value)):
            stars = "* at its end only" if wildcards else "no *"
            raise OversshError(
                f"rule {name}: {value!r} in {option} is no interface's name (1 to 15 characters, {stars})"
            )
    return tuple(sorted({str(value) for value in values}))


def networks_from(values: Iterable[Any], name: str, option: str) -> tuple[Network, ...]:
    """Networks, collapsed."""
    networks: list[Network] = []
    for value in values:
        try:
            networks.append(ipaddress.ip_network(str(value)))
        except ValueError as error:
            raise OversshError(f"rule {name}: {value!r} in {option} is no network: {error}") from error
    return _collapsed(networks)


def _collapsed(networks: Iterable[Network]) -> tuple[Network, ...]:
    known = list(networks)
    four = ipaddress.collapse_addresses(n for n in known if isinstance(n, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(n for n in known if isinstance(n, ipaddress.IPv6Network))
    return (*four, *six)


def of_family(networks: Iterable[Network], family: str) -> tuple[Network, ...]:
    """The networks of this address family."""
    return tuple(network for network in networks if family_of(network) == family)


def family_of(network: Network) -> str:
    """nft's name for the network's address family."""
    return "ip" if network.version == 4 else "ip6"


def network_text(network: Network) -> str:
    """The network as nft writes it: a single address has no prefix length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def span_text(ports: Span) -> str:
    """A port or a port range as nft writes it."""
    low, high = ports
    return str(low) if low == high else f"{low}-{high}"


def _network_json(network: Network) -> Any:
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}


def _span_json(ports: Span) -> Any:
    low, high = ports
    return low if low == high else {"range": [low, high]}


def _match(left: Mapping[str, Any], values: list[Any]) -> Statement:
    right = values[0] if len(values) == 1 else {"set": values}
    return {"match": {"op": "==", "left": left, "right": right}}


def braces(words: list[str]) -> str:
    """Several values in braces, or a single value without, as nft writes them."""
    return words[0] if len(words) == 1 else "{ " + ", ".join(words) + " }"
