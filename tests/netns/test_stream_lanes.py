# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A link of lanes "auto" on the real kernel: lanes that open beside the first one, carry, end and are given up.

No line here is as long as one whose sessions' windows are too small. So the helper is told that this one is.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .stream_pair import HELPER, Dialling, Pair, pair_of, until

LANES = 4
TOLD = f"""
import importlib, pathlib, runpy, sys
folder = pathlib.Path({str(HELPER)!r})
sys.path.insert(0, str(folder))
told = dict(LONG_PATH=0, SESSION_WINDOW=1 << 20, LANES_MOST={LANES}, IDLE_SECONDS=3.0, LANE_SECONDS=0.5)
for path in folder.glob("[a-z]*.py"):
    room = vars(importlib.import_module(path.stem))
    room.update({{name: value for name, value in told.items() if name in room}})
from link import Link
from outbound import Outbound
Link.round_trip = property(lambda link: 0.1)
Outbound.starved = property(lambda outbound: outbound.sent > 1 << 20 and outbound._rate > 1 << 20)
runpy.run_path(str(folder), run_name="__main__")
"""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    helper = tmp_path / "stream.py"
    helper.write_text(TOLD, encoding="utf-8")
    with pair_of(tmp_path, helper) as made:
        made.make_devices(lanes="auto")
        yield made


def further_lanes(pair: Pair) -> int:
    """How many sessions have been handed over to the process of the first lane, and are still in use."""
    return len(re.findall("@overssh-stream-", pair.far.run("ss", "-xH", "state", "connected").stdout))


def carry_until(pair: Pair, done: Callable[[], bool], backwards: bool = False) -> None:
    def carried() -> bool:
        pair.send(50, backwards)
        return done()

    until(carried)


def with_all_lanes(pair: Pair, **how) -> Dialling:
    dialling = pair.dial(lanes="auto", **how)
    pair.until_it_crosses(dialling)
    assert dialling.said == "overssh-stream: connected to far, 1 lane\n"
    carry_until(pair, lambda: f"connected to far, {LANES} lanes" in dialling.said)
    return dialling


def children(process: int) -> list[int]:
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()))


@pytest.mark.parametrize("backwards", [False, True])
def test_lanes_open_where_they_are_wanted_and_carry_intact_both_ways(pair, backwards):
    dialling = pair.connect(lanes="auto")
    carry_until(pair, lambda: f"connected to far, {LANES} lanes" in dialling.said, backwards)
    for _transfer in range(3):
        pair.send(100)
        pair.send(100, backwards=True)
    assert pair.crosses()
    assert len(pair.helpers("dial")) == len(pair.helpers("serve")) == 1
    assert "ended" not in dialling.said


def test_each_flow_arrives_in_order_whichever_lanes_it_takes(pair):
    with_all_lanes(pair)
    found = pair.count_in_order(flows=8, each=2000)
    assert len(found) == 8
    assert all(count > 200 and in_order for count, in_order in found), found


def test_a_lane_that_ends_is_done_without(pair, tmp_path):
    """Its ssh is a process between two pipes here, too."""
    command = tmp_path / "ssh"
    command.write_text(f"#!/bin/sh\ncat | {' '.join(pair.far.serving('auto', tmp_path / 'stream.py'))} | cat\n")
    command.chmod(0o755)
    dialling = with_all_lanes(pair, command=[str(command)])
    (dialler,) = pair.helpers("dial")
    os.kill(children(children(dialler)[-1])[0], signal.SIGKILL)
    carry_until(pair, lambda: f"; the link goes on with {LANES - 1}\n" in dialling.said)
    assert re.search(
        rf"^overssh-stream: a lane to far has ended \(.+\); the link goes on with {LANES - 1}$", dialling.said, re.M
    )
    until(lambda: further_lanes(pair) == LANES - 2)
    pair.send(24)
    pair.send(24, backwards=True)


def test_the_first_lane_that_ends_ends_the_link(pair):
    dialling = with_all_lanes(pair)
    assert further_lanes(pair) == LANES - 1
    os.kill(pair.helpers("serve")[0], signal.SIGKILL)
    assert dialling.status() == 1
    assert further_lanes(pair) == 0
    pair.connect(lanes="auto")


def test_lanes_that_are_of_no_use_are_closed_again(pair):
    dialling = with_all_lanes(pair)
    until(lambda: further_lanes(pair) == 0, 60)
    assert not re.search("ended|slower", dialling.said), dialling.said
    pair.send(24)
    assert pair.crosses()


def test_a_further_lane_that_cannot_be_opened_is_said_once(pair, tmp_path):
    command, first = tmp_path / "ssh", tmp_path / "first"
    serving = " ".join(pair.far.serving("auto", tmp_path / "stream.py"))
    command.write_text(f"#!/bin/sh\nmkdir {first} 2>/dev/null || exit 255\nexec {serving}\n")
    command.chmod(0o755)
    dialling = pair.dial(lanes="auto", command=[str(command)])
    pair.until_it_crosses(dialling)
    carry_until(pair, lambda: "can't be opened" in dialling.said)
    pair.send(100)
    reason = "the session ended before the helper there answered"
    assert dialling.said.count(f"a further lane to far can't be opened ({reason}); the link goes on with 1\n") == 1
    assert dialling.runs


def test_a_far_end_that_stands_still_is_given_up_with_all_its_lanes(pair):
    dialling = with_all_lanes(pair)
    (still,) = pair.helpers("serve")
    os.kill(still, signal.SIGSTOP)
    assert dialling.status() == 1
    assert "overssh-stream: ended: far has been silent for" in dialling.said
    pair.connect(lanes="auto")
    assert still not in pair.helpers("serve")


def test_a_session_of_a_link_that_is_gone_is_told_so(pair):
    hello = 'OVERSSH-STREAM {"version": "1", "lanes": "auto", "lane": 1, "silence": 2.5, "link": "%s"}\n' % ("0" * 32)
    answer = pair.far.run(*pair.far.serving("auto")[4:], check=False, data=hello)
    assert '"ended": "the first lane of the link is gone"' in answer.stdout
