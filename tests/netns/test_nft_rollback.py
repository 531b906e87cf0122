# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that takes back a change of rules which nobody confirmed, against the kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import desired as firewall_desired
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import engine as firewall_engine
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import plan as firewall_plan
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import rollback_script
from ansible_collections.overssh.swarm.plugins.module_utils._linux import proc
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import normalize

from tests.netns.firewall import options_of, task

OPEN = """
table inet filter {
    chain input { type filter hook input priority 0; policy accept; tcp dport 80 accept comment "web"; }
}
"""
RULE = {"chain": "inet filter input", "protocol": "tcp"}
OLD, KEPT, NEW = (
    {**RULE, "name": f"fleet/{name}", "ports": [port], "verdict": verdict}
    for name, port, verdict in (("old", "2370", "drop"), ("kept", "2371", "accept"), ("new", "2372", "drop"))
)


class Change:
    """Rules of a host that are changed, and the program that takes that back, written before."""

    def __init__(self, net, folder):
        self._net, self.placed = net, folder / "placed"
        net.run(["nft", "-f", "-"], OPEN)
        task(net, rules=[OLD, KEPT])
        self.before = self.rules()

    def make(self, boot=None, placed_text=None):
        options = {"rules": [KEPT, NEW], "exclusive_prefix": ["fleet/"]}
        desired = firewall_desired.desired_from(options_of(**options))
        ruleset = firewall_engine.Nft(self._net.run).ruleset()
        written = normalize.written(self._net.run, ruleset, desired.fixed, desired.owner)
        decision = firewall_plan.decide(desired, firewall_plan.Observed(ruleset, written=written))
        boot = boot or Path(proc.BOOT_ID).read_text(encoding="ascii").strip()
        self._program = rollback_script.rollback_commands(decision, ruleset, boot, placed_text)
        task(self._net, **options)

    def take_back(self):
        self._net.run(["sh", "-c", self._program])

    def rules(self):
        """Their comments, in the order in which they stand."""
        listed = self._net.run(["nft", "-s", "list", "chain", "inet", "filter", "input"]).stdout
        return re.findall(r'comment "([^"]*)"', listed)


@pytest.fixture
def change(net, tmp_path, monkeypatch):
    monkeypatch.setattr(rollback_script, "FOLDER", str(tmp_path / "overssh" / "nft"))
    monkeypatch.setattr(rollback_script, "SCRIPT_FILE", str(tmp_path / "restore"))
    return Change(net, tmp_path)


def test_what_came_goes_and_what_went_comes_back(change):
    change.make()
    assert sorted(change.rules()) == ["overssh:fleet/kept", "overssh:fleet/new", "web"]
    change.take_back()
    assert change.rules() == change.before


def test_where_not_all_can_be_taken_back_the_rest_is(change, net):
    change.make()
    listed = net.run(["nft", "-a", "list", "chain", "inet", "filter", "input"]).stdout
    (handle,) = re.findall(r"fleet/kept\" # handle (\d+)", listed)
    # The rule that the one which was removed stood before.
    net.run(["nft", "delete", "rule", "inet", "filter", "input", "handle", handle])
    change.take_back()
    assert change.rules() == ["web"]


def test_after_a_reboot_handles_name_other_rules_and_none_is_touched(change):
    change.make(boot="another boot")
    after = change.rules()
    change.take_back()
    assert change.rules() == after


def test_the_record_is_as_it_was_before(change):
    change.make(placed_text="it's the record\n")
    change.placed.write_text("another")
    change.take_back()
    assert change.placed.read_text() == "it's the record\n"


def test_a_record_that_was_not_there_goes(change):
    change.make()
    change.placed.write_text("another")
    change.take_back()
    assert not change.placed.exists()


def test_what_is_kept_is_put_back_by_the_other_program(change, tmp_path):
    (tmp_path / "restore").write_text(f'echo "$1" >{tmp_path}/restored\n')
    change.make()
    change.take_back()
    assert (tmp_path / "restored").read_text() == "/etc/overssh/nft/rules\n"
