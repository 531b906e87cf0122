# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of nft_rule: a change stays only where the host can be reached anew after it."""

from __future__ import annotations

from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._action.checkpointed import Trial


class ActionModule(Trial):
    """The host works out once more what it keeps, as others may have changed its firewall meanwhile."""

    MODULE = "overssh.swarm.nft_rule"
    SUBJECT = "firewall"

    def keep(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """See Trial."""
        return self._module({**arguments, "phase": "keep"})

    def answer(self, tried: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
        """See Trial."""
        merged = {**kept, "changed": True, "steps": [*tried.get("steps", []), *kept.get("steps", [])], "pending": False}
        # That the rules are kept for the next boot is a step, and no other change of them.
        return {**merged, "diff": tried["diff"]} if "diff" in tried else merged
