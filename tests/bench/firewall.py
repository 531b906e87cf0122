# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long nft_rule takes on a usual ruleset and on one of 10,000 rules, and how much memory; a part of `make bench`.

In a network namespace of its own, beside nft's own two lists of the ruleset, as JSON and in words, which say how fast
the machine is at that moment. Each figure from a process of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._firewall.desired import desired_from
from ansible_collections.overssh.swarm.plugins.module_utils._firewall.engine import NftRuleEngine
from ansible_collections.overssh.swarm.plugins.module_utils._firewall.options import ARGUMENTS, CONSTRAINTS
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.listing import JSON, WORDS

from . import process, ruleset
from .options import Amounts
from .process import ROOT, BenchError, say

MODULE = "ansible_collections.overssh.swarm.plugins.modules.nft_rule"
PROGRAMS = ("ip", "nft", "iptables-nft-restore")
NAMESPACE = f"overssh-bench-{os.getpid()}"
# The operator comes by ssh, so that each change is held against this connection.
SESSION = {"SSH_CONNECTION": "100.0.0.5 50000 198.51.100.1 22"}
PREFIX = "bench/"
# Seconds and megabytes: to look at the large ruleset and plan, and for a task of many rules on the usual one.
AIM = {"look_s": 2.0, "memory_mb": 300.0, "run_s": 3.0}


@dataclass(frozen=True)
class Case:
    """A task of so many rules; places: whether these find their own places, or stand in a chain that is named."""

    rules: int
    places: str
    ruleset: str

    @property
    def options(self) -> dict[str, Any]:
        """The task's, for the module."""
        rule: dict[str, Any] = {
            "protocol": "tcp",
            "in_interfaces": ["tun1001", "tun1002"],
            "source": ["172.30.0.0/16"],
        }
        if self.places == "named":
            rule.update(chain="inet filter input", position="first", counter=True)
        rules = [{**rule, "name": f"{PREFIX}{number}", "ports": [str(9000 + number)]} for number in range(self.rules)]
        return {"rules": rules, "persist": False, "confirm": "none"}


CASES = tuple(
    Case(rules, places, name) for name in ("usual", "large") for places in ("found", "named") for rules in (1, 50)
)
GONE = {"state": "absent", "exclusive_prefix": PREFIX, "persist": False, "confirm": "none"}


def _in_namespace(*argv: str, data: str | None = None) -> subprocess.CompletedProcess[str]:
    return _run("ip", "netns", "exec", NAMESPACE, *argv, data=data)


