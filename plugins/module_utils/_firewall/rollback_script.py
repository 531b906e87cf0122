# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host takes back a change of our rules by itself: as shell commands, written before the change is made; pure.

Handles of rules that are yet to come can't be known, so what has come is found by its comment.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence

from .._linux import proc
from .._nftables import record as nftables_record
from .._nftables.rules_file import FOLDER, RULES_FILE
from .._nftables.ruleset import Ruleset
from . import firewalld_plan
from .desired import Desired
from .persistence import CHECKPOINT, SCRIPT_FILE
from .plan import Command, Decision, rule_steps

LONGEST_NAME = 31

# Each rule of ours that was not there before, as a command that removes it.
FIND = r"""nft -a list ruleset | awk -v comments={comments} -v kept={kept} '
    BEGIN {{ split(comments, names, "\t"); for (each in names) wanted[names[each]] = 1
            split(kept, handles, "\t"); for (each in handles) stays[handles[each]] = 1 }}
    /^table / {{ table = $2 " " $3 }}
    /^\tchain / {{ chain = $2 }}
    /^\t\t/ && match($0, /comment "[^"]*" # handle [0-9]+$/) {{
        split(substr($0, RSTART), parts, "\"")
        if ((parts[2] in wanted) && !((table " " chain " " $NF) in stays))
            print "delete rule " table " " chain " handle " $NF
    }}'"""
# After a reboot nothing of the change is left, and handles name other rules. What others have removed meanwhile was
# left alone until now.
SCRIPT = """\
if [ "$(cat {boot_id})" = "{boot}" ]; then
changes=$(mktemp)
{{
{find}
cat <<'OVERSSH'
{back}
OVERSSH
}} >"$changes"
# Together, or where somebody else has changed something meanwhile as many as can be.
nft -f "$changes" || while IFS= read -r change; do nft "$change"; done <"$changes"
rm -f "$changes"
fi
{record}
[ ! -e {restore} ] || sh {restore} {rules} || true
"""


def names_of(desired: Desired) -> list[str]:
    """What the checkpoints of changes to these rules are known by: each group that goes by a prefix has its own.

    A task for several groups has its change under the first one's.
    """
    return [_name(prefix) for prefix in desired.prefixes or ("",)]


def _name(prefix: str) -> str:
    words = re.findall(r"[a-z0-9]+", prefix.lower())
    return "-".join([CHECKPOINT, *words])[:LONGEST_NAME].rstrip("-")


def rollback_commands(decision: Decision, ruleset: Ruleset, boot: str, placed_text: str | None = None) -> str:
    """Shell commands that take the decision back, as it changes the running firewall.

    boot: _linux.proc.BOOT_ID's text; placed_text: of the record before the change.
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
    """The same for our rules; back: the inverse of their step."""
    names = {placement.piece.comment for placement in decision.added}
    names |= {arrangement.fixed.comment for arrangement in decision.fixed if arrangement.added}
    kept = [f"{key} {rule.handle}" for key, rule in ruleset.our_rules() if rule.comment in names]
    commands = [str(command) for command in (*back["chains"], *back["commands"])]
    return SCRIPT.format(
        find=FIND.format(comments=shlex.quote("\t".join(sorted(names))), kept=shlex.quote("\t".join(kept))),
        back="\n".join(commands),
        boot_id=proc.BOOT_ID,
        boot=boot,
        restore=SCRIPT_FILE,
        rules=RULES_FILE,
        record=_undo_record(placed_text),
    )


def _undo_record(text: str | None) -> str:
    path = nftables_record.PLACED_FILE
    if text is None:
        return f"rm -f {path}; rmdir {FOLDER} {os.path.dirname(FOLDER)} 2>/dev/null || true"
    return f"cat >{path}.back <<'OVERSSH'\n{text.rstrip()}\nOVERSSH\nmv {path}.back {path}"
