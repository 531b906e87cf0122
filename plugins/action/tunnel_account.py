# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of tunnel_account: a change of sshd stays only where the host can be reached anew after it."""

from __future__ import annotations

from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._action.checkpointed import Trial


class ActionModule(Trial):
    """All of the change is in effect when it is tried, so nothing but its guard is left to be kept."""

    MODULE = "overssh.swarm.tunnel_account"
    SUBJECT = "sshd"

    def keep(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """See Trial."""
        return self._guarded("confirmed")

    def answer(self, tried: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
        """See Trial."""
        return {**tried, "pending": False, "guard": ""}
