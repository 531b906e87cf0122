# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sshd settings that a dialled node needs for the tunnels' account, and lines that overrule them; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.overssh.swarm.plugins.module_utils._sshd.facts import PROBED
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.lanes import lanes_at_start

from .topology import Link

# The rest of what hosts try out beforehand is the same for every node.
VARYING = ("PermitTunnel", "DisableForwarding", "AllowTcpForwarding", "MaxSessions", "ForceCommand")
ALWAYS = {keyword: value for keyword, value in PROBED.items() if keyword not in VARYING}


def wanted(links: Sequence[Link]) -> dict[str, dict[str, str]]:
    """By dialled node and jump host, the values by keyword that the role tunnel's Match block has to give."""
    transports: dict[str, set[str]] = {}
    for link in links:
        transports.setdefault(link.dialled.name, set()).add(link.dialler.transport)
    jumps = {hop.member.name for link in links for hop in link.jumps}
    return {name: held(transports.get(name, set()), name in jumps) for name in {*transports, *jumps}}


def held(transports: Collection[str], jump: bool) -> dict[str, str]:
    """The values for one node; transports: of the links to it; jump: whether it is a jump host."""
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
    """Why a node would refuse the others, or admit them with other settings."""
    for name, answer in found.items():
        if name not in wanted_by_node:
            continue
        sshd = answer.get("host", {}).get("sshd", {})
        for sentence in sshd.get("problems", []):
            yield f"{name}: {sentence}"
        for decided in sshd.get("decided", []):
            if not decided.get("address"):
                yield from _decided(name, decided, wanted_by_node[name], user)


# The names of ciphers that see to a packet's integrity themselves end so.
AUTHENTICATED = ("-gcm@openssh.com", "-poly1305@openssh.com")


def _decided(name: str, decided: Mapping[str, str], wanted: Mapping[str, str], user: str) -> Iterator[str]:
    """The settings that others have set to another value."""
    keyword, value = decided["keyword"], decided["value"]
    needed = wanted.get(keyword, value)
    if value != needed:
        whence = decided.get("address")
        yield (
            f"{name}: sshd's {keyword} is {value} for {user}{f' from {whence}' if whence else ''}, by a Match block in "
            f"{decided['file']} that is read before ours, and has to be {needed}; take the account out of that block, "
            f"as in Match User *,!{user}."
        )


def mismatches(links: Sequence[Link], found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Links whose two ends have no algorithm in common."""
    for link in links:
        offered = _host(found, link.dialler.name).get("ssh") or {}
        for name in (*(hop.member.name for hop in link.jumps), link.dialled.name):
            taken = _host(found, name).get("sshd", {}).get("algorithms") or {}
            for kind, ours in offered.items():
                theirs = taken.get(kind, ours)
                if kind == "macs" and _authenticated(offered, taken):
                    continue
                if not set(ours) & set(theirs):
                    yield (
                        f"{link.dialler.name}: its ssh and the sshd of {name} have none of their {kind} in common "
                        f"({','.join(theirs)} there); add one that both know to sshd's configuration."
                    )


def _authenticated(offered: Mapping[str, Sequence[str]], taken: Mapping[str, Sequence[str]]) -> bool:
    """Whether the cipher that the two will agree on needs no MAC besides."""
    theirs = taken.get("ciphers", offered.get("ciphers", ()))
    agreed = next((cipher for cipher in offered.get("ciphers", ()) if cipher in theirs), "")
    return agreed.endswith(AUTHENTICATED)


# What one login of a link takes at the most: sshd's process, a shell, the helper and its threads.
PROCESSES = 4
# Kilobytes that an interpreter needs.
MEMORY = 200_000


def warnings(found: Mapping[str, Mapping[str, Any]], links: Sequence[Link], user: str) -> Iterator[str]:
    """Settings that may refuse links to a node, or end them.

    They include settings that depend on the source address, because a NAT may change it.
    """
    needed_by_node = wanted(links)
    logins: dict[str, int] = {}
    streams: set[str] = set()
    for link in links:
        # Further lanes of auto may be refused without harm.
        lanes = lanes_at_start(link.dialler.lanes)
        logins[link.dialled.name] = logins.get(link.dialled.name, 0) + lanes
        streams |= {link.dialled.name} if link.dialler.transport == "stream" else set()
        for hop in link.jumps:
            logins[hop.member.name] = logins.get(hop.member.name, 0) + lanes
    for name, number in logins.items():
        sshd = _host(found, name).get("sshd", {})
        for sentence in sshd.get("warnings", []):
            yield f"{name}: {sentence}"
        for decided in sshd.get("decided", []):
            if decided.get("address"):
                yield from _decided(name, decided, needed_by_node[name], user)
        for limit in sshd.get("limits", []):
            needed = _needed(limit["item"], number)
            if needed is None or limit["value"] < needed:
                yield (
                    f"{name}: PAM sets {limit['item']} to {limit['value']} for the tunnels' account "
                    f"({limit['place']}), "
                    f"and {number} logins {'end by it' if needed is None else f'may take {needed}'}; add a line "
                    "for the "
                    f"account with '- {limit['item']} unlimited'."
                )
        if sshd.get("rc") and name in streams:
            yield (
                f"{name}: {sshd['rc']} runs at every login, so at those of links too, which pass over what it "
                "prints and "
                "wait until it ends; see that it does so at once."
            )


def _needed(item: str, logins: int) -> int | None:
    """The least that a limit has to be for so many logins; None where any is too small."""
    return {"maxlogins": logins, "nproc": PROCESSES * logins, "as": MEMORY, "data": MEMORY}.get(item)


def _host(found: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    host: Mapping[str, Any] = found.get(name, {}).get("host", {})
    return host


def lines(values: Mapping[str, str]) -> list[str]:
    """The values as `sshd -T` prints them."""
    return [f"{keyword.lower()} {value}" for keyword, value in values.items()]
