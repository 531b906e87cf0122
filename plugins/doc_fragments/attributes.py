# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attributes that every module of this collection states."""

from __future__ import annotations


class ModuleDocFragment:
    """One fragment for modules that change a host, one for modules that only look."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Returns the planned changes, and changes nothing.
    support: full
  diff_mode:
    description: Shows the state before and after.
    support: full
  platform:
    description: What a managed host has to be.
    platforms: posix
    support: full
    details:
      - Linux with systemd and Python 3.9 or later.
"""

    INFO = r"""
attributes:
  check_mode:
    description: Changes nothing, so it runs the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show.
    support: N/A
  platform:
    description: What a managed host has to be.
    platforms: posix
    support: full
    details:
      - Linux with systemd and Python 3.9 or later.
"""
