# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher that puts our rules back soon after somebody else has removed them."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.files import lock_folder

from tests.netns.firewall import RULESETS, SWARM, keep, load, task
from tests.netns.watcher import watching

RULESET = "two_base_chains.nft"
PATIENCE = 30.0


@dataclass(frozen=True)
class Watcher:
    """One at work, with the folder that it takes the rules from; count: of the rules that it watches."""

    folder: Path
    process: subprocess.Popen
    count: int


def ours(net):
    return sum("overssh:" in line for line in net.listing().splitlines())


def wait_for(net, number, until=lambda: False):
    """Until there are so many rules of ours, or something else is so."""
    deadline = time.monotonic() + PATIENCE
    while ours(net) != number and not until():
        assert time.monotonic() < deadline, net.listing()
        time.sleep(0.05)


@pytest.fixture
def watcher(net, tmp_path):
    """One that has put back what was removed before it began."""
    load(net, RULESET)
    keep(net, tmp_path, SWARM)
    task(net, rules=SWARM)
    count = ours(net)
    net.run(["nft", "flush", "ruleset"])
    load(net, RULESET)
    with watching(net.namespace("host"), tmp_path, tmp_path, tmp_path) as process:
        wait_for(net, count)
        yield Watcher(tmp_path, process, count)


def test_comes_back_after_a_flush(net, watcher):
    placed = net.listing()
    for _time in range(2):
        flushed = f"flush ruleset\n{(RULESETS / RULESET).read_text()}"
        net.run(["nft", "-f", "-"], data=flushed)
        wait_for(net, watcher.count)
        assert net.listing() == placed
        assert net.tcp_passes("peer", "172.30.2.1", 2377)


def test_comes_back_into_chains_that_are_made_later(net, watcher):
    placed = net.listing()
    net.run(["nft", "flush", "ruleset"])
    time.sleep(1)
    assert ours(net) == 0
    load(net, RULESET)
    wait_for(net, watcher.count)
    assert sorted(net.listing().splitlines()) == sorted(placed.splitlines())


def test_thousands_of_changes_are_one_event(net, watcher):
    many = "".join(f"add rule inet many c tcp dport {port} drop\n" for port in range(1, 5001))
    net.run(["nft", "-f", "-"], data=f"add table inet many\nadd chain inet many c\n{many}")
    net.run(["nft", "-f", "-"], data=f"flush ruleset\n{(RULESETS / RULESET).read_text()}")
    wait_for(net, watcher.count)
    assert net.tcp_passes("peer", "172.30.2.1", 2377)


def test_lets_a_module_of_ours_finish(net, watcher):
    """What it takes away doesn't come back while it writes down what is kept."""
    held = lock_folder(str(watcher.folder))
    assert task(net, state="absent", all=True)["changed"]
    time.sleep(2)
    assert ours(net) == 0
    (watcher.folder / "rules").write_text("")
    del held
    time.sleep(1)
    assert ours(net) == 0


def test_who_removes_them_again_and_again_is_named_and_left_alone(net, watcher):
    """Each time only when they are back, as a program does that wants them away."""
    left, said = watcher.folder / "left_alone.json", watcher.folder / "said"
    for _time in range(20):
        if left.exists():
            break
        wait_for(net, watcher.count, until=left.exists)
        net.run(["nft", "-f", "-"], data=f"flush ruleset\n{(RULESETS / RULESET).read_text()}")
    assert json.loads(left.read_text()) == [{"subject": "firewall", "what": "rules", "by": "the program nft"}]
    deadline = time.monotonic() + PATIENCE
    while not (told := said.read_text()).endswith("\n"):
        assert time.monotonic() < deadline
    assert told.splitlines()[-1] == (
        "the program nft removes firewall rules of overssh again and again, 6 times within 60 s: they are left alone "
        "for 15 minutes; stop it, then run systemctl restart overssh-watch.service"
    )
    net.run(["nft", "-f", "-"], data=f"flush ruleset\n{(RULESETS / RULESET).read_text()}")
    time.sleep(3)
    assert ours(net) == 0
    assert watcher.process.poll() is None
