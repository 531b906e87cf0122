# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure parts of the bench over lines: aims, what is measured where, and how it is told."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench import agent, page
from tests.bench.cases import PIPE, RAW, STREAM, STREAM_AUTO
from tests.bench.options import USUAL
from tests.bench.process import BenchError
from tests.bench.wan import chart, run
from tests.bench.wan.check import Check, loss_tolerance
from tests.bench.wan.lines import LINES
from tests.bench.wan.run import Sample, aims, lost_percent, rows, ways

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
        "seconds_over_slow_lines": 24.0,
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
    assert "transfers of 8 s, and of 24 s up to 20 Mbit/s. In 1 of 2 cases" in words
    assert "128 connections carried 0.40 of what 1 carried; the aim is 0.5." in words
    assert aims(rows(samples((1, None), (128, 30.0))))[-1]["met"] is None


def test_many_connections_are_measured_where_packets_get_lost() -> None:
    counts = {name: [streams for streams, _back in ways(STREAM, line, USUAL)] for name, line in LINE.items()}
    assert counts["100-50-0.1"] == counts["50-150-bursts"] == [1, 8, 1, 128]
    assert counts["100-20"] == counts["mobile"] == [1, 8, 1]
    assert ways(RAW, LINE["100-50-1"], USUAL) == [(1, False)]


def test_transfers_over_slow_lines_take_longer() -> None:
    assert {name for name, line in LINE.items() if line.times > 1} == {"20-80-0.5", "asymmetric", "mobile"}


def test_several_lanes_are_measured_where_a_window_is_the_limit() -> None:
    assert ways(STREAM_AUTO, LINE["1000-100"], USUAL) == ways(RAW, LINE["1000-100"], USUAL) == [(1, False), (8, False)]
    assert ways(STREAM_AUTO, LINE["100-50-1"], USUAL) == []
    found = [
        Sample("1000-100", RAW.name, 8, mbit_s=800.0),
        Sample("1000-100", STREAM.name, 8, mbit_s=140.0),
        Sample("1000-100", STREAM_AUTO.name, 8, mbit_s=600.0, lanes=5),
    ]
    table = rows(found)
    assert [(aim["aim"], aim["got"], aim["met"]) for aim in aims(table)][-1] == ("1000-100, lanes auto, 8", 0.75, False)
    report = {"rows": table, "aims": aims(table), "lines": {"1000-100": "the line"}}
    assert "| the line | 8 | 800.0 | 140.0 | 600.0 | 0.75 | 5 |" in page.lanes(report)
    assert "lanes auto" not in told(found)
    assert page.lanes({**report, "rows": rows(found[:2])}) == ""


@pytest.mark.parametrize(
    ("journal", "lanes"),
    [
        ("", 0),
        ("overssh-stream: connected to auto, 1 lane\nsomething\n", 1),
        ("overssh-stream: connected to auto, 1 lane\noverssh-stream: connected to auto, 2 lanes\n", 2),
        ("connected to auto, 3 lanes\na lane to auto has ended (closed); the link goes on with 2\n", 2),
    ],
)
def test_the_lanes_of_a_link_are_what_its_helper_said_last(journal: str, lanes: int) -> None:
    assert run.lanes_in(journal) == lanes


def test_what_goes_beside_a_transfer_is_told_where_it_was_tried() -> None:
    found = samples((1, 76.0), (8, 60.0))
    found[1] = replace(
        found[1], ping_ms=70.4, ping_99_ms=99.6, fetch_ms=412.5, datagram_loss_percent=lost_percent(400, 390)
    )
    report = {"rows": rows(found), "lines": {"100-50-1": "the line"}, "beside": None}
    assert page.beside(report).splitlines()[5:] == ["| the line | transport stream | 70 | 100 | 412 | 2.5 |"]
    assert page.beside({**report, "rows": rows(samples((1, 76.0)))}) == ""
    assert lost_percent(0, 0) is None


