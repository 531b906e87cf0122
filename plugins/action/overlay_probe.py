# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of overlay_probe: teardown begins with it, maybe on a dead connection."""

from __future__ import annotations

from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._action.reconnect import FirstWord


class ActionModule(FirstWord):
    """The first task of a play, see FirstWord."""

    MODULE = "overssh.swarm.overlay_probe"

    @property
    def is_first(self) -> bool:
        """Whether the task removes a container without measuring; only such a task begins a play."""
        arguments: dict[str, Any] = self._task.args
        return arguments.get("state") == "absent" and not arguments.get("peers")
