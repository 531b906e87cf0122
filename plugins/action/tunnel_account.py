# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of tunnel_account: a change of sshd stays only where the host can be reached anew after it."""

from __future__ import annotations

from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._action.checkpointed import Checkpointed


class ActionModule(Checkpointed):
    """All of the change is in effect when it is staged, so nothing but its checkpoint is left to be confirmed."""

    MODULE = "overssh.swarm.tunnel_account"
    SUBJECT = "sshd"

    def keep(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """See Checkpointed."""
        return self._bring_checkpoint("confirmed")

    def answer(self, staged: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
        """See Checkpointed."""
        return {**staged, "pending": False, "checkpoint": ""}
