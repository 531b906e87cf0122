# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of checkpoint_info: confirm and remove_node begin with it, maybe on a dead connection."""

from __future__ import annotations

from ansible_collections.overssh.swarm.plugins.plugin_utils._action.reconnect import FirstWord


class ActionModule(FirstWord):
    """The first task of a play, see FirstWord."""

    MODULE = "overssh.swarm.checkpoint_info"
