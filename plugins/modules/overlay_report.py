#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""overlay_report: documentation; the work is done on the controller, by the action of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_report
short_description: Keep the report of a verification where the play was started
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Merges the reports of all networks into one, returns it as the play's statistic C(overssh_verify), and writes it to
    a file on the controller.
  - Does nothing on a host. A file that can't be written is a warning, since the statistic has the report too.
attributes:
  action:
    description: Runs on the controller alone.
    support: full
  check_mode:
    description: In check mode there is nothing to keep, and no file is written.
    support: full
  diff_mode:
    description: A new measurement has no earlier state to differ from.
    support: N/A
  platform:
    description: What a managed host has to be.
    platforms: posix
    support: full
options:
  reports:
    description:
      - The reports, as the filter P(overssh.swarm.verify_report#filter) makes them.
    type: list
    elements: dict
    required: true
  path:
    description:
      - The file, relative to the folder in which the play was started. Missing folders are made. Empty for no file.
    type: str
    default: ""
seealso:
  - plugin: overssh.swarm.verify_merge
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Keep what was measured
  overssh.swarm.overlay_report:
    reports: "{{ reports }}"
    path: reports/verify.json
  run_once: true
"""

RETURN = r"""
path:
  description: The file that was written; empty where none was.
  returned: success
  type: str
  sample: /home/ops/fleet/reports/verify.json
"""
