# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether sshd would let the tunnels' account in, by its settings for all accounts; pure but for the groups.

Sources: sshd_config(5) and ssh_config(5), PATTERNS, for the comparison of names and addresses.
"""

from __future__ import annotations

import grp
import ipaddress
import os
import pwd
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

# What our keys are.
KEY_KIND = "ssh-ed25519"
# What sshd permits at once where nobody says anything else.
USUAL_STARTS = 10

Effective = Mapping[str, Sequence[str]]
Place = Callable[[str, str], str]
Peers = Sequence[Mapping[str, str]]


def groups_of(user: str) -> list[str]:
    """The groups of an account; for a missing account, the group that it will have."""
    try:
        entry = pwd.getpwnam(user)
        numbers = os.getgrouplist(user, entry.pw_gid)
    except (KeyError, OSError):
        return [user]
    found = []
    for number in numbers:
        try:
            found.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return found


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern of sshd's fits: * for any characters, ? for one; all other characters stand for themselves."""
    parts = (".*" if sign == "*" else "." if sign == "?" else re.escape(sign) for sign in pattern)
    return re.fullmatch("".join(parts), text) is not None


def from_there(patterns: str, address: str) -> bool:
    """Whether an address fits a list of patterns and networks; an excluded one fits none."""
    fits = False
    for pattern in patterns.split(","):
        plain = pattern.removeprefix("!")
        try:
            found = ipaddress.ip_address(address) in ipaddress.ip_network(plain, strict=False)
        except ValueError:
            found = matches(plain.lower(), address.lower())
        if found and pattern.startswith("!"):
            return False
        fits = fits or found
    return fits


def problems(effective: Effective, user: str, groups: Sequence[str], place: Place) -> Iterator[str]:
    """Sentences on settings that keep the account out from everywhere; effective: as `sshd -T` prints it."""
    allowed = effective.get("allowusers", [])
    if allowed and not any(matches(_user(pattern), user) for pattern in allowed):
        yield f"sshd's AllowUsers ({place('AllowUsers', '')}) leaves out {user}; add it to that line."
    for pattern in effective.get("denyusers", []):
        if "@" not in pattern and matches(pattern, user):
            yield f"sshd's DenyUsers ({place('DenyUsers', pattern)}) names {user}; take it out of that line."
            break
    wanted = effective.get("allowgroups", [])
    if wanted and not _any_group(wanted, groups):
        yield (
            f"sshd's AllowGroups ({place('AllowGroups', '')}) leaves out {user}, whose group is "
            f"{' and '.join(groups)}; add that to the line."
        )
    denied = effective.get("denygroups", [])
    if _any_group(denied, groups):
        yield f"sshd's DenyGroups ({place('DenyGroups', '')}) has a group of {user}; take it out of that line."
    kinds = ",".join(effective.get("pubkeyacceptedalgorithms", effective.get("pubkeyacceptedkeytypes", [])))
    if kinds and KEY_KIND not in kinds.split(","):
        yield (
            f"sshd's PubkeyAcceptedAlgorithms ({place('PubkeyAcceptedAlgorithms', '')}) leave out {KEY_KIND}, "
            "which the tunnels' keys are; add it."
        )
    if effective.get("refuseconnection", ["no"])[0] == "yes":
        yield f"sshd's RefuseConnection ({place('RefuseConnection', '')}) is yes for {user}; set it to no."


def warnings(effective: Effective, user: str, peers: Peers, place: Place) -> Iterator[str]:
    """Sentences on settings that may keep some peers out. peers: each with its name and its address."""
    allowed = [pattern for pattern in effective.get("allowusers", []) if matches(_user(pattern), user)]
    for peer in peers:
        if allowed and not any(_from(pattern, peer["address"]) for pattern in allowed):
            yield (
                f"sshd's AllowUsers ({place('AllowUsers', allowed[0])}) lets {user} in as {', '.join(allowed)}, and "
                f"{peer['name']} dials from {peer['address']} as far as the inventory tells; see that its address is "
                "among them."
            )
        for pattern in effective.get("denyusers", []):
            if "@" in pattern and matches(_user(pattern), user) and _from(pattern, peer["address"]):
                yield (
                    f"sshd's DenyUsers ({place('DenyUsers', pattern)}) has {pattern}, and {peer['name']} dials from "
                    f"{peer['address']} as far as the inventory tells; see that its address is not among them."
                )
    yield from _limits(effective, peers, place)


def _limits(effective: Effective, peers: Peers, place: Place) -> Iterator[str]:
    """How many may log in at once, and for what sshd shuts out whom."""
    starts = _number(effective.get("maxstartups", [""])[0].split(":")[0])
    if starts is not None and starts < min(USUAL_STARTS, len(peers)):
        yield (
            f"sshd's MaxStartups ({place('MaxStartups', '')}) lets {starts} log in at once, and {len(peers)} hosts "
            f"dial this one; after a restart some have to try again, so better set it to {USUAL_STARTS} or more."
        )
    from_one = _number(effective.get("persourcemaxstartups", [""])[0])
    if from_one is not None and from_one < len(peers):
        yield (
            f"sshd's PerSourceMaxStartups ({place('PerSourceMaxStartups', '')}) lets {from_one} log in at once "
            "from one address, and hosts behind one NAT share theirs; better set it to as many as there are."
        )
    words = " ".join(effective.get("persourcepenalties", [])).split()
    values = {key: value for key, _colon, value in (word.partition(":") for word in words)}
    once, least = (_number(values.get(key, "")) for key in ("authfail", "min"))
    if once is not None and least is not None and once >= least > 0:
        yield (
            f"sshd's PerSourcePenalties ({place('PerSourcePenalties', '')}) shut an address out for {once} s after one "
            "refused login, with everybody behind the same NAT; better put the fleet's addresses into "
            "PerSourcePenaltyExemptList."
        )


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _user(pattern: str) -> str:
    return pattern.partition("@")[0]


def _from(pattern: str, address: str) -> bool:
    """Whether a pattern of users is about an address, too."""
    _user_part, at, hosts = pattern.partition("@")
    return not at or from_there(hosts, address)


def _any_group(patterns: Sequence[str], groups: Sequence[str]) -> bool:
    return any(matches(pattern, group) for pattern in patterns for group in groups)
