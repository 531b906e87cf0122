# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long overssh.swarm.site takes on fresh nodes and on finished ones, beside the same steps as a plain shell script.

Each round on nodes made anew; medians, and ratios within a round. Another revision of this repository can be timed in
the same rounds. Nothing passes or fails here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.lab.shell import last_line

from . import process
from .nodes import lab, temporary
from .options import Amounts
from .process import PLAYBOOK, ROOT, BenchError, say

LAB = "bench"
STATE = ROOT / ".lab" / LAB
BESIDE = ROOT / "build" / "bench-beside"
STEPS = (("first", "site"), ("second", "site"), ("verify", "verify"))
# The aims of the project: ratios to the script within one round, and seconds on two cores.
FIRST_RUN_RATIO, SECOND_RUN_RATIO, VERIFY_SECONDS = 2.0, 1.3, 5.0


@dataclass(frozen=True)
class Revision:
    """Another state of a repository, by its full name and as the user called it."""

    commit: str
    word: str
    repository: Path = ROOT


@dataclass
class Build:
    """A state of this repository that is timed. seconds, tasks: of each step, the latter on each host."""

    home: Path
    collections: Path
    seconds: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step, _playbook in STEPS})
    tasks: dict[str, dict[str, int]] = field(default_factory=dict)

    def round(self, nodes: int) -> None:
        """Every step, on nodes that nobody has touched."""
        fresh(nodes)
        for step, playbook in STEPS:
            words = [
                PLAYBOOK,
                "-i",
                str(STATE / "inventory.yml"),
                f"overssh.swarm.{playbook}",
                "-e",
                "overssh_report=''",
            ]
            environment = {
                "ANSIBLE_CONFIG": str(self.home / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            }
            seconds, output = timed(words, self.home, environment)
            self.seconds[step].append(seconds)
            self.tasks[step] = tasks_per_host(output)


def fresh(nodes: int) -> None:
    """Nodes that nobody has touched."""
    lab(LAB, "down")
    lab(LAB, "up", LAB_NODES=str(nodes))


def timed(argv: list[str], cwd: Path = ROOT, environment: dict[str, str] | None = None) -> tuple[float, str]:
    """Seconds that a command takes, and what it prints; it has to succeed."""
    started = time.monotonic()
    answer = process.run(argv, 900, cwd, environment)
    seconds = time.monotonic() - started
    if answer.returncode != 0:
        raise BenchError(f"`{' '.join(argv)}` failed:\n{answer.stdout[-3000:]}{answer.stderr[-2000:]}")
    return seconds, answer.stdout


def script() -> float:
    """The shell script, once."""
    hosts = yaml.safe_load((STATE / "inventory.yml").read_text())["overssh"]["hosts"]
    hub = hosts.pop("cloud1")
    dial = [hub["overssh_dial_host"], str(hub["overssh_dial_port"])]
    edges = [host["ansible_host"] for host in hosts.values()]
    return timed(["bash", "tests/bench/plain.sh", str(STATE), hub["ansible_host"], *dial, *edges])[0]


def tasks_per_host(output: str) -> dict[str, int]:
    """How many tasks ran on each host, out of the play's recap."""
    return {
        match[1]: int(match[2]) + int(match[3])
        for match in re.finditer(r"^(\S+) +: ok=(\d+) .* skipped=(\d+)", output, flags=re.MULTILINE)
    }


def revision(word: str, repository: Path = ROOT) -> Revision:
    """The commit that the user means."""
    words = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{word}^{{commit}}"]
    done = process.run(words, 60, repository)
    if done.returncode:
        reason = last_line(done.stderr) if done.stderr else "there is no such commit"
        raise BenchError(f"--beside={word} is no revision of this repository: {reason}")
    return Revision(done.stdout.strip(), word, repository)


@contextlib.contextmanager
def built(beside: Revision | None) -> Iterator[list[Build]]:
    """The working tree, and the revision beside it, which is unpacked for as long as it is needed."""
    here = Build(ROOT, ROOT / ".venv" / "collections")
    if beside is None:
        yield [here]
        return
    home = BESIDE / "ansible_collections" / "overssh" / "swarm"
    shutil.rmtree(BESIDE, ignore_errors=True)
    try:
        home.mkdir(parents=True)
        archive = BESIDE / "revision.tar"
        for command in (
            ["git", "archive", f"--output={archive}", beside.commit],
            ["tar", "--extract", f"--file={archive}", f"--directory={home}"],
        ):
            done = process.run(command, 60, beside.repository)
            if done.returncode:
                raise BenchError(f"{beside.word} can't be unpacked: {last_line(done.stderr)}")
        yield [here, Build(home, BESIDE)]
    finally:
        shutil.rmtree(BESIDE, ignore_errors=True)


def _ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return round(statistics.median(one / other for one, other in zip(ones, others, strict=True)), 2)


def figures(scripts: list[float], build: Build) -> dict[str, Any]:
    """What a build took."""
    first, second, verify = (build.seconds[step] for step, _playbook in STEPS)
    return {
        "site_first_s": round(statistics.median(first), 1),
        "site_second_s": round(statistics.median(second), 1),
        "verify_s": round(statistics.median(verify), 1),
        "first_to_script": _ratio(first, scripts),
        "second_to_script": _ratio(second, scripts),
        "verify_to_script": _ratio(verify, scripts),
        "tasks_per_host": build.tasks,
    }


def aims(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What the working tree reached."""
    limits = {
        "first_to_script": FIRST_RUN_RATIO,
        "second_to_script": SECOND_RUN_RATIO,
        "verify_s": VERIFY_SECONDS,
    }
    return [
        {"aim": name, "limit": limit, "got": found[name], "met": found[name] <= limit} for name, limit in limits.items()
    ]


def report(scripts: list[float], builds: list[Build], beside: Revision | None) -> dict[str, Any]:
    """Medians and ratios; those to the revision beside are below 1 where the working tree is faster."""
    here, *others = builds
    found = {"script_s": round(statistics.median(scripts), 1), **figures(scripts, here)}
    found |= {"aims": aims(found), "beside": None, "ratio_to_beside": None}
    for other in others:
        assert beside is not None
        found["beside"] = {"revision": beside.commit[:12], "word": beside.word, **figures(scripts, other)}
        found["ratio_to_beside"] = {step: _ratio(here.seconds[step], other.seconds[step]) for step, _playbook in STEPS}
    samples = {"script": scripts, "site": here.seconds, **({"beside": others[0].seconds} if others else {})}
    return {"rounds": len(scripts), "cpus": os.cpu_count(), **found, "samples": samples}


def run(amounts: Amounts, beside: Revision | None) -> dict[str, Any]:
    """The report: all that is compared in every round."""
    load = round(os.getloadavg()[0], 2)
    scripts: list[float] = []
    with built(beside) as builds, temporary(LAB):
        for number in range(amounts.site_rounds):
            fresh(amounts.nodes)
            scripts.append(script())
            say(f"site: round {number + 1} of {amounts.site_rounds}; script {scripts[-1]:.1f} s")
            for build in builds:
                build.round(amounts.nodes)
                first, second, verify = (build.seconds[step][-1] for step, _playbook in STEPS)
                name = beside.word if beside and build is not builds[0] else "the working tree"
                say(f"  {name}: first {first:.1f} s, again {second:.1f} s, verify {verify:.1f} s")
    return {"nodes": amounts.nodes, "load_before": load, **report(scripts, builds, beside)}
