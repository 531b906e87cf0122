# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that owns a host's firewall, by its ruleset or by the user's word; pure."""

from __future__ import annotations

from .ruleset import FIREWALLD, OWN_TABLE, Ruleset

OWNERS = ("auto", "nftables", "iptables", "firewalld")


def owners(ruleset: Ruleset) -> list[str]:
    """The programs whose tables are in a ruleset."""
    iptables = ruleset.iptables_tables()
    found = set()
    for key, chain in ruleset.chains.items():
        if key.table == FIREWALLD:
            found.add("firewalld")
        elif key[:2] in iptables:
            found.add("iptables")
            if key.chain.startswith("ufw-"):
                found.add("ufw")
        elif chain.hook is not None and not key.table.startswith((OWN_TABLE, "docker-")):
            found.add("nftables")
        if key.chain.startswith("DOCKER") or key.table.startswith("docker-"):
            found.add("docker")
    return sorted(found)


def shared_with_iptables(ruleset: Ruleset, owner: str) -> frozenset[tuple[str, str]]:
    """The tables in which iptables has to be able to print every rule; owner: see OWNERS."""
    if owner == "iptables":
        return frozenset(key[:2] for key in ruleset.chains if key.family in {"ip", "ip6"} and key.table != OWN_TABLE)
    return frozenset() if owner == "nftables" else ruleset.iptables_tables()


def is_firewallds(table: str, owner: str) -> bool:
    """Whether only firewalld may write to a table."""
    return table == FIREWALLD and owner in {"auto", "firewalld"}


def firewalld_owns(ruleset: Ruleset, owner: str = "auto") -> bool:
    """Whether firewalld has to make the accepts on this host."""
    return any(is_firewallds(key.table, owner) for key in ruleset.chains)
