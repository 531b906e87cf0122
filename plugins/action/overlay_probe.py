# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of overlay_probe: teardown begins with it, maybe over a connection that is dead."""

from __future__ import annotations

from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._action.reconnect import FirstWord


class ActionModule(FirstWord):
    """See FirstWord."""

    MODULE = "overssh.swarm.overlay_probe"

    @property
    def is_first(self) -> bool:
        """Only what takes containers away, and measures nothing, may be the beginning of a play."""
        arguments: dict[str, Any] = self._task.args
        return arguments.get("state") == "absent" and not arguments.get("peers")
