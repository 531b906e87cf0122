# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a change of the rules would cut the operator's own ssh connection; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from .._linux.ssh_session import Session
from .._nftables.accept import states_at
from .._nftables.conditions import Packet
from .._nftables.ruleset import Chain, Ruleset
from .._nftables.traversal import Event, Reader, Walker, deciding_rule

INCOMING, OUTGOING = ("prerouting", "input"), ("output", "postrouting")


def lockout(before: Ruleset, after: Ruleset, session: Session, reader: Reader) -> str | None:
    """The rule or policy that newly drops the connection's packets, in words; None where there is none.

    A possible drop of the running connection's packets counts, and a certain drop of the next one's first packet.
    reader: has read the common part of both rulesets.
    """
    old, new = Walker(before, reader), Walker(after, reader)
    for hook in (*INCOMING, *OUTGOING):
        for base in after.base_chains(hook, {session.family, "inet"}):
            for packet in _packets(session, hook, base.priority):
                event = new.first_drop(base, packet)
                if event is None or (packet.state == "new" and not event.certain):
                    continue
                was = before.chains.get(base.key)
                earlier = None if was is None else old.first_drop(was, packet)
                if earlier is None or (_ours(after, event) and not earlier.certain):
                    return f"{_words(after, base, event)} in {event.deciding.key}"
    return None


def _packets(session: Session, hook: str, priority: int) -> Iterator[Packet]:
    client, server = (ipaddress.ip_network(address) for address in (session.client, session.server))
    if hook in INCOMING:
        for state in states_at(hook, priority):
            yield Packet(
                family=session.family,
                state=state,
                hook=hook,
                iif=session.device or None,
                oif="",
                protocol="tcp",
                port=(session.port, session.port),
                source=client,
                destination=server,
            )
        return
    yield Packet(
        family=session.family,
        state=states_at(hook, priority)[-1],
        hook=hook,
        iif="",
        oif=session.device or None,
        protocol="tcp",
        source=server,
        destination=client,
        reply=True,
    )


def _ours(ruleset: Ruleset, event: Event) -> bool:
    rule = deciding_rule(ruleset, event)
    return rule is not None and rule.name is not None


def _words(ruleset: Ruleset, base: Chain, event: Event) -> str:
    rule = deciding_rule(ruleset, event)
    return f"policy {base.policy}" if rule is None else repr(rule.text or rule.comment)
