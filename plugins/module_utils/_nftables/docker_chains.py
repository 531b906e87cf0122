# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of a running Docker that are missing: Docker makes them when it starts, and does not restore them.

Files and the ruleset show this at almost no cost; Docker itself is not asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._core.files import readable
from .._docker import daemon
from .._linux.devices import names
from .ruleset import ChainKey, Rule, Ruleset

PID_FILE, PROC = "/run/docker.pid", "/proc"
# The bridges whose containers Docker lets out with the host's address.
BRIDGES = ("docker0", "docker_gwbridge")
FORWARD = ChainKey("ip", "filter", "FORWARD")
WAY_OUT = "systemctl restart docker puts it back"


@dataclass(frozen=True)
class Docker:
    """A running Docker that writes iptables rules; bridges: those with masquerading."""

    bridges: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lost:
    """A missing rule; what: jump or masquerade; device: the bridge, "" for a jump."""

    what: str
    device: str
    sentence: str


def observe() -> Docker | None:
    """The Docker of this host; None where none runs, or where it makes no iptables rules."""
    number = readable(PID_FILE).strip()
    if not number or not os.path.isdir(f"{PROC}/{number}"):
        return None
    words = readable(f"{PROC}/{number}/cmdline").split("\0")
    configured, _places = daemon.settings(words, readable)
    if not daemon.makes_iptables_rules(configured):
        return None
    masked = configured.get("ip-masq") is not False
    there = names()
    return Docker(tuple(name for name in BRIDGES if name in there and (masked or name != "docker0")))


def lost(docker: Docker | None, rulesets: Sequence[Ruleset]) -> list[Lost]:
    """Docker's missing rules; rulesets: all rulesets of the host, of nft and of iptables-legacy."""
    if docker is None:
        return []
    found = []
    if not any(_jumps(ruleset) for ruleset in rulesets):
        words = "FORWARD in ip filter has lost Docker's jump to DOCKER-USER, so no rule in that chain takes effect"
        found.append(Lost("jump", "", f"{words}; {WAY_OUT}"))
    for name in docker.bridges:
        if not any(_masquerades(ruleset, name) for ruleset in rulesets):
            words = f"ip nat has lost Docker's masquerading for {name}, so its containers get no answers from outside"
            found.append(Lost("masquerade", name, f"{words}; {WAY_OUT}"))
    return found


def _jumps(ruleset: Ruleset) -> bool:
    forward = ruleset.chains.get(FORWARD)
    return forward is not None and any("DOCKER-USER" in _targets(rule) for rule in forward.rules)


def _targets(rule: Rule) -> Iterator[str]:
    for statement in rule.statements:
        for kind in ("jump", "goto"):
            if isinstance(statement.get(kind), dict):
                yield statement[kind]["target"]


def _masquerades(ruleset: Ruleset, device: str) -> bool:
    return any(
        device in repr(rule.statements) and ("masquerade" in repr(rule.statements).lower())
        for key, chain in ruleset.chains.items()
        if key[:2] == ("ip", "nat") and chain.hook == "postrouting"
        for rule in chain.rules
    )