@pytest.fixture
def far_end(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an agent that answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(agent, "ANSWER_PORT", free.getsockname()[1])
    threading.Thread(target=agent.answer, daemon=True).start()
    deadline = time.monotonic() + 10
    while not agent.fetches("127.0.0.1", time.monotonic(), time.monotonic() + 0.01)[0] and time.monotonic() < deadline:
        time.sleep(0.01)
    return "127.0.0.1"


def test_fetches_are_timed_and_datagrams_counted_by_flow(far_end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    took, in_time = agent.fetches(far_end, now, now + 1)
    assert (len(took), in_time) == (agent.FETCHES, agent.FETCHES * 100_000)
    assert min(took) > 0
    monkeypatch.setattr(agent, "FETCH_BYTES", 100_000_000)
    now = time.monotonic()
    took, in_time = agent.fetches(far_end, now, now + 0.01)
    assert (len(took), in_time) == (1, 0), "what ends late is no part of the transfer's rate"
    now = time.monotonic()
    assert agent.datagrams(far_end, b"one.", now, now + 0.09) == 5
    assert agent.arrived(far_end, b"one.", 5) == 5
    assert agent.arrived(far_end, b"two.", 0) == 0


@pytest.mark.parametrize(("got", "agrees"), [(1.1, True), (0.79, False), (None, False)])
def test_a_line_agrees_within_its_tolerance(got: float | None, agrees: bool) -> None:
    assert Check("100-50-1", "there_loss_percent", 1.0, got, 0.2).as_dict()["agrees"] is agrees


def test_losses_may_differ_by_four_standard_deviations_and_bursts_more() -> None:
    way = LINE["100-50-1"].there
    assert loss_tolerance(way, 9900) == pytest.approx(0.4)
    assert loss_tolerance(replace(way, burst=2.5), 9900) == pytest.approx(0.8)
    assert loss_tolerance(replace(way, loss=0.0), 9900) == loss_tolerance(way, 0) == 0.0


def test_a_line_that_is_not_what_was_asked_is_told() -> None:
    found = [
        Check("100-50-1", "round_trip_ms", 50.0, 50.2, 2.5),
        Check("100-50-1", "there_loss_percent", 1.0, 1.02, 0.2),
        Check("100-50-1", "there_mbit_s", 100.0, 80.0, 5.0),
    ]
    report = {"lines": {"100-50-1": "the line"}, "checks": [check.as_dict() for check in found]}
    words = page.line_checks(report).splitlines()
    assert words[3] == "| line | round trip, ms | there loss, % | rate there, Mbit/s | agrees |"
    assert words[5] == (
        "| the line | 50.20 of 50 ± 2.50 | 1.02 of 1 ± 0.20 | 80.00 of 100 ± 5.00 | **no**: rate there |"
    )
    assert page.line_checks({"lines": {}}) == ""


def test_packets_to_nobody_are_counted() -> None:
    before = agent.unasked()["packets"]
    sent = agent.flood("127.0.0.1", 0.05, 1000, 100)["packets"]
    assert 0 < sent <= 50
    assert agent.unasked()["packets"] - before >= sent


def test_a_congestion_control_that_the_kernel_has_not_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "AVAILABLE", tmp_path / "available")
    run.AVAILABLE.write_text("reno bbr cubic\n")
    run.check_control("cubic")
    with pytest.raises(BenchError, match="--control=vegas is not what this kernel has; there are reno, bbr, cubic"):
        run.check_control("vegas")


def test_the_control_inside_is_told_where_it_is_another() -> None:
    found = samples((1, 76.0))
    assert "; the connections inside and outside use bbr; " in told(found)
    assert "; the connections outside use cubic, those inside bbr; " in told(
        found, congestion_control="cubic", inner_congestion_control="bbr"
    )


def test_the_chart_has_a_panel_for_each_line() -> None:
    found = [*samples((1, 76.0), (8, 60.0), (128, None)), Sample("100-20", RAW.name, 1, mbit_s=95.0)]
    picture = chart.draw({"rows": rows(found), "lines": {"100-50-1": "long <line>", "100-20": "short"}, "beside": None})
    ElementTree.fromstring(picture)  # noqa: S314 - our own text
    assert picture.count("<g ") == 2
    assert ">long &lt;line&gt;<" in picture
    assert "ssh cat 80.0" in picture
    bars = [line for line in picture.splitlines() if line.startswith("<rect") and 'x="142"' in line]
    assert [bar.split('"')[1] for bar in bars] == ["s1", "s8", "s1"]


def test_the_page_and_the_chart_are_those_of_the_kept_figures() -> None:
    kept = json.loads((page.DOCS / "bench_wan.json").read_text(encoding="utf-8"))
    text = (page.DOCS / "lines.md").read_text(encoding="utf-8")
    assert page.filled(text, {"wan": page.over_lines(kept)}) == text
    assert (page.DOCS / "lines.svg").read_text(encoding="utf-8") == chart.draw(kept)
