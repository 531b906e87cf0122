# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rollback of a change of our rules: shell commands, written before the change is made; pure.

The handles of future rules are unknown, so the commands find them by their comments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .._core.shell import assignments
from .._linux import proc
from .._nftables import record as nftables_record
from .._nftables.rules_file import FOLDER, RULES_FILE
from .._nftables.ruleset import Ruleset
from . import firewalld_plan, rollback_sh
from .desired import Desired
from .persistence import CHECKPOINT, SCRIPT_FILE
from .plan import Command, Decision, rule_steps

LONGEST_NAME = 31


def names_of(desired: Desired) -> list[str]:
    """The names of the checkpoints for changes of these rules: one for each prefix.

    A task with several prefixes has its change under the first one's name.
    """
    return [_name(prefix) for prefix in desired.prefixes or ("",)]


def _name(prefix: str) -> str:
    words = re.findall(r"[a-z0-9]+", prefix.lower())
    return "-".join([CHECKPOINT, *words])[:LONGEST_NAME].rstrip("-")


def rollback_commands(decision: Decision, ruleset: Ruleset, boot: str, placed_text: str | None = None) -> str:
    """Shell commands that undo the decision in the running firewall.

    boot: the text of _linux.proc.BOOT_ID; placed_text: of the record before the change.
    """
    changes = [
        _undo_rules(decision, ruleset, step.inverse.args, boot, placed_text)
        for step in rule_steps(decision, ruleset)
        if step.inverse is not None
    ]
    return "\n".join([firewalld_plan.rollback_commands(decision.firewalld.running), *changes]).strip()


def _undo_rules(
    decision: Decision,
    ruleset: Ruleset,
    back: Mapping[str, Sequence[Command]],
    boot: str,
    placed_text: str | None,
) -> str:
    """Shell commands that undo the change of our rules; back: the inverse of its step."""
    names = {placement.piece.comment for placement in decision.added}
    names |= {placement.fixed.comment for placement in decision.fixed if placement.added}
    kept = [f"{key} {rule.handle}" for key, rule in ruleset.our_rules() if rule.comment in names]
    commands = [str(command) for command in (*back["chains"], *back["commands"])]
    values = assignments(
        boot_id=proc.BOOT_ID,
        boot=boot,
        comments="\t".join(sorted(names)),
        kept="\t".join(kept),
        changes="\n".join(commands),
        placed=nftables_record.PLACED_FILE,
        record=(placed_text or "").rstrip(),
        folder=FOLDER,
        restore=SCRIPT_FILE,
        rules=RULES_FILE,
    )
    return f"{values}{rollback_sh.PROGRAM}"
