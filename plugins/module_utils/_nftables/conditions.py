# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a rule's conditions hold for a kind of packet: no, maybe or yes. An unknown condition is a maybe."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Union

from .ruleset import ChainKey, Ruleset, Statement, several

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Span = tuple[int, int]


class Holds(IntEnum):
    """The certainty that a condition holds; min() is "and", max() is "or"."""

    NO = 0
    MAYBE = 1
    YES = 2

    @property
    def negated(self) -> Holds:
        """The certainty of the opposite."""
        return Holds(2 - self)


def sure(answer: bool) -> Holds:
    """YES for True, NO for False."""
    return Holds.YES if answer else Holds.NO


@dataclass(frozen=True)
class Packet:
    """A kind of packet: each value is common to all of them, None where they differ.

    hook: the hook at which the packet is seen; iif, oif: "" where it has no such interface there. reply: the packet is
    this host's answer to an incoming one.
    """

    family: str
    state: str
    hook: str
    iif: str | None = None
    oif: str | None = None
    protocol: str | None = None
    port: Span | None = None
    source: Network | None = None
    destination: Network | None = None
    forwarded: bool = False
    reply: bool = False


Predicate = Callable[[Packet], Holds]
Compare = Callable[[Packet, Any], Holds]


class Condition(NamedTuple):
    """The condition of a match.

    field: the packet's field that decides, besides family and protocol; "" where several fields decide.
    """

    holds: Predicate
    field: str = ""


def _value(element: Any) -> Any:
    """The element without what nft hangs on it (a timeout, a counter, a comment)."""
    if isinstance(element, dict) and "elem" in element:
        return element["elem"].get("val")
    return element


@dataclass(frozen=True)
class Operand:
    """The left side of a match.

    compare() compares with one element of the right side, in the form that prepare() gave it once; applies(): whether
    the packet has this field. field: see Condition.
    """

    compare: Compare
    applies: Predicate
    prepare: Callable[[Any], Any] = _value
    field: str = ""


