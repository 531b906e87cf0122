# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of a firewall on a host that only ssh reaches: what would cut ssh is refused, or taken back with no help."""

from __future__ import annotations

import time

import pytest

from tests.support import lab, snapshot

NODE = "edge1"
# A chain of ours, before those of the host.
EARLY = {"chain": "inet overssh early", "hook": "input", "priority": -10}
CUT = {**EARLY, "name": "cut", "verdict": "drop", "protocol": "tcp", "ports": ["22"]}
HARMLESS = {**EARLY, "name": "harmless", "verdict": "drop", "protocol": "tcp", "ports": ["2399"]}
# Seconds that a host may need to take a change back.
MARGIN = 1.5
LEFT = "ls /var/lib/overssh 2>/dev/null || true; systemctl list-unit-files --no-legend 'overssh-checkpoint*' || true"


def nft_rule(**arguments) -> dict:
    return lab.task(NODE, "overssh.swarm.nft_rule", **arguments)


def rules() -> list[str]:
    return snapshot.take(NODE, snapshot.RULESET)


def overdue(began: float, seconds: float) -> None:
    """Until what was begun then would have been taken back, had nobody confirmed it."""
    time.sleep(max(0.0, began + seconds + MARGIN - time.monotonic()))


@pytest.fixture(autouse=True)
def before():
    """Every test begins and ends with the host as it was."""
    found = rules()
    yield found
    lab.task(NODE, "overssh.swarm.checkpoint", name="firewall", state="absent")
    nft_rule(state="absent", all=True, confirm="none")
    assert rules() == found
    assert lab.inside(NODE, LEFT) == ""


def test_a_rule_that_would_cut_this_run_is_refused(before):
    refused = nft_rule(**CUT)
    assert "would drop the packets of the ssh connection that this run comes by" in refused["msg"]
    assert refused["failed"]
    assert rules() == before


def test_a_host_that_can_not_be_reached_any_more_puts_itself_back(before):
    began = time.monotonic()
    # Long enough for ssh to give up once, after ten seconds, and so to tell what is in the way.
    cut = nft_rule(**CUT, force_lockout=True, rollback_timeout=16)
    assert cut["failed"]
    assert "the change firewall was rolled back at" in cut["msg"]
    assert "What was in the way: " in cut["msg"]
    assert time.monotonic() - began > 16, "it was cut off until then"
    assert rules() == before


def test_a_change_after_which_the_host_is_reached_stays(before):
    done = nft_rule(**HARMLESS, rollback_timeout=10)
    came = time.monotonic()
    assert (done["changed"], done["pending"]) == (True, False)
    assert nft_rule(**HARMLESS)["changed"] is False
    overdue(came, 10)
    assert any("overssh:harmless" in line for line in rules())
    assert "overssh:harmless" in lab.inside(NODE, "cat /etc/overssh/nft/rules")
    assert lab.inside(NODE, LEFT) == ""
    assert nft_rule(**HARMLESS)["changed"] is False


def test_an_accept_that_comes_cuts_nobody_and_is_kept_at_once(before):
    lab.inside(
        NODE,
        "nft 'add table inet theirs; add chain inet theirs input { type filter hook input priority 0; };"
        " add rule inet theirs input tcp dport 2399 drop'",
    )
    try:
        _comes_at_once()
    finally:
        nft_rule(state="absent", all=True, confirm="none")
        lab.inside(NODE, "nft delete table inet theirs")


def _comes_at_once():
    accept = {"name": "accept", "protocol": "tcp", "ports": ["2399"], "in_interfaces": ["tun9"]}
    since = lab.inside(NODE, "date +%s").strip()
    fired = f"journalctl --quiet --since @{since} --grep 'overssh-checkpoint-firewall' || true"
    done = nft_rule(**accept)
    assert (done["changed"], done["pending"]) == (True, False)
    assert "overssh:accept" in lab.inside(NODE, "cat /etc/overssh/nft/rules")
    assert lab.inside(NODE, fired) == ""
    assert nft_rule(**accept)["changed"] is False
    refused = nft_rule(**{**accept, "name": "probed"}, rollback_timeout=5, probe=["127.0.0.1:9"])
    assert "the probe of 127.0.0.1:9 failed" in refused["msg"]
    assert nft_rule(**accept, state="absent")["changed"] is True
    assert lab.inside(NODE, fired) != ""


def test_what_a_probe_does_not_reach_goes(before):
    done = nft_rule(**HARMLESS, rollback_timeout=5, probe=["127.0.0.1:9"])
    assert done["failed"]
    assert "the probe of 127.0.0.1:9 failed" in done["msg"]
    assert rules() == before


