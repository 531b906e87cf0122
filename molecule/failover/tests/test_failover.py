# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers notice when a hub, a link or the way to it is lost: with traffic that runs meanwhile."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.support import lab
from tests.support.traffic import between

pytestmark = pytest.mark.turns

HUBS = lab.hubs()
FIRST, SECOND = HUBS
SOURCE, DESTINATION = "edge2", "edge3"
LINK = f"overssh-link-{FIRST}.service"
# After about this time Docker's gossip gives a node up.
LONGEST = 4.0


def way(node: str, destination: str) -> str:
    """Over which hub packets to a node's underlay address go."""
    address = f"172.30.0.{list(lab.hosts()).index(destination) + 1}"
    (route,) = json.loads(lab.inside(node, f"ip -json route get {address}"))
    (link,) = json.loads(lab.inside(node, f"ip -json link show {route['dev']}"))
    return str(link["ifalias"].removeprefix("overssh "))


def comes_to_go_by(hub: str) -> None:
    deadline = time.monotonic() + 60
    while way(SOURCE, DESTINATION) != hub:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def went_on(seen: dict[str, Any]) -> None:
    """The TCP connection is alive, and no gap was as long as Docker's gossip waits."""
    assert seen["broken"] == ""
    assert seen["udp"]["longest_s"] < LONGEST


CUT = """\
nft 'add table netdev cut'
nft 'add chain netdev cut in { type filter hook ingress device eth0 priority 0; policy drop; }'
tc qdisc replace dev eth0 root tbf rate 8bit burst 1 limit 1
"""


def cut(node: str) -> None:
    """No packet gets to a node or away from it, and nobody is told."""
    lab.inside(node, CUT)


def mend(node: str) -> None:
    lab.inside(node, "nft delete table netdev cut\ntc qdisc delete dev eth0 root")


@pytest.fixture(autouse=True)
def whole():
    """Every test begins and ends with a fleet whose links are all up and whose nodes are all ready."""
    settled()
    yield
    settled()


def settled() -> None:
    for node in lab.hosts():
        lab.wait_for(node, "systemctl is-active --quiet docker", 120)
        for number, hub in enumerate(HUBS, start=1):
            if hub != node:
                lab.wait_for(node, f"test $(cat /sys/class/net/tun100{number}/carrier) = 1", 120)
    lab.all_ready("edge1")


FAULTS = {
    "the link's processes are killed": lambda: lab.inside(SOURCE, f"systemctl kill --signal=KILL {LINK}"),
    "the hub's sshd is restarted": lambda: lab.inside(FIRST, "systemctl restart ssh; pkill -KILL -u overssh"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_link_that_ends_is_back_in_seconds(fault):
    with between(SOURCE, DESTINATION) as seen:
        time.sleep(2)
        FAULTS[fault]()
        time.sleep(8)
    went_on(seen)
    assert seen["tcp"]["longest_s"] < 2 * LONGEST
    comes_to_go_by(FIRST)


@pytest.mark.parametrize("seconds", [10, 60])
def test_a_hub_without_network_is_replaced_by_the_other_one(seconds):
    with between(SOURCE, DESTINATION) as seen:
        time.sleep(3)
        cut(FIRST)
        time.sleep(seconds / 2)
        during = way(SOURCE, DESTINATION)
        time.sleep(seconds / 2)
        mend(FIRST)
        time.sleep(8)
    assert during == SECOND
    went_on(seen)
    comes_to_go_by(FIRST)


def test_a_hub_that_stands_still_is_replaced_by_the_other_one():
    with between(SOURCE, DESTINATION) as seen:
        time.sleep(3)
        lab.machine("pause", FIRST)
        try:
            time.sleep(10)
        finally:
            lab.machine("unpause", FIRST)
        time.sleep(8)
    went_on(seen)


def test_a_hub_that_reboots_is_replaced_meanwhile():
    with between(SOURCE, DESTINATION) as seen:
        time.sleep(2)
        lab.machine("restart", FIRST, "--time", "5")
        lab.wait_for(FIRST, "test $(systemctl is-system-running) = running", 120)
        settled()
        comes_to_go_by(FIRST)
    went_on(seen)


def test_a_link_of_one_end_alone_goes_over_both_hubs():
    with between(SOURCE, DESTINATION) as seen:
        time.sleep(3)
        lab.inside(DESTINATION, f"systemctl stop {LINK}")
        try:
            time.sleep(5)
            assert way(SOURCE, DESTINATION) == FIRST
        finally:
            lab.inside(DESTINATION, f"systemctl start {LINK}")
    went_on(seen)
