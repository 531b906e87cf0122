# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rulesets of tests/rulesets on a node where Docker runs, in place of the node's own."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator

from . import lab

FOLDER = lab.PROJECT / "tests" / "rulesets"
# The one table that a node of the lab has before Docker makes its own.
OWN = "inet filter"
DOCKERS = "iptables_docker.v4"


# What packets have put into a set.
DYNAMIC = re.compile(r"(\n\t\tflags [a-z,]*dynamic.*(?:\n\t\t(?!elements).*)*)\n\t\telements = \{[^}]*\}")


def listing(node: str) -> str:
    """All rules of a node, without what packets change."""
    return DYNAMIC.sub(r"\1", lab.inside(node, "nft -s list ruleset"))


@contextlib.contextmanager
def without_own(node: str) -> Iterator[None]:
    """The node with nothing but Docker's rules meanwhile; what others add goes in the end."""
    own = lab.inside(node, f"nft -s list table {OWN}")
    load(node, f"delete table {OWN}")
    chains = _chains(node)
    saved = {program: lab.inside(node, f"{program}-save") for program in ("iptables", "ip6tables")}
    try:
        yield
    finally:
        # It makes chains of its own that were not needed before.
        for program, rules in saved.items():
            lab.inside(node, f"{program}-restore <<'END'\n{rules}\nEND\n")
        kept = {table for table, _chain in chains}
        gone = [f"delete chain {table} {chain}" for table, chain in _chains(node) - chains if table in kept]
        gone += [f"delete table {table}" for table in {table for table, _chain in _chains(node)} - kept]
        load(node, "\n".join([*gone, own]))


@contextlib.contextmanager
def loaded(node: str, name: str) -> Iterator[None]:
    """The node with one of these rulesets meanwhile, beside Docker's rules."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    with without_own(node):
        if name.endswith(".nft"):
            load(node, text)
        else:
            # As where these came first, and Docker put its own before them; to load them whole would empty its chains.
            rules = _beside_dockers(text) if name == DOCKERS else text
            lab.inside(node, f"iptables-restore --noflush <<'END'\n{rules}\nEND\n")
        yield


def load(node: str, commands: str) -> None:
    """Give a node's nft these commands, as one transaction."""
    lab.inside(node, f"nft -f - <<'END'\n{commands}\nEND\n")


def _chains(node: str) -> set[tuple[str, str]]:
    """The table and the name of each chain."""
    listed = json.loads(lab.inside(node, "nft -j list chains"))["nftables"]
    chains = [entry["chain"] for entry in listed if "chain" in entry]
    return {(f"{chain['family']} {chain['table']}", chain["name"]) for chain in chains}


def _beside_dockers(text: str) -> str:
    """What the administrator has added to what Docker makes, which is there already: nothing in it would be new."""
    own = re.findall(r"^-A INPUT .*$", text, re.M)
    own += [f"-I{line[2:]}" for line in re.findall(r"^-A DOCKER-USER (?!-j RETURN).*$", text, re.M)]
    return "\n".join(["*filter", *own, "COMMIT"])
