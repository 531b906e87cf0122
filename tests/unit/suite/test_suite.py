# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the tests run side by side, and what is said of them."""

from __future__ import annotations

import fcntl
import json
import threading
import time
from pathlib import Path

import pytest

from tests.suite import __main__ as command
from tests.suite import job, processor
from tests.suite.plugin import name_of
from tests.suite.progress import Event, counts, event
from tests.suite.summary import closing, page, read
from tests.suite.turns import HELD, turn

STAT = "cpu  100 20 30 700 50 5 5 90 7 8\ncpu0 1 2 3 4\n"


def test_idle_is_what_the_processors_did_not_do() -> None:
    begin = processor.read(STAT, 10.0)
    assert (begin.idle, begin.total) == (750, 1000)
    end = processor.read("cpu  150 20 30 900 50 5 5 90 0 0\n", 12.5)
    assert processor.between(begin, end) == {"seconds": 2.5, "idle": 0.8}
    assert processor.between(begin, begin) == {"seconds": 0.0, "idle": 0.0}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "\x1b[36mINFO    \x1b[0m \x1b[32mfresh\x1b[0m ➜ \x1b[33mverify\x1b[0m: \x1b[36mExecuting\x1b[0m\n",
            Event("begins", "fresh verify"),
        ),
        ("INFO     grow_and_shrink ➜ verify: Executed: Failed\n", Event("ends", "grow_and_shrink verify", "Failed")),
        ("INFO     fresh ➜ verify: Executing Testinfra tests found in /x/tests/...\n", None),
        ("==== 74 passed in 143.49s (0:02:23) ====\n", Event("tests", words="74 passed")),
        ("== 1 failed, 258 passed in 180.91s ==\n", Event("tests", words="1 failed, 258 passed")),
        ("10 passed in 0.95s\n", Event("tests", words="10 passed")),
        ("note: the lab older has Debian forky\n", Event("note", words="the lab older has Debian forky")),
        ("not run: services: no kernel\n", Event("not run", words="services: no kernel")),
        ("All checks passed!\n", None),
    ],
)
def test_progress_is_read_from_the_output(line: str, found: Event | None) -> None:
    assert event(line) == found


def test_an_error_counts_as_a_failure() -> None:
    assert counts("1 failed, 258 passed, 2 skipped, 3 errors") == {"passed": 258, "failed": 4, "skipped": 2}


def test_tests_are_called_by_their_lab_and_scenario_or_by_their_folder() -> None:
    assert (
        name_of({"MOLECULE_SCENARIO_NAME": "site", "LAB_NAME": "overssh-test-older"}, []) == "overssh-test-older.site"
    )
    assert name_of({}, ["tests/netns"]) == "netns"
    assert name_of({}, ["/home/me/tests/unit/test_plan.py::test_steps"]) == "test_plan"


def in_turn(folder: Path, alone: bool, log: list[str], name: str, until: threading.Event) -> threading.Thread:
    def work() -> None:
        with turn(alone, folder):
            log.append(f"{name} begins")
            until.wait(20)
            log.append(f"{name} ends")

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_for(log: list[str], entry: str) -> None:
    deadline = time.monotonic() + 20
    while entry not in log:
        assert time.monotonic() < deadline, log
        time.sleep(0.01)


def test_one_that_wants_to_be_alone_comes_to_its_turn_and_keeps_the_others_waiting(tmp_path: Path) -> None:
    log: list[str] = []
    first, alone, later = threading.Event(), threading.Event(), threading.Event()
    threads = [in_turn(tmp_path, False, log, name, first) for name in ("one", "two")]
    wait_for(log, "one begins")
    wait_for(log, "two begins")
    threads.append(in_turn(tmp_path, True, log, "alone", alone))
    with (tmp_path / "gate").open("w") as gate:
        deadline = time.monotonic() + 20
        while True:  # until it waits for the room, and with it all that come later
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                break
            fcntl.flock(gate, fcntl.LOCK_UN)
            assert time.monotonic() < deadline
            time.sleep(0.01)
    threads.append(in_turn(tmp_path, False, log, "three", later))
    first.set()
    wait_for(log, "alone begins")
    assert {"one ends", "two ends"} <= set(log)
    alone.set()
    later.set()
    for thread in threads:
        thread.join(20)
    assert log[-4:] == ["alone begins", "alone ends", "three begins", "three ends"]


