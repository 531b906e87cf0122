# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on a packet's path: whether it passes, which rule decides, and what would let it pass; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._core.errors import OversshError
from .._nftables.accept import PATHS, accept_from, network_text
from .._nftables.chain_rule import chain_rule_from
from .._nftables.firewalld import lines_of
from .._nftables.owner import firewalld_owns
from .._nftables.placement import Placer
from .._nftables.result import address, result_of, result_of_firewalld
from .._nftables.ruleset import Rule, Ruleset
from .netlink import Header
from .path import Hop, TracePath
from .table import Described

UNFIT_FOR_NAMES = re.compile(r"[^A-Za-z0-9._:@/+-]")
# What a rule does with a packet that it takes away, by its verdict.
TAKEN = {
    "queue": "hands the packet to a program of this host, which decides about it; look at that program",
    "stolen": "takes the packet out of its way, and sends it on or answers it by itself",
}


@dataclass(frozen=True)
class Observed:
    """The observed path of the packet.

    names: of the devices by their indices; lost: where no rule dropped it, the known reason why it did not pass;
    waited: seconds.
    """

    described: Described
    way: TracePath
    ruleset: Ruleset
    names: Mapping[int, str] = field(default_factory=dict)
    lost: str = ""
    waited: float = 0


def answer(seen: Observed) -> dict[str, Any]:
    """The return values of the module."""
    way, decider = seen.way, _decider(seen)
    suggestion, placements, trouble = _suggested(seen)
    return {
        "passes": way.passed,
        "verdict": _verdict(seen),
        "path": way.path or seen.described.path,
        "packet": None if way.first is None else _packet_result(way.first, seen.names),
        "hops": _hops(seen),
        "decided_by": decider,
        "fix": _fix(seen, decider, suggestion, trouble),
        "suggestion": suggestion,
        "placements": placements,
    }


def _verdict(seen: Observed) -> str:
    way = seen.way
    if way.passed:
        return "accept"
    if way.first is None:
        return "none"
    if not way.decided:
        return "lost"
    if not way.dropped:
        return way.hops[-1].verdict
    rule = _rule(seen.ruleset, way.hops[-1])
    return "reject" if rule is not None and _rejects(rule) else "drop"


def _rejects(rule: Rule) -> bool:
    return any(
        "reject" in statement or statement.get("xt", {}).get("name") == "REJECT" for statement in rule.statements
    )


def _hook(ruleset: Ruleset, hop: Hop) -> str:
    """The hook of a base chain, "" of any other."""
    chain = ruleset.chains.get(hop.key)
    return (chain.hook or "") if chain is not None else ""


def _rule(ruleset: Ruleset, hop: Hop) -> Rule | None:
    """The hop's rule, None for a policy and where another program has removed the rule since."""
    chain = ruleset.chains.get(hop.key)
    return next((rule for rule in chain.rules if rule.handle == hop.handle), None) if chain and hop.handle else None


def _text(ruleset: Ruleset, hop: Hop) -> str:
    if hop.kind == "policy":
        return f"policy {hop.verdict}"
    rule = _rule(ruleset, hop)
    return rule.text if rule is not None else ""


def _hops(seen: Observed) -> list[dict[str, Any]]:
    found = []
    hook = ""
    for hop in seen.way.hops:
        hook = _hook(seen.ruleset, hop) or hook
        found.append(
            {
                **address(hop.key, hop.handle or None),
                "hook": hook or None,
                "type": hop.kind,
                "rule": _text(seen.ruleset, hop),
                "verdict": hop.verdict,
            }
        )
    return found


def _packet_result(header: Header, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "source": header.source,
        "destination": header.destination,
        "source_port": header.source_port,
        "port": header.port,
        "in_interface": names.get(header.iif),
        "out_interface": names.get(header.oif),
    }


def _decider(seen: Observed) -> dict[str, Any] | None:
    if not seen.way.decided:
        return None
    hop = seen.way.hops[-1]
    return {**address(hop.key, hop.handle or None), "rule": _text(seen.ruleset, hop)}


