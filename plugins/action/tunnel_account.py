# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of tunnel_account: a change of sshd stays only where a new connection reaches the host."""

from __future__ import annotations

from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._action.checkpointed import Checkpointed


class ActionModule(Checkpointed):
    """Commits by confirming the checkpoint alone, as the whole change is in effect when it is staged."""

    MODULE = "overssh.swarm.tunnel_account"
    SUBJECT = "sshd"

    def keep(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Confirm the checkpoint."""
        return self._bring_checkpoint("confirmed")

    def answer(self, staged: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
        """The answer of the staged change, no longer pending."""
        return {**staged, "pending": False, "checkpoint": ""}