def test_what_runs_within_a_turn_takes_none_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with turn(False, tmp_path):
        monkeypatch.setenv(HELD, "1")
        with turn(True, tmp_path):
            pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(job, "FOLDER", tmp_path / "reports")
    monkeypatch.setattr(job, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(job, "ROOT", tmp_path)
    return tmp_path / "reports"


def test_a_job_keeps_its_output_and_its_figures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["INFO  site ➜ verify: Executing", "= 3 passed in 1.0s =", "INFO  site ➜ verify: Executed: Successful"]
    assert job.run("walk", ["printf", "%s\\n", "note: told", *words]) == 0
    assert "= 3 passed" in (folder / "walk.log").read_text(encoding="utf-8")
    kept = json.loads((folder / "walk.json").read_text(encoding="utf-8"))
    assert (kept["status"], kept["tests"]) == (0, {"passed": 3, "failed": 0, "skipped": 0})
    assert [(step["name"], step["outcome"]) for step in kept["steps"]] == [("site verify", "Successful")]
    shown = capsys.readouterr().out
    assert "site verify 3 passed" in shown
    assert "walk               told\n" in shown


def test_a_job_that_fails_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert job.run("unit", ["sh", "-c", "echo 'why it failed' >&2; exit 3"]) == 3
    shown = capsys.readouterr().out
    assert "FAILED with status 3" in shown
    assert "why it failed" in shown


@pytest.mark.usefixtures("folder")
def test_a_second_run_of_a_job_is_refused_and_the_first_one_goes_on() -> None:
    sentence = "another run is at work on netns in this checkout: wait for it to end"
    second = job.only_one("netns")
    with job.only_one("netns"), pytest.raises(job.SuiteError, match=sentence):
        second.__enter__()
    with job.only_one("netns"):
        pass


def test_the_summary_names_what_did_not_pass(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    step = {"name": "site verify", "outcome": "Failed", "seconds": 9.0, "idle": 0.5}
    tests = {"passed": 2, "failed": 1, "skipped": 0}
    walk = {"name": "walk", "status": 1, "seconds": 20.0, "idle": 0.25, "tests": tests, "steps": [step]}
    (tmp_path / "walk.json").write_text(json.dumps(walk), encoding="utf-8")
    slow = {"id": "a.py::test_slow", "outcome": "failed", "seconds": 8.0, "idle": 0.5, "waited": 3.0}
    quick = {"id": "a.py::test_quick", "outcome": "passed", "seconds": 0.5, "idle": 0.5, "waited": 0.0}
    (tmp_path / "tests" / "walk.site.json").write_text(
        json.dumps({"name": "walk.site", "tests": [quick, slow]}), encoding="utf-8"
    )
    jobs, found = read(tmp_path)
    shown = page(jobs, found)
    assert "FAILED" in shown
    assert "failed: walk.site a.py::test_slow" in shown
    assert shown.index("test_slow") < shown.index("test_quick")
    assert "3 s were spent on waiting" in shown
    assert closing(jobs) == "2 passed, 1 failed, 0 skipped"


def test_the_summary_says_once_what_was_not_run() -> None:
    tests = {"passed": 2, "failed": 0, "skipped": 0}
    jobs = [{"tests": tests, "not_run": words} for words in ([], ["services: no kernel"], ["services: no kernel"])]
    assert closing(jobs) == "6 passed, 0 failed, 0 skipped; not run: services: no kernel"


def test_there_is_a_sentence_where_there_are_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    with pytest.raises(job.SuiteError, match="has no figures: run make test or make check first"):
        command.show()