def test_a_change_that_nobody_confirms_goes_and_one_that_somebody_confirms_stays(before):
    assert nft_rule(**HARMLESS, confirm="manual", rollback_timeout=600)["pending"]
    assert lab.task(NODE, "overssh.swarm.checkpoint_info")["changes"][0]["pending"]
    second = nft_rule(**{**HARMLESS, "name": "second"}, confirm="manual")
    assert "the change firewall before this one is not confirmed yet" in second["msg"]
    foreseen = lab.foreseen(NODE, "overssh.swarm.nft_rule", **{**HARMLESS, "name": "second"}, confirm="manual")
    assert (foreseen["failed"], foreseen["msg"]) == (True, second["msg"])
    # Nor does the same task once more, or one that anybody runs meanwhile, keep it.
    again = nft_rule(**HARMLESS, confirm="manual")
    assert (again["changed"], again["pending"]) == (False, True)
    assert "is not confirmed yet" in nft_rule(**{**HARMLESS, "name": "second"})["msg"]
    assert lab.task(NODE, "overssh.swarm.checkpoint", name="firewall", state="rolled_back")["changed"]
    assert rules() == before
    assert nft_rule(**HARMLESS, confirm="manual", rollback_timeout=5)["pending"]
    lab.wait_for(NODE, "! nft list ruleset | grep -q overssh:", 60)
    late = lab.task(NODE, "overssh.swarm.checkpoint", name="firewall", state="confirmed")
    assert "the change firewall was rolled back at" in late["msg"]
    assert rules() == before
    nft_rule(**HARMLESS, confirm="manual", rollback_timeout=8)
    came = time.monotonic()
    assert lab.task(NODE, "overssh.swarm.checkpoint", name="firewall", state="confirmed")["changed"]
    overdue(came, 8)
    assert any("overssh:harmless" in line for line in rules())
    assert "overssh:harmless" in lab.inside(NODE, "cat /etc/overssh/nft/rules")
    assert nft_rule(**HARMLESS)["changed"] is False
    assert nft_rule(state="absent", all=True, confirm="manual")["pending"]
    assert lab.task(NODE, "overssh.swarm.checkpoint", name="firewall", state="confirmed")["changed"]
    assert lab.inside(NODE, "ls /etc/overssh 2>/dev/null || true") == ""


def test_a_changed_and_a_removed_rule_come_back_as_they_were(before):
    nft_rule(rules=[HARMLESS, {**HARMLESS, "name": "other"}])
    kept = rules()
    other = {**HARMLESS, "ports": ["2400"]}
    nft_rule(rules=[other], exclusive_prefix="", confirm="manual", rollback_timeout=5)
    assert rules() != kept
    lab.wait_for(NODE, "nft list ruleset | grep -q overssh:other", 20)
    assert rules() == kept
    nft_rule(state="absent", all=True, confirm="manual", rollback_timeout=5)
    lab.wait_for(NODE, "nft list ruleset | grep -q overssh:other", 20)
    assert rules() == kept


def test_what_a_run_that_was_broken_off_left_on_trial_does_not_go_from_under_the_next_one(before):
    """The first half of a change is all that comes, and its checkpoint waits for the second."""
    assert nft_rule(**HARMLESS, confirm="none", phase="stage", rollback_timeout=15)["pending"]
    came = time.monotonic()
    taken_back = "roll back the change firewall that an earlier run has left"
    assert lab.foreseen(NODE, "overssh.swarm.nft_rule", **HARMLESS)["steps"][0] == taken_back
    assert lab.task(NODE, "overssh.swarm.checkpoint_info")["changes"][0]["pending"], "check mode leaves it"
    done = nft_rule(**HARMLESS)
    assert (done["changed"], done["pending"], done["steps"][0]) == (True, False, taken_back)
    overdue(came, 15)
    assert any("overssh:harmless" in line for line in rules())
    assert lab.inside(NODE, LEFT) == ""


def test_a_reboot_takes_back_what_is_not_confirmed(before):
    nft_rule(**HARMLESS, confirm="manual", rollback_timeout=600)
    lab.machine("restart", NODE, "--time", "10")
    lab.wait_for(NODE, "systemctl is-system-running | grep -qx running", 60)
    lab.wait_for(NODE, "test ! -e /etc/systemd/system/overssh-checkpoint-firewall.timer", 20)
    assert rules() == before


def test_sshds_configuration_comes_back_by_itself():
    there = "/etc/ssh/sshd_config.d/99-test.conf"
    arguments = {"name": "sshd", "files": [there], "reload": ["ssh"], "rollback_timeout": 6}
    assert lab.task(NODE, "overssh.swarm.checkpoint", state="created", **arguments)["pending"]
    lab.inside(NODE, f"echo 'Port 2200' >{there}; systemctl reload ssh")
    lab.wait_for(NODE, "ss -H -lnt 'sport = :2200' | grep -q 2200", 5)
    lab.wait_for(NODE, f"test ! -e {there} && ss -H -lnt 'sport = :22' | grep -q :22", 20)
    late = lab.task(NODE, "overssh.swarm.checkpoint", name="sshd", state="confirmed")
    assert "the change sshd was rolled back at" in late["msg"]
