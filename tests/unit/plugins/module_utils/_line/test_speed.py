# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a new link's packets are timed, and when it counts as too slow for its largest ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._line import kept as line_kept
from ansible_collections.overssh.swarm.plugins.module_utils._line.kept import Run
from ansible_collections.overssh.swarm.plugins.module_utils._line.speed import (
    PACKETS,
    LineSpeed,
    Ping,
    Volley,
    measure,
    rate,
)
from ansible_collections.overssh.swarm.plugins.module_utils._linux.icmp import Answer
from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import slow_links

from tests.unit.plugins.plugin_utils._fleet.fleets import host, planned

FULL = 65000


def answering(*times: float | None, reply: bool = True) -> tuple[Ping, list[int]]:
    """A ping that takes these times in ms, None for one that is lost; and the sizes it was asked."""
    asked: list[int] = []

    def ping(address: str, device: str, timeout: float, size: int = 0) -> Answer | None:
        assert timeout > 0
        assert (address, device) == ("172.30.0.1", "tun1001")
        took = times[len(asked)]
        asked.append(size)
        return None if took is None else Answer(address, took, reply)

    return ping, asked


def coming(*times: float) -> tuple[Volley, list[Any]]:
    """Full packets that come after so many seconds, until they are enough; and what was asked."""
    asked: list[Any] = []

    def volley(
        address: str, device: str, size: int, ahead: int, seconds: float, enough: Callable[[list[float]], bool]
    ) -> list[float]:
        assert (address, device, size) == ("172.30.0.1", "tun1001", FULL)
        came: list[float] = []
        for time in times:
            if enough(came) or time > seconds:
                break
            came.append(time)
        asked.append((ahead, len(came)))
        return came

    return volley, asked


def every(seconds: float, count: int = 40, after: float = 0.1) -> list[float]:
    return [after + seconds * number for number in range(count)]


def measured(times: list[float], *small: float | None) -> LineSpeed:
    ping, _asked = answering(*(small or (100.0,) * PACKETS))
    return measure(ping, coming(*times)[0], "172.30.0.1", "tun1001", FULL)


def test_the_fastest_small_packet_counts() -> None:
    ping, asked = answering(9.0, 1.0, 2.0)
    assert measure(ping, coming()[0], "172.30.0.1", "tun1001", FULL) == LineSpeed(1.0, None)
    assert asked == [0] * PACKETS


