# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""nft on this host: read the ruleset, and do commands in one transaction."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from .._core.command import Runner
from .._nftables import normalize
from .._nftables import ours as nftables_ours
from .._nftables.ruleset import ChainKey, Ruleset
from .plan import Command


class Nft:
    """nft on this host."""

    def __init__(self, run: Runner) -> None:
        self._run = run

    def ruleset(self) -> Ruleset:
        """The ruleset, with each rule's text."""
        return nftables_ours.ruleset(self._run, respell=normalize.spelled)

    def apply(self, commands: Sequence[Command]) -> list[tuple[ChainKey, int]]:
        """Do the commands in one transaction; return the added rules."""
        if any(isinstance(command, str) for command in commands):
            return self._apply_text(commands)
        batch = json.dumps({"nftables": list(commands)})
        self._run(["nft", "-j", "-c", "-f", "-"], data=batch)
        return _echoed(self._run(["nft", "-j", "-e", "-a", "-f", "-"], data=batch).stdout)

    def _apply_text(self, commands: Sequence[Command]) -> list[tuple[ChainKey, int]]:
        """Do commands in nft's own language, in one transaction.

        The echo needs -j. With -j nft reads its file twice, so the file can be no pipe.
        """
        with tempfile.NamedTemporaryFile("w", prefix="overssh-nft-", encoding="utf-8") as batch:
            for command in commands:
                batch.write(f"{command if isinstance(command, str) else _deletion(command)}\n")
            batch.flush()
            self._run(["nft", "-j", "-c", "-f", batch.name])
            return _echoed(self._run(["nft", "-j", "-e", "-a", "-f", batch.name]).stdout)


def _deletion(command: Mapping[str, Any]) -> str:
    rule = command["delete"]["rule"]
    return f"delete rule {rule['family']} {rule['table']} {rule['chain']} handle {rule['handle']}"


def _echoed(echo: str) -> list[tuple[ChainKey, int]]:
    added = []
    for line in echo.splitlines():
        try:
            entries = json.loads(line).get("nftables", [])
        except (ValueError, AttributeError):
            continue
        for entry in entries:
            for verb in ("add", "insert"):
                rule = entry.get(verb, {}).get("rule")
                if rule and "handle" in rule:
                    added.append((ChainKey(rule["family"], rule["table"], rule["chain"]), int(rule["handle"])))
    return added
