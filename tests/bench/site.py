# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long overssh.swarm.site takes on fresh nodes and on finished ones, beside the same steps as a plain shell script.

Pairwise, each round on nodes made anew; medians and ratios. Nothing passes or fails here.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time

import yaml

from .nodes import PLAYBOOK, ROOT, lab

LAB = "bench"
STATE = ROOT / ".lab" / LAB
# The aims of the project: ratios within one run, and seconds on two cores.
FIRST_RUN_RATIO, SECOND_RUN_SECONDS = 3.0, 15.0


def fresh() -> None:
    """Nodes that nobody has touched."""
    lab(LAB, "down")
    lab(LAB, "up")


def timed(argv: list[str]) -> tuple[float, str]:
    """Seconds that a command takes, and what it prints; it has to succeed."""
    started = time.monotonic()
    answer = subprocess.run(argv, cwd=ROOT, check=False, capture_output=True, text=True, timeout=600)
    seconds = time.monotonic() - started
    if answer.returncode != 0:
        sys.exit(f"{' '.join(argv)} failed:\n{answer.stdout[-3000:]}{answer.stderr[-2000:]}")
    return seconds, answer.stdout


def plain() -> float:
    """The shell script, once."""
    hosts = yaml.safe_load((STATE / "inventory.yml").read_text())["overssh"]["hosts"]
    hub = hosts.pop("cloud1")
    dial = [hub["overssh_dial_host"], str(hub["overssh_dial_port"])]
    edges = [host["ansible_host"] for host in hosts.values()]
    return timed(["bash", "tests/bench/plain.sh", str(STATE), hub["ansible_host"], *dial, *edges])[0]


def site() -> tuple[float, str]:
    """The playbook, once."""
    inventory = str(STATE / "inventory.yml")
    return timed([PLAYBOOK, "-i", inventory, "overssh.swarm.site", "-e", "overssh_report=''"])


def tasks_per_host(output: str) -> dict[str, int]:
    """How many tasks ran on each host, out of the play's recap."""
    return {
        match[1]: int(match[2]) + int(match[3])
        for match in re.finditer(r"^(\S+) +: ok=(\d+) .* skipped=(\d+)", output, flags=re.MULTILINE)
    }


def run(rounds: int) -> None:
    """Run the rounds and print and keep the figures."""
    scripts, firsts, seconds = [], [], []
    output = ""
    try:
        for _ in range(rounds):
            fresh()
            scripts.append(plain())
            fresh()
            firsts.append(site()[0])
            took, output = site()
            seconds.append(took)
            sys.stdout.write(f"script {scripts[-1]:.1f} s, site {firsts[-1]:.1f} s, again {seconds[-1]:.1f} s\n")
            sys.stdout.flush()
    finally:
        lab(LAB, "down")
    figures = {
        "rounds": rounds,
        "script_s": round(statistics.median(scripts), 1),
        "site_first_s": round(statistics.median(firsts), 1),
        "site_second_s": round(statistics.median(seconds), 1),
        "first_to_script": round(statistics.median(f / s for f, s in zip(firsts, scripts, strict=True)), 2),
        "tasks_per_host": tasks_per_host(output),
        "aims": {"first_to_script": FIRST_RUN_RATIO, "site_second_s": SECOND_RUN_SECONDS},
    }
    report = ROOT / "reports" / "bench_site.json"
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps(figures, indent=2) + "\n")
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    run(parser.parse_args().rounds)
