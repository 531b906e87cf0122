# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sshd of a dialled node has to hold for the tunnels' account, and who decides otherwise; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.overssh.swarm.plugins.module_utils._sshd import REHEARSED

from ._topology import Link

# The rest of what hosts try out beforehand is the same for every node.
VARYING = ("PermitTunnel", "DisableForwarding", "AllowTcpForwarding", "MaxSessions", "ForceCommand")
ALWAYS = {keyword: value for keyword, value in REHEARSED.items() if keyword not in VARYING}


def wanted(links: Sequence[Link]) -> dict[str, dict[str, str]]:
    """By dialled node and jump host, the values by keyword that have to come out of the role tunnel's Match block."""
    transports: dict[str, set[str]] = {}
    for link in links:
        transports.setdefault(link.dialled.name, set()).add(link.dialler.transport)
    jumps = {hop.member.name for link in links for hop in link.jumps}
    return {name: held(transports.get(name, set()), name in jumps) for name in {*transports, *jumps}}


def held(transports: Collection[str], jump: bool) -> dict[str, str]:
    """The same of one node; transports: of the links that it is dialled for, jump: whether it leads on to others."""
    tun, stream = "tun" in transports, "stream" in transports
    values = {
        **ALWAYS,
        "PermitTunnel": "point-to-point" if tun else "no",
        "AllowTcpForwarding": "local" if jump else "no",
        "MaxSessions": "1" if stream else "0",
        "ForceCommand": "none" if stream else "/bin/false",
    }
    # Where nothing is to be forwarded the others say so too.
    return {**values, "DisableForwarding": "no"} if tun or jump else values


def problems(
    found: Mapping[str, Mapping[str, Any]], wanted_by_node: Mapping[str, Mapping[str, str]], user: str
) -> Iterator[str]:
    """Why one of these nodes would not let the others in, or not as it has to be."""
    for name, answer in found.items():
        if name not in wanted_by_node:
            continue
        sshd = answer.get("host", {}).get("sshd", {})
        for sentence in sshd.get("problems", []):
            yield f"{name}: {sentence}"
        for decided in sshd.get("decided", []):
            keyword, value = decided["keyword"], decided["value"]
            needed = wanted_by_node[name].get(keyword, value)
            if value != needed:
                yield (
                    f"{name}: sshd's {keyword} is {value} for {user}, by a Match block in {decided['file']} that is "
                    f"read before ours, and has to be {needed}; take the account out of that block, as in Match User "
                    f"*,!{user}."
                )


def lines(values: Mapping[str, str]) -> list[str]:
    """As `sshd -T` prints them."""
    return [f"{keyword.lower()} {value}" for keyword, value in values.items()]
