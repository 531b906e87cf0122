# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that have a comment of ours: those that were placed here, and those that somebody else wrote."""

from __future__ import annotations

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import info as firewall_info
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import others_files
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import record as nftables_record
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import rules_file

from tests.netns.firewall import SWARM, load, refused, task

LEGACY = 'iifname "wg7" udp dport 4789 accept comment "overssh:legacy"'
THEIRS = (
    f"table inet filter {{\n chain input {{\n  type filter hook input priority 0; policy drop;\n  {LEGACY}\n }}\n}}\n"
)
OURS = {"name": "legacy", "protocol": "tcp", "ports": ["2377"], "in_interfaces": ["tun1002"]}
LEFT = (
    f"'{LEGACY}' in inet filter input (handle 2) has the comment overssh:legacy and is left, as this host has no "
    "record that it was placed here; if nobody else needs it, remove it with nft delete rule inet filter input handle 2"
)
# Rules of one interface and port each, as iptables shows them.
CLOUD = ("-A INPUT -i lo -j ACCEPT", "-A INPUT -p tcp --dport 22 -j ACCEPT", "-A INPUT -j REJECT")


@pytest.fixture
def record(tmp_path):
    return tmp_path / "placed"


def load_text(net, text):
    net.run(["nft", "-f", "-"], data=text)


def saved(net):
    return net.run(["iptables-nft-save"]).stdout


def ours(net):
    return saved(net).count("overssh:")


@pytest.mark.parametrize("asked", [{"all": True}, {"name": "legacy"}, {"exclusive_prefix": ["leg"]}])
def test_a_strangers_rule_is_named_and_left(net, record, asked):
    load_text(net, THEIRS)
    before = net.listing()
    done = task(net, state="absent", **asked)
    assert (done["changed"], done["notes"]) == (False, [LEFT])
    assert net.listing() == before
    assert not record.exists()
    (stranger,) = firewall_info.info(net.run, None, None)["strangers"]
    assert (stranger["name"], stranger["handle"], stranger["rule"]) == ("legacy", 2, LEGACY)
    assert firewall_info.info(net.run, None, None)["rules"] == []


def test_what_a_task_is_not_about_is_no_news(net):
    load_text(net, THEIRS)
    assert task(net, rules=SWARM)["notes"] == []


def test_a_name_that_a_stranger_uses_too(net, record):
    load_text(net, THEIRS)
    before = net.listing()
    done = task(net, **OURS)
    assert (done["changed"], done["needed"], done["notes"]) == (True, True, [LEFT])
    assert net.tcp_passes("peer", "172.30.2.1", 2377)
    assert net.listing().count("overssh:legacy") == 2
    assert task(net, **OURS)["steps"] == []
    # A change of it changes the one that is ours.
    assert task(net, **{**OURS, "ports": ["7946"]})["changed"]
    assert net.tcp_blocked("peer", "172.30.2.1", 2377)
    assert net.listing().count("overssh:legacy") == 2
    assert task(net, state="absent", all=True)["changed"]
    assert net.listing() == before
    assert not record.exists()


def test_a_strangers_rule_that_took_the_place_of_ours(net):
    """Ours went with a flush; what has its comment now, in the same chain, is not ours for that."""
    load_text(net, THEIRS)
    task(net, **OURS)
    load_text(net, f"flush ruleset\n{THEIRS}")
    before = net.listing()
    task(net, state="absent", all=True)
    assert net.listing() == before


def test_a_rule_in_a_chain_that_is_named(net, record):
    fixed = {**OURS, "chain": "inet filter input", "verdict": "drop", "position": "first"}
    load_text(net, THEIRS)
    before = net.listing()
    assert task(net, **fixed)["changed"]
    assert task(net, **fixed)["steps"] == []
    assert net.listing().count("overssh:legacy") == 2
    assert task(net, state="absent", name="legacy")["changed"]
    assert net.listing() == before


def test_the_list_of_a_build_of_before_is_a_record(net, record, tmp_path, monkeypatch):
    """It has the rules' texts only, and nft may print them in other words by now."""
    load(net, "two_base_chains.nft")
    before = net.listing()
    done = task(net, rules=SWARM)
    lines = [
        rules_file.Line(rules_file.ChainKey(each["family"], each["table"], each["chain"]), each["rule"])
        for each in done["placements"]
    ]
    turned = [
        line.rule.replace('{ "tun1002", "tun1003" }', '{ "tun1003", "tun1002" }').replace("2377, 7946", "7946, 2377")
        for line in lines
    ]
    assert turned != [line.rule for line in lines]
    rules = tmp_path / "rules"
    rules.write_text(rules_file.file_text(rules_file.Line(line.key, text) for line, text in zip(lines, turned)))
    monkeypatch.setattr(rules_file, "RULES_FILE", str(rules))
    record.unlink()
    assert {rule["name"] for rule in firewall_info.info(net.run, None, None)["rules"]} == {"swarm/tcp", "swarm/udp"}
    assert task(net, rules=SWARM)["steps"] == [f"write {record}"]
    assert task(net, state="absent", all=True)["changed"]
    assert net.listing() == before


