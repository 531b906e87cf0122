# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rulesets of tests/netns on a node where Docker runs, in place of the node's own."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from . import lab

FOLDER = lab.PROJECT / "tests" / "netns" / "rulesets"
ALL = sorted(path.name for path in FOLDER.iterdir())
# The one table that a node of the lab has before Docker makes its own.
OWN = "inet filter"
DOCKERS = "iptables_docker.v4"


def listing(node: str) -> str:
    """All rules of a node, without what packets change."""
    return lab.inside(node, "nft -s list ruleset")


@contextlib.contextmanager
def without_own(node: str) -> Iterator[None]:
    """The node with nothing but Docker's rules meanwhile; what others do to these, and other tables, go in the end."""
    own = lab.inside(node, f"nft -s list table {OWN}")
    iptables, tables = lab.inside(node, "iptables-save"), _tables(node)
    load(node, f"delete table {OWN}")
    try:
        yield
    finally:
        load(node, "".join(f"delete {table}\n" for table in _tables(node) if table not in tables) + own)
        lab.inside(node, f"iptables-restore <<'END'\n{iptables}\nEND\n")


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


def _tables(node: str) -> list[str]:
    return lab.inside(node, "nft list tables").splitlines()


def _beside_dockers(text: str) -> str:
    """What the administrator has added to what Docker makes, which is there already: nothing in it would be new."""
    own = re.findall(r"^-A INPUT .*$", text, re.M)
    own += [f"-I{line[2:]}" for line in re.findall(r"^-A DOCKER-USER (?!-j RETURN).*$", text, re.M)]
    return "\n".join(["*filter", *own, "COMMIT"])
