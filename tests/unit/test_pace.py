# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a link counts as too slow for its largest packets."""

from __future__ import annotations

import pytest
from ansible_collections.overssh.swarm.plugins.plugin_utils import _pace

IPUTILS = """\
PING 172.30.0.1 (172.30.0.1) from 172.30.0.2 tun1001: 64972(65000) bytes of data.

--- 172.30.0.1 ping statistics ---
6 packets transmitted, 6 received, 0%% packet loss, time 1021ms
rtt min/avg/max/mdev = %s/70.391/80.449/0.057 ms, ipg/ewma 0.084/0.042 ms
"""
BUSYBOX = "6 packets transmitted, 6 packets received, 0%% packet loss\nround-trip min/avg/max = %s/0.391/0.449 ms\n"
LOST = "6 packets transmitted, 0 received, 100% packet loss, time 5112ms\n"


def test_the_shortest_time_is_read_from_every_ping() -> None:
    assert [_pace.shortest_ms(text) for text in (IPUTILS % "64.3", BUSYBOX % "0.33", LOST, "")] == [
        64.3,
        0.33,
        None,
        None,
    ]


def test_a_slow_link_is_told_with_the_way_out() -> None:
    said = _pace.slow([IPUTILS % "12.1", IPUTILS % "73.9"], "edge1", "cloud1", 65000)
    assert said.startswith(
        "edge1: the line to cloud1 is slow: a packet of 65000 bytes takes 62 ms longer there and back"
    )
    assert "set overssh_mtu: 1500 for edge1" in said


@pytest.mark.parametrize(
    ("small", "full", "mtu"),
    [
        pytest.param(IPUTILS % "80.0", IPUTILS % "90.0", 65000, id="far-away-but-fast"),
        pytest.param(IPUTILS % "1.0", IPUTILS % "99.0", 1500, id="nothing-to-make-smaller"),
        pytest.param(LOST, IPUTILS % "99.0", 65000, id="small-ones-lost"),
        pytest.param(IPUTILS % "1.0", LOST, 65000, id="full-ones-lost"),
        pytest.param("", "", 65000, id="no-ping-here"),
    ],
)
def test_any_other_link_is_not_told_of(small: str, full: str, mtu: int) -> None:
    assert _pace.slow([small, full], "edge1", "cloud1", mtu) == ""


def test_a_measurement_that_was_not_made_is_no_reason_to_fail() -> None:
    assert _pace.slow([], "edge1", "cloud1", 65000) == ""
