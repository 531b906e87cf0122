# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of ours come back soon after somebody else has removed them, and only then."""

from __future__ import annotations

import time

import pytest

from tests.support import lab, snapshot

NODE = "edge1"
RULE = {"chain": "inet overssh early", "hook": "input", "name": "kept", "verdict": "drop", "protocol": "tcp"}
KEPT = {**RULE, "ports": ["2399"]}
TRANSIT = {"name": "transit", "path": "forward", "in_interfaces": ["tun1002"], "out_interfaces": ["tun1003"]}
WATCHER = "overssh-watch.service"
PRESENT = "nft list ruleset | grep -q overssh:kept"


def nft_rule(**arguments) -> dict:
    done = lab.task(NODE, "overssh.swarm.nft_rule", **arguments)
    assert not done["failed"], done["msg"]
    return done


@pytest.fixture(autouse=True)
def kept():
    """A rule of ours that stays, and the host in the end as it was."""
    before = snapshot.take(NODE, snapshot.RULESET)
    nft_rule(**KEPT, confirm="none")
    yield
    nft_rule(state="absent", all=True, confirm="none")
    assert lab.inside(NODE, f"systemctl list-unit-files --no-legend '{WATCHER}' || true") == ""
    # iptables-restore puts chains in an order of its own.
    assert sorted(snapshot.take(NODE, snapshot.RULESET)) == sorted(before)


def back_after(script: str) -> float:
    """Seconds from the end of somebody's change until the rule is there again, as the node itself measures them."""
    waiting = f"while ! {PRESENT}; do [ $(date +%s) -lt $((began + 30)) ]; sleep 0.1; done"
    gone = f"if {PRESENT}; then exit 9; fi"
    told = lab.inside(NODE, f"{script}; {gone}; began=$(date +%s); date +%s.%N; {waiting}; date +%s.%N").split()
    return float(told[-1]) - float(told[-2])


def test_after_its_table_was_deleted():
    print("back after", back_after("nft delete table inet overssh"), "s")
    assert nft_rule(**KEPT)["changed"] is False


def test_after_everything_was_flushed():
    print("back after", back_after("nft flush ruleset"), "s")
    # The node has no rules but Docker's, which drops what is forwarded only where it has turned forwarding on itself.
    lab.inside(NODE, "systemctl restart docker; iptables --policy FORWARD DROP")
    lab.wait_for(NODE, f"{PRESENT} && systemctl is-active --quiet docker")
    assert nft_rule(**KEPT)["changed"] is False


def test_after_the_watcher_was_killed():
    lab.inside(NODE, f"systemctl kill --signal=KILL {WATCHER}")
    lab.wait_for(NODE, f"systemctl is-active --quiet {WATCHER}")
    print("back after", back_after("nft delete table inet overssh"), "s")


def test_where_it_takes_effect_while_docker_has_lost_its_chains():
    """As after a script that clears iptables; what is forwarded would be blocked until somebody starts Docker anew."""
    lab.inside(NODE, "iptables --policy FORWARD DROP")
    nft_rule(**TRANSIT, confirm="none")
    assert "-j ACCEPT" in lab.inside(NODE, "iptables -S DOCKER-USER | grep overssh:transit")
    lab.inside(NODE, "iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X; iptables --policy FORWARD DROP")
    lab.wait_for(NODE, "iptables -S FORWARD | grep -q overssh:transit", 10)
    told = lab.task(NODE, "overssh.swarm.nft_rule_info")["docker_lost"]
    assert ("jump", "") in {(each["what"], each["device"]) for each in told}
    assert ("masquerade", "docker0") in {(each["what"], each["device"]) for each in told}
    assert "lost Docker's jump to DOCKER-USER" in lab.inside(NODE, f"journalctl --unit {WATCHER} --output cat")
    lab.inside(NODE, "systemctl restart docker")
    lab.wait_for(NODE, "! iptables -S FORWARD | grep -q overssh:transit", 20)
    assert "-j ACCEPT" in lab.inside(NODE, "iptables -S DOCKER-USER | grep overssh:transit")
    assert nft_rule(**TRANSIT)["docker_lost"] == []


def chains() -> list[str]:
    script = "nft list chains | awk '/^table/ { table = $2 FS $3 } /^.chain/ { print table, $2 }'"
    return lab.inside(NODE, script).splitlines()


def test_once_after_iptables_saved_and_restored_it():
    there = chains()
    nft_rule(**TRANSIT, confirm="none")
    for _time in range(2):
        lab.inside(NODE, "iptables-save >/run/saved; iptables-restore </run/saved")
        lab.wait_for(NODE, "nft list chain ip filter DOCKER-USER | grep -q overssh:transit", 10)
        assert lab.inside(NODE, "iptables-save | grep -c overssh:").strip() == "1"
    lab.inside(NODE, "mkdir -p /etc/iptables; iptables-save >/etc/iptables/rules.v4")
    try:
        (note,) = nft_rule(state="absent", all=True, confirm="none")["notes"]
    finally:
        lab.inside(NODE, "rm -r /etc/iptables")
    assert note.startswith("/etc/iptables/rules.v4 has 1 rule with comments of ours (transit), which another program")
    assert lab.inside(NODE, "iptables-save | grep -c overssh: || true").strip() == "0"
    for chain in set(chains()) - set(there):  # iptables makes its own
        lab.inside(NODE, f"nft delete chain {chain}")


def test_not_while_its_removal_waits_to_be_confirmed():
    nft_rule(name="kept", state="absent", confirm="manual", rollback_timeout=8)
    time.sleep(3)
    lab.inside(NODE, f"! {PRESENT}")
    lab.wait_for(NODE, PRESENT, 20)
    assert nft_rule(**KEPT)["changed"] is False


def test_not_after_a_task_took_it_away():
    nft_rule(rules=[{**RULE, "name": "other", "ports": ["2400"]}], confirm="none")
    nft_rule(name="kept", state="absent")
    time.sleep(3)
    lab.inside(NODE, f"! {PRESENT}")
    lab.inside(NODE, f"systemctl is-active --quiet {WATCHER}")
