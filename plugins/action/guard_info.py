# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of guard_info: confirm and remove_node begin with it, maybe over a connection that is dead."""

from __future__ import annotations

from ansible_collections.overssh.swarm.plugins.plugin_utils._action.reconnect import FirstWord


class ActionModule(FirstWord):
    """See FirstWord."""

    MODULE = "overssh.swarm.guard_info"
