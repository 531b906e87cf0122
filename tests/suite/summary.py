# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the jobs came to and what they took, out of reports/suite; pure but for reading it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SLOWEST = 20


def read(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The jobs, and the tests; each test has the `suite` that it belongs to."""
    jobs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    tests = []
    for path in sorted((folder / "tests").glob("*.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        tests += [{"suite": kept["name"], **test} for test in kept["tests"]]
    return jobs, tests


def page(jobs: Sequence[Mapping[str, Any]], tests: Sequence[Mapping[str, Any]]) -> str:
    """For a person: the jobs with their steps, the slowest tests, and what did not pass."""
    lines = ["job and step                                       seconds   idle"]
    for job in jobs:
        lines.append(_line(str(job["name"]), job, "" if job["status"] == 0 else "FAILED"))
        lines += [_line(f"  {step['name']}", step) for step in job["steps"]]
    lines += ["", f"the {SLOWEST} slowest tests"]
    slowest = sorted(tests, key=lambda test: -test["seconds"])[:SLOWEST]
    lines += [f"{test['seconds']:7.1f} s  {test['suite']}  {test['id']}" for test in slowest]
    waited = sum(test["waited"] for test in tests)
    lines += ["", f"{waited:.0f} s were spent on waiting for tests that want to be alone"]
    broken = [test for test in tests if test["outcome"] != "passed"]
    if broken:
        lines += ["", *(f"{test['outcome']}: {test['suite']} {test['id']}" for test in broken)]
    return "\n".join(lines)


def _line(name: str, figures: Mapping[str, Any], words: str = "") -> str:
    return f"{name:48} {figures['seconds']:9.0f}  {figures['idle']:5.0%}  {words}".rstrip()


def closing(jobs: Sequence[Mapping[str, Any]]) -> str:
    """The one line that says it all."""
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for job in jobs:
        for outcome in total:
            total[outcome] += job["tests"][outcome]
    said = f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped"
    # Two jobs may leave out the same.
    left = dict.fromkeys(words for job in jobs for words in job.get("not_run", ()))
    return "; ".join([said, *(f"not run: {words}" for words in left)])