PROTOCOL_NUMBERS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 50: "esp", 51: "ah", 58: "icmpv6", 132: "sctp"}
# Where a protocol is never met.
FAMILY_WITHOUT = {"icmp": "ip6", "icmpv6": "ip"}
PROTOCOL_ALIASES = {"ipv6-icmp": "icmpv6"}
TRANSPORTS = frozenset({"tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "igmp", "esp", "ah", "comp", "gre"})
UNICAST_PROTOCOLS = frozenset({"tcp", "udp", "icmp", "esp"})
# The flags of a TCP connection's first packet, and the combinations that later ones have. Those of explicit congestion
# notification may be there or not.
KNOWN_TCP_FLAGS = frozenset({"fin", "syn", "rst", "psh", "ack", "urg"})
_FIRST = (frozenset({"syn"}),)
_LATER = tuple(
    frozenset(f"{flags}{urgent}".split())
    for flags in ("syn ack", "ack", "psh ack", "fin ack", "fin psh ack", "rst", "rst ack")
    for urgent in ("", " urg")
)
# What nft calls the state of a packet that no connection is known of, or not yet.
UNTRACKED = "invalid"
TCP_FLAGS = {"new": _FIRST, "established": _LATER, UNTRACKED: (*_FIRST, *_LATER)}


def always(packet: Packet) -> Holds:
    """Holds for every packet."""
    return Holds.YES


def unknown(packet: Packet) -> Holds:
    """May hold for any packet."""
    return Holds.MAYBE


class Conditions:
    """Reads the conditions of one table's rules."""

    def __init__(self, ruleset: Ruleset, family: str, table: str) -> None:
        self._sets = ruleset.sets
        self._family = family
        self._table = table

    def match(self, statement: Statement) -> Condition:
        """The condition of a `match` statement."""
        operator, left, right = statement.get("op"), statement.get("left"), statement.get("right")
        flags = _tcp_flags(left, right, operator)
        if flags is not None:
            return Condition(flags)
        operand = _operand(left)
        if operator in {"<", ">", "<=", ">="}:
            elements = _span_of(str(operator), right)
        elif operator != "in" and _is_several_flags(right):
            elements = None
        else:
            elements = self.elements(right)
        if elements is None:
            return Condition(_limited(operand), operand.field)
        found = [operand.prepare(element) for element in elements]
        return Condition(_comparison(operand, found, operator == "!="), operand.field)

    def verdicts(self, statement: Statement) -> list[tuple[Predicate, Any]] | None:
        """The elements of a verdict map, each as a condition and a verdict; None where its content is unknown."""
        operand = _operand(statement.get("key"))
        data = statement.get("data")
        entries = self.elements(data)
        if entries is None:
            return None
        found = []
        for entry in entries:
            if not isinstance(entry, (list, tuple)) or len(entry) != 2:
                return None
            found.append((_entry(operand, entry[0]), entry[1]))
        return found

    def elements(self, right: Any) -> Sequence[Any] | None:
        """The values on the right side of a match; None where they are unknown."""
        if isinstance(right, str) and right.startswith("@"):
            named = self._sets.get(ChainKey(self._family, self._table, right[1:]))
            return None if named is None or named.changing else named.elements
        if isinstance(right, dict):
            if "set" in right:
                return list(right["set"]) if isinstance(right["set"], list) else [right["set"]]
            if "|" in right:
                return list(right["|"])
            return [right]
        if isinstance(right, list):
            return right
        return [right]


def _is_several_flags(right: Any) -> bool:
    """Whether these are flags that have to be set together, which one value of a packet can't be compared with."""
    flags = right.get("|") if isinstance(right, dict) else right
    return isinstance(flags, list) and len(flags) > 1


def _comparison(operand: Operand, elements: Sequence[Any], negated: bool) -> Predicate:
    """Whether what the packet has is among the elements."""
    compare, applies = operand.compare, operand.applies

    def holds(packet: Packet) -> Holds:
        has = applies(packet)
        if has is Holds.NO:
            return has
        inside = Holds.NO
        for element in elements:
            inside = max(inside, compare(packet, element))
            if inside is Holds.YES:
                break
        return min(has, inside.negated if negated else inside)

    return holds


def _entry(operand: Operand, element: Any) -> Predicate:
    prepared = operand.prepare(element)

    def holds(packet: Packet) -> Holds:
        return min(operand.applies(packet), operand.compare(packet, prepared))

    return holds


def _limited(operand: Operand) -> Predicate:
    """A match with an unknown right side: maybe, where the packet has the left side at all."""

    def holds(packet: Packet) -> Holds:
        return min(operand.applies(packet), Holds.MAYBE)

    return holds


def _operand(left: Any) -> Operand:
    """The left side of a match; one that isn't known here may hold."""
    if isinstance(left, dict) and len(left) == 1:
        ((kind, body),) = left.items()
        if kind == "concat":
            return _concatenation([_operand(part) for part in body])
        reader = _READERS.get(kind)
        if reader is not None and isinstance(body, dict):
            return reader(body)
    return Operand(_may, unknown)


def _may(packet: Packet, element: Any) -> Holds:
    return Holds.MAYBE


def _concatenation(parts: list[Operand]) -> Operand:
    def prepare(element: Any) -> Any:
        values = _value(element)
        if isinstance(values, Mapping):
            values = values.get("concat")
        if not isinstance(values, list) or len(values) != len(parts):
            return values
        return [part.prepare(value) for part, value in zip(parts, values)]

    def compare(packet: Packet, values: Any) -> Holds:
        if not isinstance(values, list):
            return Holds.YES if values == "*" else Holds.MAYBE
        return min(part.compare(packet, value) for part, value in zip(parts, values))

    def applies(packet: Packet) -> Holds:
        return min(part.applies(packet) for part in parts)

    return Operand(compare, applies, prepare)


def _meta(body: Mapping[str, Any]) -> Operand:
    return _META.get(str(body.get("key")), Operand(_may, always))


def _payload(body: Mapping[str, Any]) -> Operand:
    return _header(body.get("protocol"), body.get("field"))


@functools.cache
def _header(layer: str | None, name: str | None) -> Operand:
    """A field of a packet's header."""
    applies = _layer(layer)
    if name == "dport" and layer in {"tcp", "udp", "th"}:
        return Operand(_port, applies, _port_element, "port")
    if layer in {"ip", "ip6"} and name == "saddr":
        return Operand(lambda packet, element: _address(packet.source, element), applies, _address_element, "source")
    if layer in {"ip", "ip6"} and name == "daddr":
        return Operand(
            lambda packet, element: _address(packet.destination, element), applies, _address_element, "destination"
        )
    if layer in {"ip", "ip6"} and name in {"protocol", "nexthdr"}:
        return Operand(_protocol, applies, _protocol_element, "protocol")
    return Operand(_may, applies, field="protocol")


def _layer(layer: Any) -> Predicate:
    """Whether the packet has the header that a payload expression reads."""
    if layer in {"ip", "ip6"}:
        return lambda packet: sure(packet.family == layer)
    if layer in TRANSPORTS:
        return lambda packet: _protocol(packet, layer)
    if layer == "arp":
        return lambda packet: Holds.NO
    return always if layer == "th" else unknown


def _ct(body: Mapping[str, Any]) -> Operand:
    key = body.get("key")
    if key == "state":
        return Operand(lambda packet, element: _symbol(packet.state, element), always, field="state")
    if key == "direction":
        return Operand(lambda packet, element: _symbol("reply" if packet.reply else "original", element), _tracked)
    return Operand(_may, _tracked)


def _tracked(packet: Packet) -> Holds:
    return sure(packet.state != UNTRACKED)


def _fib(body: Mapping[str, Any]) -> Operand:
    if body.get("result") != "type" or "daddr" not in several(body.get("flags")):
        return Operand(_may, always)

    def compare(packet: Packet, element: Any) -> Holds:
        away = packet.forwarded or packet.reply
        kind = "unicast" if away else "local"
        if packet.protocol in UNICAST_PROTOCOLS:
            return _symbol(kind, element)
        return Holds.NO if away and element == "local" else Holds.MAYBE

    return Operand(compare, always)


def _tcp_only(body: Mapping[str, Any]) -> Operand:
    return Operand(_may, _layer("tcp"), field="protocol")


_READERS: dict[str, Callable[[Mapping[str, Any]], Operand]] = {
    "meta": _meta,
    "payload": _payload,
    "ct": _ct,
    "fib": _fib,
    "tcp option": _tcp_only,
}


def _symbol(value: str, element: Any) -> Holds:
    if element == "*":
        return Holds.YES
    return sure(element == value) if isinstance(element, str) else Holds.MAYBE


def _interface(name: str | None, element: Any) -> Holds:
    if not isinstance(element, str):
        # nft lists a missing interface by its number. It isn't one of ours, which are listed by their names.
        return Holds.MAYBE if name is None else Holds.NO
    if element == "*":
        return Holds.YES
    if name is None:
        return Holds.MAYBE
    if element.endswith("*") and not element.endswith("\\*"):
        return sure(bool(name) and name.startswith(element[:-1]))
    return sure(name == element)


def _protocol_element(element: Any) -> str | None:
    """The protocol's name, "*" for all of them; None where it is unknown."""
    value = _value(element)
    if isinstance(value, int):
        return PROTOCOL_NUMBERS.get(value, str(value))
    return PROTOCOL_ALIASES.get(value, value) if isinstance(value, str) else None


def _protocol(packet: Packet, name: str | None) -> Holds:
    if name == "*":
        return Holds.YES
    if name is None:
        return Holds.MAYBE
    if packet.protocol is None:
        return Holds.NO if packet.family == FAMILY_WITHOUT.get(name) else Holds.MAYBE
    return Holds.YES if name == packet.protocol else Holds.NO


def _packet_type(packet: Packet, element: Any) -> Holds:
    return _symbol("host", element) if packet.protocol in UNICAST_PROTOCOLS else Holds.MAYBE


def _family(packet: Packet, element: Any) -> Holds:
    return _symbol("ipv4" if packet.family == "ip" else "ipv6", element)


def _incoming(packet: Packet, element: Any) -> Holds:
    return _interface(packet.iif, element)


def _outgoing(packet: Packet, element: Any) -> Holds:
    return _interface(packet.oif, element)


_META = {
    "iifname": Operand(_incoming, always, field="iif"),
    "iif": Operand(_incoming, always, field="iif"),
    "oifname": Operand(_outgoing, always, field="oif"),
    "oif": Operand(_outgoing, always, field="oif"),
    "l4proto": Operand(_protocol, always, _protocol_element, "protocol"),
    "nfproto": Operand(_family, always, field="family"),
    "protocol": Operand(lambda packet, element: _symbol(packet.family, element), always, field="family"),
    "pkttype": Operand(_packet_type, always, field="protocol"),
}


ALL_PORTS = (0, 65535)


def _port_element(element: Any) -> Span | None:
    value = _value(element)
    return ALL_PORTS if value == "*" else span(value)


def _port(packet: Packet, wanted: Span | None) -> Holds:
    if wanted is None or packet.port is None:
        return Holds.YES if wanted == ALL_PORTS else Holds.MAYBE
    low, high = packet.port
    if high < wanted[0] or wanted[1] < low:
        return Holds.NO
    return Holds.YES if wanted[0] <= low and high <= wanted[1] else Holds.MAYBE


def span(element: Any) -> Span | None:
    """The lowest and the highest number of an element; None where it isn't a number."""
    if isinstance(element, bool):
        return None
    if isinstance(element, int):
        return element, element
    if isinstance(element, dict) and "range" in element:
        low, high = element["range"]
        if isinstance(low, int) and isinstance(high, int):
            return low, high
    return None


def _span_of(operator: str, right: Any) -> Sequence[Any] | None:
    if isinstance(right, bool) or not isinstance(right, int):
        return None
    bounds = {
        "<": (0, right - 1),
        "<=": (0, right),
        ">": (right + 1, 65535),
        ">=": (right, 65535),
    }[operator]
    return [{"range": list(bounds)}]


class AddressSpan(NamedTuple):
    """A range of addresses, as numbers, and their IP version."""

    version: int
    first: int
    last: int


WHOLE = (AddressSpan(4, 0, 2**32 - 1), AddressSpan(6, 0, 2**128 - 1))


def _address(network: Network | None, element: AddressSpan | None) -> Holds:
    if element is None:
        return Holds.MAYBE
    if element in WHOLE:
        return Holds.YES
    if network is None:
        return Holds.MAYBE
    if network.version != element.version:
        return Holds.NO
    first, last = int(network.network_address), int(network.broadcast_address)
    if last < element.first or element.last < first:
        return Holds.NO
    return Holds.YES if element.first <= first and last <= element.last else Holds.MAYBE


def _address_element(element: Any) -> AddressSpan | None:
    return address_span(_value(element))


def address_span(element: Any) -> AddressSpan | None:
    """The addresses of an element; None where it isn't made of addresses."""
    try:
        if isinstance(element, str):
            one = ipaddress.ip_address(element)
            return AddressSpan(one.version, int(one), int(one))
        if isinstance(element, dict) and "prefix" in element:
            prefix = element["prefix"]
            network = ipaddress.ip_network(f"{prefix['addr']}/{prefix['len']}", strict=False)
            return AddressSpan(network.version, int(network.network_address), int(network.broadcast_address))
        if isinstance(element, dict) and "range" in element:
            first, last = (ipaddress.ip_address(end) for end in element["range"])
            return AddressSpan(first.version, int(first), int(last))
    except (ValueError, KeyError, TypeError):
        return None
    return None


def _tcp_flags(left: Any, right: Any, operator: Any) -> Predicate | None:
    """A match of TCP flags, where it is one."""
    mask: frozenset[str] | None = None
    if isinstance(left, dict) and "&" in left:
        operands = left["&"]
        if not isinstance(operands, list) or len(operands) != 2:
            return None
        left, mask = operands[0], _flag_names(operands[1])
        if mask is None:
            right = None
    if left != {"payload": {"protocol": "tcp", "field": "flags"}}:
        return None
    wanted = _flag_names(right)
    is_tcp = _layer("tcp")
    by_state = {state: _flags_hold(flags, mask, wanted, operator) for state, flags in TCP_FLAGS.items()}

    def holds(packet: Packet) -> Holds:
        return min(is_tcp(packet), by_state[packet.state])

    return holds


def _flags_hold(
    possible: Sequence[frozenset[str]], mask: frozenset[str] | None, wanted: frozenset[str] | None, operator: Any
) -> Holds:
    if wanted is None or not (wanted | (mask or frozenset())) <= KNOWN_TCP_FLAGS:
        return Holds.MAYBE
    if operator == "in":
        answers = [bool(flags & wanted) for flags in possible]
    else:
        answers = [(flags if mask is None else flags & mask) == wanted for flags in possible]
        if mask is None and any(answers):
            # Without a mask, the flags of congestion notification take part.
            return Holds.MAYBE
    held = Holds.YES if all(answers) else sure(False) if not any(answers) else Holds.MAYBE
    return held.negated if operator == "!=" else held


def _flag_names(value: Any) -> frozenset[str] | None:
    if isinstance(value, str):
        return frozenset({value})
    if value == 0 and not isinstance(value, bool):
        return frozenset()
    if isinstance(value, Mapping) and set(value) == {"|"}:
        parts = [_flag_names(part) for part in value["|"]]
        return None if None in parts else frozenset().union(*[part for part in parts if part is not None])
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return frozenset(value)
    return None
