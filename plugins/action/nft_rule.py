# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of nft_rule: a change stays only where a new connection reaches the host after it."""

from __future__ import annotations

from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._action.checkpointed import Checkpointed


class ActionModule(Checkpointed):
    """Commits by a new plan of the host, as others may have changed its firewall meanwhile."""

    MODULE = "overssh.swarm.nft_rule"
    SUBJECT = "firewall"

    def keep(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Run the module again, with phase commit."""
        return self._module({**arguments, "phase": "commit"})

    def answer(self, staged: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
        """Join the answers of both runs."""
        merged = {
            **kept,
            "changed": True,
            "steps": [*staged.get("steps", []), *kept.get("steps", [])],
            "pending": False,
        }
        # That the rules are kept for the next boot is a step, and no other change of them.
        return {**merged, "diff": staged["diff"]} if "diff" in staged else merged
