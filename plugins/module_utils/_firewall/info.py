# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our rules on this host, rules of others that look like ours, and missing rules of Docker; only looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._core.command import Runner
from .._core.files import read_text
from .._nftables import docker_chains
from .._nftables import legacy as nftables_legacy
from .._nftables.firewalld import ours, text_of
from .._nftables.result import address
from .._nftables.rules_file import RULES_FILE, read_lines
from .._nftables.ruleset import Ruleset, name_of
from .nft import Nft


def info(run: Runner, name: str | None, prefix: str | None) -> dict[str, Any]:
    """The rules for nft_rule_info: all of ours or the named ones, and rules of others that look like ours."""
    ruleset = Nft(run).ruleset()
    strangers = [
        {"name": name_of(rule.comment), **address(key, rule.handle), "rule": rule.text, "comment": rule.comment}
        for key, rule in ruleset.strangers()
    ]
    found = {"rules": our_rules(ruleset, read_text(RULES_FILE)), "strangers": strangers}
    gone = docker_chains.lost(docker_chains.observe(), [ruleset, nftables_legacy.observe(run).ruleset])
    named: dict[str, Any] = {
        kind: [
            rule
            for rule in rules
            if (name is None or rule["name"] == name) and str(rule["name"]).startswith(prefix or "")
        ]
        for kind, rules in found.items()
    }
    return {**named, "docker_lost": [lost_result(each) for each in gone]}


def our_rules(ruleset: Ruleset, kept_text: str | None) -> list[dict[str, Any]]:
    """Every rule of ours on a host, as return values."""
    kept = {(line.key, line.name) for line in read_lines(kept_text)}
    found = []
    for key, rule in ruleset.our_rules():
        counter = next((statement["counter"] for statement in rule.statements if "counter" in statement), None)
        entry = {
            "name": rule.name,
            **address(key, rule.handle),
            "rule": rule.text,
            "comment": rule.comment,
            "persistent": (key, rule.name) in kept,
        }
        if isinstance(counter, Mapping):
            entry.update(packets=counter.get("packets", 0), bytes=counter.get("bytes", 0))
        found.append(entry)
    for line in ours(read_lines(kept_text)):
        entry = {"rule": text_of(line), "comment": line.comment, "persistent": True}
        found.append({"name": line.name, **address(line.key, None), **entry})
    return found


def lost_result(lost: docker_chains.Lost) -> dict[str, Any]:
    """Docker's missing rules, as return values."""
    return {"what": lost.what, "device": lost.device, "sentence": lost.sentence}
