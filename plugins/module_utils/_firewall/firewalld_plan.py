# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of firewall-cmd for our zone, first at runtime and then in its files; pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .._core.errors import OversshError
from .._core.plan import Step
from .._linux.ssh_session import Session
from .._nftables.firewalld import POLICY, ZONE, Firewalld, Zone

Call = tuple[str, ...]

PERMANENT = "--permanent"
RELOAD: Call = ("--reload",)
# What no rule accepts is refused; by default a zone would accept all ICMP.
MAKE: tuple[Call, ...] = (
    (PERMANENT, f"--new-zone={ZONE}"),
    (PERMANENT, f"--zone={ZONE}", "--set-target=%%REJECT%%"),
    (PERMANENT, f"--new-policy={POLICY}"),
    (PERMANENT, f"--policy={POLICY}", f"--add-ingress-zone={ZONE}"),
    (PERMANENT, f"--policy={POLICY}", f"--add-egress-zone={ZONE}"),
)
# It runs on, empty, until firewalld is reloaded the next time. Each reload has Docker make its rules anew, those of
# networks that are gone as well, so it is not done where it needn't be.
UNMAKE: tuple[Call, ...] = ((PERMANENT, f"--delete-policy={POLICY}"), (PERMANENT, f"--delete-zone={ZONE}"))
FILES = (f"/etc/firewalld/policies/{POLICY}.xml", f"/etc/firewalld/zones/{ZONE}.xml")
# What firewalld leaves of them.
LEFT = tuple(f"{path}.old" for path in FILES)


@dataclass(frozen=True)
class Calls:
    """Steps for the running firewall, which can be staged, and steps for its files."""

    running: tuple[Step, ...] = ()
    kept: tuple[Step, ...] = ()


def calls(found: Firewalld, wanted: Zone | None, session: Session | None) -> Calls:
    """The steps from the observed firewalld to our desired zone; None: to no zone.

    session: the ssh connection that must not be cut, None where the user accepts a lock-out.
    """
    if wanted is None:
        return _gone(found)
    _refuse_interfaces(found, wanted, session)
    running: list[Step] = []
    before = found.running
    if found.permanent is None or before is None:
        if found.lost:
            raise OversshError(
                f"firewalld has to be reloaded for the zone {ZONE}, and would lose {', '.join(found.lost)}, which "
                "nobody made permanent; keep it with firewall-cmd --runtime-to-permanent, or give it up with "
                "firewall-cmd --reload, then run again"
            )
        made = MAKE if found.permanent is None else ()
        running.append(_step(f"make firewalld's zone {ZONE}", (*made, RELOAD), UNMAKE if made else (), kept=False))
        before = found.permanent or Zone()
    running += _change("in firewalld, for now:", (), before, wanted, found.zones)
    kept = _change("in firewalld, kept:", (PERMANENT,), found.permanent or Zone(), wanted, found.kept_zones)
    return Calls(tuple(running), tuple(kept))


def _gone(found: Firewalld) -> Calls:
    running = () if found.running is None else tuple(_change("in firewalld, for now:", (), found.running, Zone(), {}))
    if found.permanent is None:
        return Calls(running)
    back = (*MAKE, *_calls((PERMANENT,), Zone(), found.permanent, {}))
    return Calls(running, (_step(f"remove firewalld's zone {ZONE}", UNMAKE, back, kept=True),))


def _refuse_interfaces(found: Firewalld, wanted: Zone, session: Session | None) -> None:
    for name, zone in sorted({**found.kept_zones, **found.zones}.items()):
        if name in wanted.interfaces and name not in found.tunnels:
            raise OversshError(
                f"the interface {name} stands in firewalld's zone {zone}, which is not ours; accept the packets there "
                f"with firewall-cmd --zone={zone}, or take the interface out of it"
            )
    coming = wanted.interfaces - (found.running or Zone()).interfaces
    if session is not None and session.device in coming:
        raise OversshError(
            f"the ssh connection that this run comes by comes in by {session.device}, and in firewalld's zone {ZONE} "
            f"only what the rules of ours accept comes in; connect another way, or set force_lockout: true and accept "
            f"{session.port}/tcp too"
        )


def _change(label: str, mode: Call, before: Zone, after: Zone, zones: Mapping[str, str]) -> list[Step]:
    """The step from one state of our zone to another, none where they are the same; zones: that interfaces are in."""
    if before == after:
        return []
    words = [f"add {each}" for each in after.described if each not in before.described]
    words += [f"remove {each}" for each in before.described if each not in after.described]
    back = list(_calls(mode, after, before, {}))
    for name in sorted((after.interfaces - before.interfaces) & set(zones)):
        back.append((*mode, f"--zone={zones[name]}", f"--add-interface={name}"))
    return [_step(f"{label} {', '.join(words)}", _calls(mode, before, after, zones), back, kept=PERMANENT in mode)]


def _calls(mode: Call, before: Zone, after: Zone, zones: Mapping[str, str]) -> tuple[Call, ...]:
    """Rules come before the interfaces that they are for, and go after them; one call for all of a kind."""
    zone, policy = (*mode, f"--zone={ZONE}"), (*mode, f"--policy={POLICY}")
    coming, moved = after.interfaces - before.interfaces, set(zones)
    options = (
        (zone, "--add-rich-rule", after.rules - before.rules),
        (policy, "--add-rich-rule", after.transit - before.transit),
        (zone, "--remove-interface", before.interfaces - after.interfaces),
        (zone, "--add-interface", coming - moved),
        (zone, "--change-interface", coming & moved),
        (zone, "--remove-rich-rule", before.rules - after.rules),
        (policy, "--remove-rich-rule", before.transit - after.transit),
    )
    return tuple(
        (*where, *(f"{option}={value}" for value in sorted(values))) for where, option, values in options if values
    )


def _step(label: str, forth: Sequence[Call], back: Sequence[Call], kept: bool) -> Step:
    """kept: whether it is about what firewalld keeps, and not about what it runs."""
    inverse = Step("firewalld_back", f"take back: {label}", {"calls": back})
    return Step("firewalld", label, {"calls": forth, "back": back, "kept": kept}, inverse)


def rollback_commands(steps: Sequence[Step]) -> str:
    """Shell commands that undo these steps; at boot firewalld does not run yet and has only its files."""
    lines = [
        shlex.join(("firewall-cmd", "--quiet", *call))
        for step in reversed(steps)
        if step.inverse is not None
        for call in step.inverse.args["calls"]
    ]
    made = any(call in UNMAKE for step in steps if step.inverse is not None for call in step.inverse.args["calls"])
    away = [f"firewall-cmd --quiet --state || rm -f {shlex.join(FILES)}"] if made else []
    return "\n".join([*lines, *away])