def test_without_the_record_the_rules_are_named_with_the_way_out(net, record):
    load(net, "two_base_chains.nft")
    before = net.listing()
    task(net, rules=SWARM)
    record.unlink()
    told = task(net, state="absent", all=True)
    assert not told["changed"]
    assert len(told["notes"]) == net.listing().count("overssh:")
    for note in told["notes"]:
        net.run(note.rpartition("remove it with ")[2].split())
    assert net.listing() == before


def cloud(net):
    """INPUT of a cloud's image: accepts, then REJECT."""
    net.run(["iptables-nft-restore"], data="\n".join(["*filter", ":INPUT ACCEPT [0:0]", *CLOUD, "COMMIT", ""]))


def test_rules_that_iptables_saved_and_restored_are_ours(net, record):
    cloud(net)
    before = saved(net)
    rules = [{**SWARM[0], "in_interfaces": ["tun1002"]}, {**SWARM[1], "in_interfaces": ["tun1002"]}]
    rules += [{"name": "swarm/icmp", "protocol": "icmp", "source": ["172.30.0.0/16"], "in_interfaces": ["tun1002"]}]
    rules[1] = {**rules[1], "source": ["172.24.0.0/13", "10.0.0.0/8"]}
    task(net, rules=rules)
    placed, count = net.run(["nft", "-s", "list", "chain", "ip", "filter", "INPUT"]).stdout, ours(net)
    assert count == 5
    for _time in range(2):
        net.run(["iptables-nft-restore"], data=saved(net))
        assert ours(net) == count
        assert len(firewall_info.info(net.run, None, None)["rules"]) == count
        assert net.tcp_passes("peer", "172.30.2.1", 2377)
    assert task(net, rules=rules)["changed"]
    assert net.run(["nft", "-s", "list", "chain", "ip", "filter", "INPUT"]).stdout == placed
    assert task(net, rules=rules)["steps"] == []
    net.run(["iptables-nft-restore"], data=saved(net))
    assert task(net, state="absent", all=True)["changed"]
    assert saved(net).split("*filter")[1].split("# Completed")[0] == before.split("*filter")[1].split("# Completed")[0]
    assert not record.exists()


def test_rules_that_were_put_back_twice_are_one_again(net):
    cloud(net)
    task(net, rules=SWARM)
    native, count = net.listing(), ours(net)
    net.run(["iptables-nft-restore"], data=saved(net))
    again = [line.strip() for line in native.splitlines() if "overssh:" in line]
    load_text(net, "\n".join(f"insert rule ip filter INPUT {line}" for line in again))
    assert ours(net) == 2 * count
    assert task(net, rules=SWARM)["changed"]
    assert ours(net) == count
    net.run(["iptables-nft-restore"], data=saved(net))
    assert task(net, state="absent", all=True)["changed"]
    assert ours(net) == 0


def test_a_strangers_rule_that_iptables_wrote(net):
    cloud(net)
    theirs = "-i wg7 -p udp --dport 4789 -m comment --comment overssh:swarm/udp -j ACCEPT"
    net.run(["iptables-nft", "-I", "INPUT", *theirs.split()])
    before = saved(net)
    done = task(net, rules=SWARM)
    assert len(done["notes"]) == 1
    assert "has the comment overssh:swarm/udp and is left" in done["notes"][0]
    assert task(net, state="absent", all=True)["changed"]
    assert saved(net).splitlines()[1:-1] == before.splitlines()[1:-1]


def test_files_that_hold_rules_of_ours_are_named(net, tmp_path, monkeypatch):
    cloud(net)
    task(net, rules=SWARM)
    kept, native, other = (tmp_path / name for name in ("rules.v4", "nftables.conf", "other"))
    kept.write_text(saved(net))
    native.write_text(net.listing())
    other.write_text("# nothing of overssh: here\n")
    monkeypatch.setattr(others_files, "PATTERNS", (f"{tmp_path}/rules.*", str(native), str(other)))
    assert task(net, rules=SWARM)["notes"] == []
    for _time in range(2):
        told = task(net, state="absent", all=True)["notes"]
        assert [note.partition(" which")[0] for note in told] == [
            f"{native} has 6 rules with comments of ours (swarm/tcp, swarm/udp),",
            f"{kept} has 6 rules with comments of ours (swarm/tcp, swarm/udp),",
        ]
    kept.unlink()
    native.unlink()
    assert task(net, state="absent", all=True)["notes"] == []


def test_a_task_that_fails_leaves_no_record(net, record):
    refused(net, name="x", chain="inet nowhere input", verdict="drop", protocol="tcp", ports=["9"])
    assert not record.exists()
    assert str(record) == nftables_record.PLACED_FILE
