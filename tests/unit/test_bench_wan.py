# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure parts of the bench over lines: aims, what is measured where, and how it is told."""

from __future__ import annotations

from typing import Any

from tests.bench import page
from tests.bench.cases import PIPE, RAW, STREAM
from tests.bench.options import USUAL
from tests.bench.wan.lines import LINES
from tests.bench.wan.run import Sample, aims, rows, ways

LINE = {line.name: line for line in LINES}


def samples(*carried: tuple[int, float | None]) -> list[Sample]:
    return [
        Sample("100-50-1", PIPE.name, 1, mbit_s=80.0),
        *(Sample("100-50-1", STREAM.name, streams, mbit_s=mbit_s) for streams, mbit_s in carried),
        Sample("100-50-1", STREAM.name, 1, back=True, mbit_s=1.0),
    ]


def told(found: list[Sample], **more: Any) -> str:
    table = rows(found)
    report = {
        "rows": table,
        "aims": aims(table),
        "lines": {name: LINE[name].label for name in dict.fromkeys(sample.line for sample in found)},
        "congestion_control": "bbr",
        "beside": None,
        "seconds_per_transfer": 8.0,
    }
    return page.wan({**report, **more})


def test_many_connections_are_to_carry_half_of_what_one_carries() -> None:
    found = samples((1, 76.0), (8, 60.0), (128, 30.4))
    assert [(aim["aim"], aim["got"], aim["met"]) for aim in aims(rows(found))] == [
        ("100-50-1, 1", 0.95, True),
        ("100-50-1, 8", 0.75, False),
        ("100-50-1, 128 of 1", 0.4, False),
    ]
    words = told(found)
    assert "In 1 of 2 cases" in words
    assert "128 connections carried 0.40 of what 1 carried; the aim is 0.5." in words
    assert aims(rows(samples((1, None), (128, 30.0))))[-1]["met"] is None


def test_many_connections_are_measured_where_packets_get_lost() -> None:
    counts = {name: [streams for streams, _back in ways(STREAM, line, USUAL)] for name, line in LINE.items()}
    assert counts["100-50-0.1"] == counts["50-150-bursts"] == [1, 8, 128, 1]
    assert counts["100-20"] == counts["mobile"] == [1, 8, 1]
    assert ways(RAW, LINE["100-50-1"], USUAL) == [(1, False)]
