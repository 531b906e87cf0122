# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the plan for a large fleet takes, and how much memory; a part of `make bench`.

Each size in a process of its own, whose peak memory counts.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import plan as fleet_plan

from tests.lab.shell import last_line

from . import process
from .options import USUAL, Amounts
from .process import BenchError, say

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
    plan = fleet_plan.plan(hosts, found)
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


def run(amounts: Amounts) -> dict[str, Any]:
    """The report: every size."""
    found = []
    for nodes in amounts.sizes:
        done = process.run([sys.executable, "-m", "tests.bench.fleet", str(nodes)], 300)
        if done.returncode:
            raise BenchError(f"no plan for {nodes} nodes: {last_line(done.stderr)}")
        found.append(json.loads(done.stdout))
        say("a plan for {nodes} nodes, {links} links: {seconds} s, {memory_mb} MB".format(**found[-1]))
    return {"plans": found, "aims": aims(found)}


def aims(plans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was reached for the largest of the usual fleets; None where it was not planned."""
    largest = next((plan for plan in plans if plan["nodes"] == max(USUAL.sizes)), None)
    return [
        {"aim": name, "limit": limit, "got": largest and largest[name], "met": largest and largest[name] <= limit}
        for name, limit in AIM.items()
    ]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(planned(int(sys.argv[1]))) + "\n")
