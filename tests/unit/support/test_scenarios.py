# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No scenario is forgotten: what the Makefile runs, what molecule/ has, and what CONTRIBUTING tells."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.snapshot import ruleset

ROOT = Path(__file__).resolve().parents[3]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
LABS = {lab: words.split() for lab, words in re.findall(r"^SCENARIOS_(\w+) := (.*)$", MAKEFILE, re.M)}


def test_every_scenario_is_run_on_a_lab() -> None:
    folders = {path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")}
    assert {scenario for scenarios in LABS.values() for scenario in scenarios} == folders - {"default"}


def test_every_lab_is_part_of_make_test() -> None:
    (jobs,) = re.findall(r"^test: .*\n\t\$\(call side_by_side,(.*)\)$", MAKEFILE, re.M)
    assert {job.removeprefix("molecule-") for job in jobs.split() if job.startswith("molecule-")} == set(LABS)
    (labs,) = re.findall(r"^LABS := (.*)$", MAKEFILE, re.M)
    assert labs.split() == list(LABS)


def test_contributing_tells_which_scenarios_run_on_which_lab() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| [^|]*\d[^|]* \| ([\w, ]+) \|$", text, re.M)
    assert {lab: scenarios.split(", ") for lab, scenarios in rows} == LABS


def test_what_docker_28_leaves_of_its_table_raw_is_no_change() -> None:
    chain = "\tchain PREROUTING {\n\t\ttype filter hook prerouting priority raw; policy accept;\n%s\t}\n"
    left = "table ip raw {\n" + chain % "" + "}\ntable ip nat {\n}\n"
    assert ruleset(left) == ["table ip nat: (table)"]
    kept = ruleset("table ip raw {\n" + chain % "\t\tip daddr 172.18.0.2 counter drop\n" + "}\n")
    assert "table ip raw chain PREROUTING: ip daddr 172.18.0.2 counter drop" in kept
    assert "table ip raw: (table)" in kept
