# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pytest plugin of all our tests: each waits for its turn, and what it took is kept in reports/suite/tests."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import processor
from .turns import turn

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "reports" / "suite" / "tests"
TURNS = "turns: takes its turns by itself, and is alone only while it measures (tests/suite/turns.py)"


def name_of(environment: dict[str, str], arguments: list[str]) -> str:
    """What these tests are called: the lab and the scenario, or the folder."""
    if scenario := environment.get("MOLECULE_SCENARIO_NAME"):
        return f"{environment.get('LAB_NAME', 'overssh')}.{scenario}"
    return Path(arguments[0].partition("::")[0]).name.removesuffix(".py") if arguments else "tests"


class Record:
    """What each test came to and took."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tests: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Fixtures of modules and sessions belong to the test that they are made for, as in pytest's own figures."""
        asked = processor.now()
        with contextlib.nullcontext() if item.get_closest_marker("turns") else turn(alone=False):
            begun = processor.now()
            found = self._tests[item.nodeid] = {"id": item.nodeid, "outcome": "passed"}
            try:
                return (yield)
            finally:
                found.update(processor.between(begun, processor.now()), waited=round(begun.at - asked.at, 2))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test is as good as the worst of its parts."""
        if report.outcome != "passed" and report.nodeid in self._tests:
            self._tests[report.nodeid]["outcome"] = report.outcome

    def pytest_sessionfinish(self) -> None:
        """Keep them."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        written = json.dumps({"name": self._name, "tests": list(self._tests.values())}, indent=1)
        (FOLDER / f"{self._name}.json").write_text(f"{written}\n", encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and keep a record of a run that tests something."""
    config.addinivalue_line("markers", TURNS)
    if not config.option.collectonly:
        config.pluginmanager.register(Record(name_of(dict(os.environ), config.args)), "suite-record")