def _suggested(seen: Observed) -> tuple[dict[str, Any] | None, list[dict[str, Any]], str]:
    """The arguments of nft_rule that let it pass, where its rules would stand, and why there are none."""
    if not seen.way.dropped:
        return None, [], ""
    # What was dropped before its path could be told had the one that was asked about.
    path = seen.way.path or seen.described.path
    suggested = _packets(seen, path)
    if _at_ingress(seen):
        words = "overssh.swarm.nft_rule leaves the chains of single devices (hook ingress) alone; change that one"
        return None, [], words
    try:
        if path in PATHS:
            wanted, placements = _placed({**suggested, "path": path}, seen)
            if placements:
                return wanted, placements, ""
        chain_rule = {**suggested, **_place(seen), "verdict": "accept"}
        chain_rule_from(chain_rule)
    except OversshError as error:
        return None, [], str(error)
    hop = seen.way.hops[-1]
    placed = {**address(hop.key, None), "rule": "", "before": hop.handle or None, "decided_by": _decider(seen)}
    return chain_rule, [placed], ""


def _placed(suggested: dict[str, Any], seen: Observed) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The accept as nft_rule takes it on this host, and the places where its rules would stand."""
    firewalld = firewalld_owns(seen.ruleset)
    if firewalld and suggested["path"] == "forward" and "out_interfaces" in suggested:
        # It lets packets cross among interfaces, in both directions.
        suggested["in_interfaces"] = sorted({*suggested.get("in_interfaces", ()), *suggested.pop("out_interfaces")})
    accept = accept_from(suggested)
    accept_placement = Placer(seen.ruleset, stays=lambda _name: True).place(accept)
    placements = [result_of(placement) for placement in accept_placement.placements]
    for line in lines_of(accept, persist=True) if firewalld else ():
        placements.append(result_of_firewalld(line))
    return suggested, placements


def _at_ingress(seen: Observed) -> bool:
    hooks = [_hook(seen.ruleset, hop) for hop in seen.way.hops]
    return next((hook for hook in reversed(hooks) if hook), "") == "ingress"


def _packets(seen: Observed, path: str) -> dict[str, Any]:
    """The packets that were asked about as nft_rule describes them, as the chain that drops them sees them."""
    described, hop, first = seen.described, seen.way.hops[-1], seen.way.first
    header = hop.header or first
    port = described.port if header is None or header.port is None else header.port
    iif, oif = (seen.names.get(index, "") for index in (header.iif, header.oif)) if header else ("", "")
    source = "" if described.source is None else network_text(described.source)
    # A name that another packet's rule hasn't.
    words = (described.protocol, str(described.port or ""), path, oif if path == "output" else iif, source)
    suggested: dict[str, Any] = {
        "name": "-".join(UNFIT_FOR_NAMES.sub("_", word) for word in words if word),
        "protocol": described.protocol,
    }
    if port is not None and described.port is not None:
        suggested["ports"] = [str(port)]
    if path != "output" and iif:
        suggested["in_interfaces"] = [iif]
    if path != "input" and oif:
        suggested["out_interfaces"] = [oif]
    if source:
        suggested["source"] = [source]
    if header is not None and first is not None and header.destination != first.destination:
        suggested["destination"] = [header.destination]
    elif described.destination is not None:
        suggested["destination"] = [network_text(described.destination)]
    return suggested


def _place(seen: Observed) -> dict[str, Any]:
    """Right before what drops it."""
    hop = seen.way.hops[-1]
    if hop.handle:
        return {"chain": str(hop.key), "position": "before", "anchor": str(hop.handle)}
    return {"chain": str(hop.key), "position": "last"}


def _fix(
    seen: Observed, decider: Mapping[str, Any] | None, suggestion: Mapping[str, Any] | None, trouble: str
) -> str | None:
    if seen.way.passed:
        return None
    if decider is None:
        return seen.lost or (
            f"no such packet ({seen.described.words}) came within {seen.waited:g} s: what sends it, or the network "
            "before this host, loses it; look at its route, at firewalls on the way, and at where it was sent from"
        )
    hop = seen.way.hops[-1]
    what = f"{decider['rule']!r}" if decider["rule"] else "a rule that has been removed since"
    where = f"{hop.key} (handle {hop.handle})" if hop.handle else f"{hop.key}"
    if hop.verdict in TAKEN:
        return f"{what} in {where} {TAKEN[hop.verdict]}"
    words = f"{what} in {where} decides"
    rule = _rule(seen.ruleset, hop)
    if rule is not None and rule.name is not None:
        words += f"; it is the rule {rule.name} of ours, so change the task that placed it"
    if suggestion is None:
        return f"{words}; {trouble}"
    return f"{words}; a task of overssh.swarm.nft_rule with the arguments in suggestion lets the packet pass"
