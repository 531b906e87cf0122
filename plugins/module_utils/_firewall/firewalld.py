# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""firewalld on this host, through firewall-cmd; other programs must not write to its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .._core.command import CommandError, Runner, checked
from .._core.errors import OversshError
from .._core.files import remove
from .._linux.devices import read_links
from .._nftables.firewalld import POLICY, ZONE, Firewalld, Listing, Zone, differences, read_listing, zone_from
from .firewalld_plan import LEFT, PERMANENT, UNMAKE, Call

ZONES, POLICIES = "--list-all-zones", "--list-all-policies"
# firewall-cmd's status where firewalld does not run.
NOT_RUNNING = 252
# And where a zone or policy that is to be made is there already.
NAME_CONFLICT = 26


def observe(run: Runner) -> Firewalld:
    """Our zone at runtime and in its files."""
    first = run(["firewall-cmd", ZONES], check=False)
    if first.rc == NOT_RUNNING:
        raise OversshError(
            "firewalld's table stands in this host's ruleset, but firewalld does not run; start it, or remove its "
            "table with nft delete table inet firewalld"
        )
    running = {ZONES: read_listing(checked(first, ["firewall-cmd", ZONES], check=True).stdout)}
    running[POLICIES] = read_listing(_ask(run, POLICIES))
    permanent = {option: read_listing(_ask(run, PERMANENT, option)) for option in (ZONES, POLICIES)}
    zones, kept_zones = _zones(running[ZONES]), _zones(permanent[ZONES])
    tunnels = frozenset(link.name for link in read_links() if link.tun and link.name in {*zones, *kept_zones})
    found = Firewalld(_ours(running), _ours(permanent), zones, kept_zones, tunnels)
    if found.running is None or found.permanent is None:
        lost = [each for option in (ZONES, POLICIES) for each in differences(running[option], permanent[option])]
        found = replace(found, lost=(*lost, *_lost_besides(run)))
    return found


def _zones(listing: Listing) -> dict[str, str]:
    """The zones of interfaces that are not in ours."""
    return {name: zone for zone, settings in listing.items() for name in settings.get("interfaces", ()) if zone != ZONE}


def _ours(listings: Mapping[str, Listing]) -> Zone | None:
    """None where the zone or the policy is missing: then both are made."""
    zone, policy = listings[ZONES].get(ZONE), listings[POLICIES].get(POLICY)
    return None if zone is None or policy is None else zone_from(zone, policy)


def call(run: Runner, calls: Sequence[Call], back: Sequence[Call] = ()) -> None:
    """Do these calls of firewall-cmd; where one fails, back undoes the ones before it."""
    for each in calls:
        argv = ["firewall-cmd", *each]
        answer = run(argv, check=False)
        try:
            checked(answer, argv, check=answer.rc != NAME_CONFLICT)
        except CommandError:
            for words in back:
                run(["firewall-cmd", *words], check=False)
            raise
    if UNMAKE[0] in calls:
        for path in LEFT:
            remove(path)


def _ask(run: Runner, *words: str) -> str:
    return run(["firewall-cmd", *words]).stdout


def _lost_besides(run: Runner) -> list[str]:
    """Runtime settings of firewalld besides zones and policies that a reload would lose."""
    found: list[str] = []
    for option in ("--get-all-chains", "--get-all-rules", "--get-all-passthroughs"):
        now, kept = (set(_ask(run, *mode, "--direct", option).splitlines()) for mode in ((), (PERMANENT,)))
        found += [f"the direct rule {rule}" for rule in sorted(now - kept)]
    for name in _ask(run, "--get-ipsets").split():
        now, kept = (
            set(run(["firewall-cmd", *mode, f"--ipset={name}", "--get-entries"], check=False).stdout.split())
            for mode in ((), (PERMANENT,))
        )
        found += [f"entries of the ipset {name}"] if now != kept else []
    return found