@pytest.mark.parametrize(
    ("times", "mbit_s"),
    [
        pytest.param(every(0.065), 8.0, id="a-slow-line"),
        pytest.param(every(0.52), 1.0, id="a-very-slow-line"),
        # The first packets of a connection that was idle are spread over round trips.
        pytest.param([0.16, 0.3, 0.4, 0.46, *every(0.01, after=0.47)], 52.0, id="a-line-that-opens-late"),
        # One that was sent again held up four, which come all at once.
        pytest.param([*every(0.065, 4), 0.5, 0.501, 0.502, 0.503, 0.504, *every(0.065, 4, 0.56)], 12.4, id="a-loss"),
        pytest.param([0.2], None, id="one-alone-says-nothing"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_what_full_packets_come_to(times: list[float], mbit_s: float | None) -> None:
    got = measured(times).mbit_s
    assert got == (mbit_s if mbit_s is None else pytest.approx(mbit_s, rel=0.05))


def test_no_more_is_sent_than_says_that_a_line_is_not_slow() -> None:
    volley, asked = coming(*every(0.001))
    assert measure(answering(0.4, 0.4, 0.4)[0], volley, "172.30.0.1", "tun1001", FULL).mbit_s == pytest.approx(520)
    assert asked == [(4, 21)]  # until they are 20 ms apart


def test_a_far_end_has_more_packets_under_way() -> None:
    volley, asked = coming(*every(0.012))
    measure(answering(100.0, 100.0, 100.0)[0], volley, "172.30.0.1", "tun1001", FULL)
    assert asked[0][0] == 10


@pytest.mark.parametrize("reply", [True, False])
def test_where_no_small_packet_comes_back_no_full_one_is_sent(reply: bool) -> None:
    ping, _asked = answering(None if reply else 1.0, reply=reply)
    volley, asked = coming(*every(0.01))
    assert measure(ping, volley, "172.30.0.1", "tun1001", FULL) == LineSpeed(None, None)
    assert asked == []


def test_a_rate_takes_a_while() -> None:
    assert rate([0.0, 0.001], FULL, 0.02) is None
    assert rate([0.0, 0.0], FULL, 0.0) is None
    assert rate([0.0, 0.01, 0.02], FULL, 0.02) == pytest.approx(52.0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(line_kept, "FOLDER", str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_what_was_measured_is_kept_until_the_link_comes_up_anew(folder: Any) -> None:
    run, speed = Run(since=17, mtu=FULL), LineSpeed(31.4, 8.1)
    assert line_kept.kept("cloud1", run) is None
    line_kept.keep("cloud1", run, speed)
    assert line_kept.kept("cloud1", run) == speed
    assert line_kept.kept("cloud1", Run(since=18, mtu=FULL)) is None
    assert line_kept.kept("cloud1", Run(since=17, mtu=1500)) is None
    assert line_kept.lines() == [{"peer": "cloud1", "mtu": FULL, "rtt_ms": 31.4, "mbit_s": 8.1}]
    line_kept.forget("cloud1")
    assert not folder.exists()
    assert line_kept.lines() == []


@pytest.mark.parametrize("text", ["", "[]", "{", "8"])
def test_a_file_that_says_nothing_is_none(folder: Any, text: str) -> None:
    os.mkdir(folder)
    (folder / "cloud1.json").write_text(text)
    assert line_kept.kept("cloud1", Run(1, FULL)) is None
    assert line_kept.lines() == []


def said(mbit_s: float | None, mtu: int = FULL) -> list[str]:
    return list(slow_links.slow([{"peer": "cloud1", "mbit_s": mbit_s}], "edge1", [{"peer": "cloud1", "mtu": mtu}]))


def test_a_slow_link_is_told_with_the_way_out() -> None:
    (sentence,) = said(8.1)
    assert sentence.startswith(
        "edge1: the line to cloud1 is slow: it carried about 8.1 Mbit/s when it was measured, so a packet of 65000 "
        "bytes occupies it for 64 ms"
    )
    assert "set overssh_mtu: 1500 for edge1" in sentence


@pytest.mark.parametrize(
    ("mbit_s", "mtu"),
    [
        pytest.param(41.0, FULL, id="fast"),
        pytest.param(5.6, 9000, id="fast-enough-for-what-it-sends"),
        pytest.param(0.9, 1500, id="nothing-to-make-smaller"),
        pytest.param(None, FULL, id="lost"),
    ],
)
def test_any_other_link_is_not_told_of(mbit_s: float | None, mtu: int) -> None:
    assert said(mbit_s, mtu) == []


@pytest.mark.parametrize("measured", [[], [{"peer": "cloud1"}], [{"peer": "elsewhere", "mbit_s": 1}]])
def test_a_measurement_that_was_not_made_is_no_reason_to_fail(measured: list[dict[str, Any]]) -> None:
    assert list(slow_links.slow(measured, "edge1", [{"peer": "cloud1", "mtu": FULL}])) == []


def test_the_plan_says_it_of_links_that_are_up() -> None:
    hosts = {"cloud1": {"overssh_hub": True, "ansible_host": "203.0.113.7"}, "edge1": {}}
    lines = [{"peer": "cloud1", "mtu": FULL, "rtt_ms": 31.4, "mbit_s": 8.1}]
    assert said(8.1)[0] in planned(hosts, edge1=host(lines=lines))["warnings"]
    assert "slow" not in " ".join(
        planned({**hosts, "edge1": {"overssh_mtu": 1500}}, edge1=host(lines=lines))["warnings"]
    )
