# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the one waiter, the same in every module that waits."""

from __future__ import annotations


class ModuleDocFragment:
    """C(wait) and C(wait_timeout)."""

    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Whether to return only when the change is in effect.
    type: bool
    default: true
  wait_timeout:
    description:
      - How many seconds to wait at most.
      - When they are over, the module fails, says what did not happen, and takes its change back.
    type: int
    default: 60
"""
