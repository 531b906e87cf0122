# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the plan for a large fleet takes, and how much memory; a part of `make bench`.

Each size in a process of its own, whose peak memory counts. Written to reports/bench_fleet.json.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils import _fleet

from .nodes import ROOT

SIZES = (1_000, 10_000)
HUBS = 2
# Seconds and megabytes for the largest of them.
AIM = {"seconds": 2.0, "memory_mb": 500.0}
HOST = {"host": {"problems": [], "devices": [], "routes": [], "docker": {}, "python": {}, "public_key": ""}}
SSHD = {"host_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample"], "problems": []}


def planned(nodes: int) -> dict[str, Any]:
    """What the plan for so many nodes takes, in this process."""
    names = [f"node{number}" for number in range(nodes)]
    hosts: dict[str, dict[str, Any]] = {name: {"overssh_hub": name in names[:HUBS]} for name in names}
    found = {name: {"host": {**HOST["host"], "sshd": SSHD}} for name in names}
    started = time.process_time()
    plan = _fleet.plan(hosts, found)
    seconds = time.process_time() - started
    if plan["problems"]:
        raise AssertionError(plan["problems"][:3])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "nodes": nodes,
        "links": sum(len(node["links"]) for node in plan["nodes"].values()),
        "seconds": round(seconds, 3),
        "memory_mb": round(memory, 1),
    }


def run() -> None:
    """Every size, and the report."""
    found = []
    for nodes in SIZES:
        argv = [sys.executable, "-m", "tests.bench.fleet", str(nodes)]
        found.append(json.loads(subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout))
        sys.stdout.write("a plan for {nodes} nodes, {links} links: {seconds} s, {memory_mb} MB\n".format(**found[-1]))
    met = all(found[-1][what] <= most for what, most in AIM.items())
    sys.stdout.write(
        f"aim for {SIZES[-1]} nodes, {AIM['seconds']:g} s and {AIM['memory_mb']:g} MB: {'met' if met else 'missed'}\n"
    )
    report = {"plans": found, "aim": AIM, "met": met}
    (ROOT / "reports").mkdir(exist_ok=True)
    (ROOT / "reports" / "bench_fleet.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.stdout.write(json.dumps(planned(int(sys.argv[1]))) + "\n")
    else:
        run()
