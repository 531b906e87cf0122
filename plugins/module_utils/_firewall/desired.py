# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired rules, from the options of a task of nft_rule; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._core.errors import OversshError
from .._core.several import checked
from .._nftables import chain_rule
from .._nftables.accept import Accept, accept_from, rule_name
from .._nftables.chain_rule import ChainRule, chain_rule_from
from .options import RULE_OPTIONS


@dataclass(frozen=True)
class Desired:
    """The desired rules of a task: those present, names absent, and other rules of ours to remove.

    accepts: rules that find their places by themselves; fixed: rules in places that the user gives; prefixes: of the
    names that belong to the task alone.
    """

    accepts: tuple[Accept, ...] = ()
    fixed: tuple[ChainRule, ...] = ()
    absent: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    everything: bool = False
    persist: bool = True
    force_lockout: bool = False
    owner: str = "auto"

    def unwanted(self, name: str) -> bool:
        """Whether a rule of ours with this name has to go."""
        if name in self.present:
            return False
        return self.everything or name.startswith(self.prefixes) or name in self.absent

    def concerns(self, name: str) -> bool:
        """Whether the task decides about a rule of ours with this name."""
        return self.unwanted(name) or name in self.present

    @property
    def present(self) -> set[str]:
        """The names of the desired rules."""
        return {accept.name for accept in self.accepts} | {rule.name for rule in self.fixed}


def desired_from(options: Mapping[str, Any]) -> Desired:
    """The task's options in one form, for one rule or a list of rules."""
    present = options["state"] == "present"
    described: list[Mapping[str, Any]] = list(checked(options.get("rules") or (), RULE_OPTIONS, "rules"))
    if options.get("name") is not None:
        described.append(options)
    names = [rule_name(rule.get("name")) for rule in described]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OversshError(f"the name {twice[0]} stands for several rules of this task; give each its own")
    if options.get("all") and (present or described):
        raise OversshError("all takes away every rule of ours; it goes with state: absent, and with no rule named")
    fixed = [rule for rule in described if present and rule.get("chain")]
    accepts = [rule for rule in described if present and not rule.get("chain")]
    if fixed and accepts:
        raise OversshError(
            f"the rule {rule_name(fixed[0].get('name'))} stands in a chain that the task names, and "
            f"{rule_name(accepts[0].get('name'))} looks for its own place, which depends on such rules; give each kind "
            "a task of its own"
        )
    for rule in accepts:
        _refuse_placeless(rule)
    return Desired(
        accepts=tuple(accept_from(rule) for rule in accepts),
        fixed=tuple(chain_rule_from(rule) for rule in fixed),
        absent=frozenset() if present else frozenset(names),
        prefixes=tuple(options.get("exclusive_prefix") or ()),
        everything=bool(options.get("all")),
        persist=bool(options.get("persist")),
        force_lockout=bool(options.get("force_lockout")),
        owner=options.get("owner") or "auto",
    )


def _refuse_placeless(rule: Mapping[str, Any]) -> None:
    """An accept that finds its own places says nothing but which packets it is for."""
    for option, spec in {"verdict": {"default": "accept"}, **chain_rule.OPTIONS}.items():
        if rule.get(option) not in (None, spec.get("default"), [], False):
            raise OversshError(
                f"rule {rule_name(rule.get('name'))}: {option} goes with chain; without that the rule is an accept "
                "that finds its own places"
            )
