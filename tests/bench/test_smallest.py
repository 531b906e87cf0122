# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench-check`: every part of the bench once in its smallest form, and what it wrote. Speed is not asked for."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.docker_engine import labelled

from . import page, process, site, transports
from .cases import CASES, PIPE, STREAM, STREAM_AUTO
from .options import SMALLEST
from .report import PROCESSES
from .wan import run as wan
from .wan.lines import LINES

BENCH = (sys.executable, "-m", "tests.bench", "--quick")
KEPT = ("docs", "reports")
# Other tests that run at the same time write theirs here.
SUITE = process.ROOT / "reports" / "suite"
# Far beyond what it takes, for machines that have other things to do and an image to make.
SECONDS = 2400
Report = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """What one run of all parts said and wrote; kept: the user's files before and after it."""

    done: subprocess.CompletedProcess[str]
    folder: Path
    kept: tuple[dict[str, str], dict[str, str]]

    def report(self, name: str) -> Report:
        found: Report = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        return found


def files() -> dict[str, str]:
    """The files that only a complete run may change."""
    found = [file for top in KEPT for file in (process.ROOT / top).rglob("*") if file.is_file()]
    kept = [file for file in found if SUITE not in file.parents]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in kept}


def left() -> list[str]:
    """What there still is of the bench."""
    labs = [
        name
        for lab in (transports.LAB, wan.LAB, site.LAB)
        for kind in ("container", "network", "volume")
        for name in labelled(kind, lab)
    ]
    spaces = process.run(["ip", "netns", "list"], 60).stdout.split()
    return [*labs, *(name for name in spaces if name.startswith("overssh-bench")), *map(str, site.BESIDE.glob("*"))]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder, before = tmp_path_factory.mktemp("reports"), files()
    done = process.run([*BENCH, "--reports", str(folder)], SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return Written(done, folder, (before, files()))


def test_every_part_leaves_its_report_and_nothing_else(written: Written) -> None:
    parts = ("", "_firewall", "_fleet", "_site", "_wan", "_window")
    names = [f"bench{part}.json" for part in parts]
    assert sorted(file.name for file in written.folder.iterdir()) == names
    assert written.done.stderr == ""
    assert left() == []
    assert written.kept[0] == written.kept[1]


def test_every_case_carries_something_on_each_path(written: Written) -> None:
    report = written.report("bench")
    paths = {(case.name, path) for case in CASES for path in (("bare",) if case == PIPE else ("bare", "overlay"))}
    assert {(row["case"], row["path"]) for row in report["rows"]} == paths
    assert len(report["rows"]) == len(paths) * len(SMALLEST.streams)
    assert [sample["error"] for sample in report["samples"] if "error" in sample] == []
    for row in report["rows"]:
        assert row["failed"] == 0, row
        for figure in ("gbit_s", "ratio_to_pipe", "rtt_idle_ms"):
            assert row[figure] > 0, row
        if row["case"] != PIPE.name:
            assert row["ratio_to_recipe"] > 0, row
        # A machine with other things to do can leave these without an answer.
        for figure in ("rtt_loaded_ms", "cpu_s_per_gbyte"):
            assert row[figure] is None or row[figure] > 0, row
    assert report["settings"].keys() == {case.name for case in CASES}
    assert all(peak > 0 for peak in report["helper_memory_mb"])
    assert report["helper_memory_mb"] != []
    assert all(report["machine"]["versions"].values())
    page.parts(report)


def test_each_process_of_a_stream_is_seen_to_work(written: Written) -> None:
    rows = {(row["case"], row["path"]): row for row in written.report("bench")["rows"]}
    for path in ("bare", "overlay"):
        assert all(rows[STREAM.name, path][name] > 0 for name in PROCESSES)
    assert rows[PIPE.name, "bare"]["ssh"] > 0


def test_the_soak_counts(written: Written) -> None:
    soak = written.report("bench")["soak"]
    assert (soak["minutes"], soak["broken_off"]) == (SMALLEST.soak_minutes, 0)
    assert min(soak["there_gbit_s"], soak["back_gbit_s"]) > 0
    assert soak["gbit_s"] > 0
    assert all(isinstance(soak[count], int) and soak[count] >= 0 for count in ("disconnects", "restarts"))


def test_the_window_has_what_a_tunnel_carries_and_how_long_it_lives(written: Written) -> None:
    report = written.report("bench_window")
    (carried,), (lived,) = report["carried"], report["lived"]
    assert (carried["mtu"], lived["mtu"], lived["share"]) == (*SMALLEST.mtus, *SMALLEST.mtus, None)
    assert all(value > 0 for value in carried.values())
    assert all(lived[figure] > 0 for figure in ("lived_s", "gbytes", "held_gbit_s"))
    assert lived["ended"] in (True, False)
    page.window(report)


def test_every_case_carries_something_over_a_line(written: Written) -> None:
    report = written.report("bench_wan")
    assert report["lines"].keys() == set(SMALLEST.lines)
    (line,) = [line for line in LINES if line.name in SMALLEST.lines]
    ways = {(case.name, *way) for case in wan.CASES for way in wan.ways(case, line, SMALLEST)}
    assert {(row["case"], row["streams"], row["back"]) for row in report["rows"]} == ways
    for row in report["rows"]:
        assert row["mbit_s"] > 0, row
        assert row["ratio_to_pipe"] > 0, row
        if row["case"] != PIPE.name:
            # The line's own round trip.
            assert row["ping_idle_ms"] > 99, row
        if row["case"] == STREAM_AUTO.name:
            assert 2 <= row["lanes"] <= 8, row
        if row["case"] in wan.FETCHED and (row["streams"], row["back"]) == (1, False):
            # Two round trips at least.
            assert row["fetch_ms"] > 198, row
            assert 0 <= row["datagram_loss_percent"] < 100, row
    assert [aim["aim"] for aim in report["aims"]] == [f"{line.name}, 1", f"{line.name}, lanes auto, 1"]
    page.over_lines(report)


def test_a_line_is_measured_before_anything_goes_over_it(written: Written) -> None:
    checks = {check["what"]: check for check in written.report("bench_wan")["checks"]}
    ways = [f"{way}_{what}" for way in ("there", "back") for what in ("loss_percent", "mbit_s")]
    assert list(checks) == ["round_trip_ms", *ways]
    # A busy machine may be slow; it loses as much and is no faster.
    for what in ("there_loss_percent", "back_loss_percent"):
        assert checks[what]["agrees"], checks[what]
    assert checks["round_trip_ms"]["got"] >= 99
    assert 0 < checks["there_mbit_s"]["got"] < 1050


def test_the_firewall_has_every_task_on_the_usual_ruleset(written: Written) -> None:
    report = written.report("bench_firewall")
    tasks = {(row["ruleset"], row["places"], row["rules"]) for row in report["rows"]}
    assert tasks == {("usual", places, rules) for places in ("found", "named") for rules in (1, 50)}
    for row in report["rows"]:
        # Processor time has steps of a hundredth of a second on some kernels.
        figures = ("size", "nft_s", "look_s", "look_to_nft", "run_s", "again_s", "memory_mb", "nft_memory_mb")
        assert all(row[figure] > 0 for figure in figures), row
    assert {aim["aim"]: aim["met"] is None for aim in report["aims"]} == {
        "look_s": True,
        "memory_mb": True,
        "run_s": False,
    }
    page.firewall(report)


def test_the_fleet_is_planned(written: Written) -> None:
    report = written.report("bench_fleet")
    (plan,) = report["plans"]
    assert plan["nodes"] == SMALLEST.sizes[0]
    assert all(plan[figure] > 0 for figure in ("links", "seconds", "memory_mb"))
    page.fleet(report)


def test_site_is_timed_beside_the_script(written: Written) -> None:
    report = written.report("bench_site")
    seconds = ("script_s", "site_first_s", "site_second_s", "verify_s")
    ratios = ("first_to_script", "second_to_script", "verify_to_script")
    assert all(report[figure] > 0 for figure in (*seconds, *ratios)), report
    assert (report["rounds"], report["nodes"]) == (SMALLEST.site_rounds, SMALLEST.nodes)
    assert (report["beside"], report["ratio_to_beside"]) == (None, None)
    assert report["tasks_per_host"].keys() == {"first", "second", "verify"}
    for hosts in report["tasks_per_host"].values():
        assert {"cloud1", "edge1"} <= hosts.keys()
        assert min(hosts.values()) > 0
    assert {aim["aim"] for aim in report["aims"]} == {"first_to_script", "second_to_script", "verify_s"}
    page.site(report)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A bench that has begun to make its lab."""
    words = [*BENCH, "--parts", "soak", "--reports", str(tmp_path)]
    with subprocess.Popen(
        words, cwd=process.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as bench:
        try:
            deadline = time.monotonic() + SECONDS
            while not labelled("container", transports.LAB):
                assert bench.poll() is None, bench.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield bench
        finally:
            bench.send_signal(signal.SIGINT)


def test_a_second_bench_leaves_the_first_alone_and_an_interrupted_one_leaves_nothing(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    second = process.run([*BENCH, "--parts", "soak", "--reports", str(tmp_path)], 60)
    assert (second.returncode, second.stderr) == (
        2,
        "bench: another bench runs on this machine: wait for it to end\n",
    )
    assert running.poll() is None
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=300)[1] == "bench: interrupted\n"
    assert running.returncode == 130
    assert left() == []
    assert list(tmp_path.iterdir()) == []
