# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the lab up, runs site on it, and shows the proof last: the matrix, and under it where to look further."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._verify.matrix import matrix

from tests.suite.job import SuiteError, only_one

ROOT = Path(__file__).resolve().parents[2]
REPORT = Path("reports") / "verify.json"


def closing(report: Mapping[str, Any], lab: str, inventory: str) -> str:
    """The matrix of each network, and what to do next; lab: the prefix of the nodes' containers."""
    columns = shutil.get_terminal_size().columns
    matrices = [
        line for each in (report, *report.get("more", [])) for line in ["", *matrix(each, columns, str(REPORT))]
    ]
    hints = {
        "The report": str(REPORT),
        "Look around": f"docker exec -it {lab}-cloud1 bash",
        "Run it again": "make demo   (it changes nothing)",
        "Take it all back": f".venv/bin/ansible-playbook -i {inventory} overssh.swarm.teardown",
        "Remove the lab": "make lab-down",
    }
    return "\n".join([*matrices, "", *(f"{what + ':':19} {how}" for what, how in hints.items())])


def main() -> int:
    """What of it failed has said so itself; LAB_NAME says which lab."""
    lab, inventory = os.environ.get("LAB_NAME") or "overssh", sys.argv[1]
    site = ["ansible-playbook", "--inventory", inventory, "overssh.swarm.site"]
    try:
        with only_one(f"the demo of the lab {lab}"):
            for command in ([sys.executable, "-m", "tests.lab", "up"], site):
                done = subprocess.run(command, cwd=ROOT, check=False)
                if done.returncode:
                    return done.returncode
    except SuiteError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    print(closing(json.loads((ROOT / REPORT).read_text(encoding="utf-8")), lab, inventory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
