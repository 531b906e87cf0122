# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a verification's report on the controller; no host is asked."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.files import write_text
from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import report as verify_report

STATISTIC = "overssh_verify"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Returns the report as a statistic, and writes it to a file where a path is given."""

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Merge the reports and write the file."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            {
                "reports": {"type": "list", "elements": "dict", "required": True},
                "path": {"type": "str", "default": ""},
            }
        )
        report = verify_report.merge(options["reports"])
        statistics = {"data": {STATISTIC: report}, "per_host": False, "aggregate": True}
        path = os.path.realpath(options["path"]) if options["path"] and not self._task.check_mode else ""
        if path:
            try:
                write_text(path, verify_report.text(report))
            except OversshError as error:
                result["warnings"] = [
                    f"The report was not written to {path} ({error}); set overssh_report to a path that can be "
                    "written, or to '' to write none."
                ]
                path = ""
        return {**result, "changed": False, "path": path, "ansible_stats": statistics}
