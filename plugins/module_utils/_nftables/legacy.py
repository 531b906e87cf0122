# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of iptables-legacy, which nft does not show although they filter every packet too.

iptables-legacy-save prints them. iptables-nft loads them into a temporary network namespace, so that they can be read
as nft rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .._core.command import Runner
from .._core.errors import OversshError
from .accept import PATH_HOOKS, Accept
from .listing import PATH
from .normalize import LISTING, read_listing
from .ruleset import Chain, ChainKey, Rule, Ruleset
from .traversal import Reader, Walker, deciding_rule

PROGRAMS = {"ip": "iptables", "ip6": "ip6tables"}
# The tables that the kernel has of each; to look doesn't make it load any.
NAMES = {family: f"/proc/net/{family}_tables_names" for family in PROGRAMS}


@dataclass(frozen=True)
class Legacy:
    """ruleset: the rules, with iptables' texts; unread: by family, why it can't be read."""

    ruleset: Ruleset = field(default_factory=Ruleset)
    unread: Mapping[str, str] = field(default_factory=dict)

    @property
    def owners(self) -> tuple[str, ...]:
        """The name iptables-legacy where it has any rules; its empty tables decide nothing and can't be removed."""
        says = any(chain.rules or chain.policy != "accept" for chain in self.ruleset.chains.values())
        return ("iptables-legacy",) if says or self.unread else ()


def observe(run: Runner) -> Legacy:
    """The rules of iptables-legacy on this host; usually none."""
    named = run(["grep", "-H", "", *NAMES.values()], check=False).stdout
    found, unread = Ruleset(), {}
    for family, program in PROGRAMS.items():
        if f"{NAMES[family]}:" not in named:
            continue
        try:
            saved = run([f"{program}-legacy-save"]).stdout
            script = f"{PATH}{program}-nft-restore && {LISTING}"
            output = run(["unshare", "--net", "sh", "-c", script], data=saved).stdout
        except OversshError as error:
            unread[family] = str(error)
            continue
        one = in_own_words(read_listing(output), saved)
        found = Ruleset({**found.chains, **one.chains}, {**found.sets, **one.sets})
    return Legacy(found, unread)


def in_own_words(ruleset: Ruleset, saved: str) -> Ruleset:
    """The ruleset, each rule with its line of saved, the output of iptables-legacy-save."""
    lines: dict[tuple[str, str], list[str]] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            lines.setdefault((table, line.split()[1]), []).append(line)
    changed: dict[ChainKey, Sequence[Rule]] = {
        key: [replace(rule, text=text) for rule, text in zip(chain.rules, lines.get((key.table, key.chain), ()))]
        for key, chain in ruleset.chains.items()
    }
    return ruleset.with_rules(changed)


def notes(legacy: Legacy, accepts: Sequence[Accept]) -> list[str]:
    """Sentences on rules that may drop packets of the accepts; nothing is changed."""
    walker = Walker(legacy.ruleset, Reader(legacy.ruleset))
    found = dict.fromkeys(
        f"{PROGRAMS[base.key.family]}-legacy may drop packets of {accept.name}, by {what} in the table "
        f"{base.key.table}; nft has no say there, so let them pass with {PROGRAMS[base.key.family]}-legacy too"
        for accept in accepts
        for base, what, _surely in deciders(walker, accept)
    )
    for family, why in legacy.unread.items():
        if any(family in accept.families for accept in accepts):
            found[
                f"{PROGRAMS[family]}-legacy has rules of its own on this host, which may drop these packets and could "
                f"not be read ({why}); nft has no say there"
            ] = None
    return list(found)


def deciders(walker: Walker, accept: Accept) -> Iterator[tuple[Chain, str, bool]]:
    """The base chains that may drop packets on their path, or this host's replies; each in words, and if for sure."""
    hooks = ("ingress", *PATH_HOOKS[accept.path]) if accept.path != "output" else PATH_HOOKS[accept.path]
    for kinds, concerned in ((accept.packets, hooks), (accept.replies, ("output",))):
        for hook in concerned:
            for base in walker.ruleset.base_chains(hook, {*accept.families, "inet", "netdev"}):
                if base.devices and accept.in_interfaces and set(base.devices).isdisjoint(accept.in_interfaces):
                    continue
                families = (base.key.family,) if base.key.family in accept.families else accept.families
                for packet in kinds(hook, base.priority, families):
                    event = walker.first_drop(base, packet)
                    if event is not None:
                        rule = None if event.kind == "exit" else deciding_rule(walker.ruleset, event)
                        words = f"the policy of {base.key.chain}" if rule is None else repr(rule.text)
                        yield base, words, event.certain
