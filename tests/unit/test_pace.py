# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a new link's packets are timed, and when it counts as too slow for its largest ones."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._icmp import Answer
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel_pace import PACKETS, Pace, Ping, measure
from ansible_collections.overssh.swarm.plugins.plugin_utils import _pace


def answering(times: dict[int, list[float | None]], reply: bool = True) -> tuple[Ping, list[int]]:
    """A ping that takes these times for packets of each size, None for one that is lost; and the sizes it was asked."""
    asked: list[int] = []

    def ping(address: str, device: str, timeout: float, size: int = 0) -> Answer | None:
        assert timeout > 0
        assert (address, device) == ("172.30.0.1", "tun1001")
        took = times[size][asked.count(size)]
        asked.append(size)
        return None if took is None else Answer(address, took, reply)

    return ping, asked


def test_the_fastest_packet_of_each_size_counts() -> None:
    ping, asked = answering({0: [9.0, 1.0, 2.0], 65000: [80.0, 70.0, 90.0]})
    assert measure(ping, "172.30.0.1", "tun1001", 65000) == Pace(1.0, 70.0)
    assert [asked.count(size) for size in (0, 65000)] == [PACKETS, PACKETS]


def test_what_does_not_come_back_is_not_asked_for_again() -> None:
    ping, asked = answering({0: [1.0, 1.0, 1.0], 65000: [None]})
    assert measure(ping, "172.30.0.1", "tun1001", 65000) == Pace(1.0, None)
    assert asked.count(65000) == 1


def test_an_error_that_crossed_is_no_full_packet() -> None:
    ping, _asked = answering({0: [1.0], 65000: [1.0]}, reply=False)
    assert measure(ping, "172.30.0.1", "tun1001", 65000) == Pace(None, None)


def said(small: float | None, full: float | None, mtu: int = 65000) -> list[str]:
    dialled: dict[str, Any] = {"peer": "cloud1", "rtt_ms": small, "full_rtt_ms": full}
    return list(_pace.slow([dialled], "edge1", [{"peer": "cloud1", "mtu": mtu}]))


def test_a_slow_link_is_told_with_the_way_out() -> None:
    (sentence,) = said(12.1, 73.9)
    assert sentence.startswith(
        "edge1: the line to cloud1 is slow: a packet of 65000 bytes takes 62 ms longer there and back"
    )
    assert "set overssh_mtu: 1500 for edge1" in sentence


@pytest.mark.parametrize(
    ("small", "full", "mtu"),
    [
        pytest.param(80.0, 90.0, 65000, id="far-away-but-fast"),
        pytest.param(1.0, 99.0, 1500, id="nothing-to-make-smaller"),
        pytest.param(None, 99.0, 65000, id="small-ones-lost"),
        pytest.param(1.0, None, 65000, id="full-ones-lost"),
    ],
)
def test_any_other_link_is_not_told_of(small: float | None, full: float | None, mtu: int) -> None:
    assert said(small, full, mtu) == []


@pytest.mark.parametrize("dialled", [[], [{"peer": "cloud1"}], [{"peer": "elsewhere", "rtt_ms": 1, "full_rtt_ms": 99}]])
def test_a_measurement_that_was_not_made_is_no_reason_to_fail(dialled: list[dict[str, Any]]) -> None:
    assert list(_pace.slow(dialled, "edge1", [{"peer": "cloud1", "mtu": 65000}])) == []