def _run(*argv: str, data: str | None = None) -> subprocess.CompletedProcess[str]:
    done = process.run(argv, 300, environment=SESSION, data=data)
    if done.returncode:
        raise BenchError(f"`{' '.join(argv[:8])}` failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done


@contextlib.contextmanager
def _namespace() -> Iterator[None]:
    _run("ip", "netns", "add", NAMESPACE)
    try:
        yield
    finally:
        _run("ip", "netns", "delete", NAMESPACE)


def _load(name: str) -> int:
    """Put the ruleset in the place of what is there, and count its rules."""
    _in_namespace("nft", "flush", "ruleset")
    rulesets = ROOT / "tests" / "rulesets"
    usual = [(rulesets / file).read_text() for file in ("iptables_docker.v4", "cloud_reject_last.nft")]
    iptables, nft = usual if name == "usual" else (ruleset.iptables(), ruleset.nft())
    _in_namespace("iptables-nft-restore", data=iptables)
    _in_namespace("nft", "-f", "-", data=nft)
    listing = json.loads(_in_namespace("nft", "-j", "list", "ruleset").stdout)
    return sum("rule" in entry for entry in listing["nftables"])


def _module(path: str, changes: bool) -> float:
    """Seconds that a run of the module takes, from the start of Python to its end; changes: whether it has to."""
    started = time.monotonic()
    answer = json.loads(_in_namespace(sys.executable, "-m", MODULE, path).stdout)
    seconds = time.monotonic() - started
    if answer["changed"] is not changes:
        raise BenchError(f"nft_rule should have said changed: {changes}, and said {answer}"[:500])
    return seconds


def measured(case: Case) -> dict[str, float]:
    """One round of a case."""
    with tempfile.NamedTemporaryFile("w") as options, tempfile.NamedTemporaryFile("w") as gone:
        for file, words in ((options, case.options), (gone, GONE)):
            json.dump({"ANSIBLE_MODULE_ARGS": words}, file)
            file.flush()
        look = json.loads(_in_namespace(sys.executable, "-m", "tests.bench.firewall", options.name).stdout)
        found = {**look, "run_s": _module(options.name, True), "again_s": _module(options.name, False)}
        _module(gone.name, True)
    return found


def look() -> dict[str, float]:
    """What it takes to observe and to plan, in this process, with the options in the file that is its argument."""
    module = AnsibleModule(argument_spec=ARGUMENTS, **CONSTRAINTS)
    run = runner(module)
    engine = NftRuleEngine(desired_from(module.params), run)
    marks = [_clocks()]
    for words in (JSON, WORDS):
        run(words)
    marks.append(_clocks())
    observed = engine.observe()
    marks.append(_clocks())
    plan = engine.plan(observed)
    marks.append(_clocks())
    if not plan.changed:
        raise BenchError("nothing was to be done; the rules were there already")
    (nft, nft_cpu), (observe, observe_cpu), (decide, decide_cpu) = (
        (end[0] - start[0], end[1] - start[1]) for start, end in itertools.pairwise(marks)
    )
    return {
        "nft_s": nft,
        "nft_cpu_s": nft_cpu,
        "observe_s": observe,
        "plan_s": decide,
        "look_s": observe + decide,
        "look_cpu_s": observe_cpu + decide_cpu,
        "look_to_nft": (observe + decide) / nft,
        "memory_mb": _peak_memory(),
        "nft_memory_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def _clocks() -> tuple[float, float]:
    """Seconds that have passed, and seconds of processors, of this process and of the programs that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.monotonic(), sum(each.ru_utime + each.ru_stime for each in used)


def _peak_memory() -> float:
    """Megabytes of this process; getrusage would count what it was forked from, too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


def row(case: Case, size: int, rounds: list[dict[str, float]]) -> dict[str, Any]:
    """The medians of a case."""
    medians = {name: round(statistics.median(found[name] for found in rounds), 3) for name in rounds[0]}
    return {"ruleset": case.ruleset, "size": size, "places": case.places, "rules": case.rules, **medians}


def aims(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The worst of what each aim is about, and whether that reaches it; None where that was not measured."""
    large = [found for found in rows if found["ruleset"] == "large"]
    tasks = [found for found in rows if found["ruleset"] == "usual" and found["rules"] > 1]
    about = (("look_s", large), ("memory_mb", large), ("run_s", tasks))
    found = []
    for name, chosen in about:
        worst = max((row[name] for row in chosen), default=None)
        found.append(
            {"aim": name, "limit": AIM[name], "got": worst, "met": None if worst is None else worst <= AIM[name]}
        )
    return found


def check() -> None:
    """Complain where this part can't be measured."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if os.geteuid() != 0:
        raise BenchError("the part firewall takes root: become root, or name the other parts with --parts")
    if missing:
        raise BenchError(f"the part firewall takes {', '.join(missing)}: install it, or name other parts with --parts")


def run(amounts: Amounts) -> dict[str, Any]:
    """The report: every case in every round."""
    load = round(os.getloadavg()[0], 2)
    cases = [case for case in CASES if case.ruleset in amounts.rulesets]
    found: dict[Case, list[dict[str, float]]] = {case: [] for case in cases}
    sizes = {}
    with _namespace():
        for number in range(amounts.rounds):
            for case in cases:
                # What a case leaves in the kernel's memory is not the next one's.
                sizes[case] = _load(case.ruleset)
                found[case].append(measured(case))
            say(f"nft_rule: round {number + 1} of {amounts.rounds}")
    rows = [row(case, sizes[case], found[case]) for case in cases]
    return {"rows": rows, "aims": aims(rows), "rounds": amounts.rounds, "load_before": load, "cpus": os.cpu_count()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look()) + "\n")
