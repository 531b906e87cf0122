# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watcher's program does on a host: rules come back where they take effect, once each, and nothing else."""

from __future__ import annotations

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._docker import daemon
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import info as firewall_info
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import docker_chains
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import record as nftables_record

from tests.netns.firewall import BETWEEN, RULESETS, SWARM, keep, load, task

DOCKERS = "iptables_docker.v4"
CLEAN = (
    "iptables-nft -F; iptables-nft -X; iptables-nft -t nat -F; iptables-nft -t nat -X; iptables-nft -P FORWARD DROP; "
    "iptables-nft -P INPUT ACCEPT"
)
CLOUD = "\n".join(
    ("*filter", ":INPUT ACCEPT [0:0]", "-A INPUT -p tcp --dport 22 -j ACCEPT", "-A INPUT -j REJECT", "COMMIT", "")
)
SPOKE = "172.30.3.2"


@pytest.fixture
def host(net, tmp_path):
    """Ours as they are placed and kept on a host, and the script that puts them back."""

    def placed(rules):
        keep(net, tmp_path, rules)
        task(net, rules=rules)
        keep(net, tmp_path, rules)

    return placed


@pytest.fixture
def restore(net, tmp_path):
    def run(rc=0):
        done = net.run(["sh", str(tmp_path / "restore"), str(tmp_path / "rules")], check=False)
        assert (done.rc, done.stderr) == (rc, "")
        return done.stdout.splitlines()

    return run


def test_nothing_is_done_where_nothing_is_missing(net, host, restore):
    load(net, "two_base_chains.nft")
    host(SWARM)
    before = net.listing()
    assert restore() == []
    assert net.listing() == before


def test_what_was_flushed_comes_back_as_it_was(net, host, restore):
    load(net, "two_base_chains.nft")
    host(SWARM)
    before = net.listing()
    net.run(["nft", "-f", "-"], data=f"flush ruleset\n{(RULESETS / 'two_base_chains.nft').read_text()}")
    assert all(line.startswith("put back in ") for line in restore())
    assert net.listing() == before


def test_a_place_that_nothing_leads_to_any_more(net, host, restore, tmp_path):
    load(net, DOCKERS)
    host(BETWEEN)
    assert net.tcp_passes("peer", SPOKE, 5000, "spoke")
    net.run(["sh", "-c", CLEAN])
    assert net.tcp_blocked("peer", SPOKE, 5000, "spoke")
    said = restore()
    assert [line for line in said if line.startswith("placed in ip filter FORWARD, where it takes effect: ")]
    assert net.tcp_passes("peer", SPOKE, 5000, "spoke")
    assert net.tcp_blocked("world", SPOKE, 5000, "spoke")
    assert restore() == []
    # What was placed for now is ours too.
    rules = firewall_info.info(net.run, None, None)["rules"]
    assert {rule["chain"] for rule in rules} == {"DOCKER-USER", "FORWARD"}
    # Docker is back, and what was for now goes.
    net.run(["iptables-nft", "-I", "FORWARD", "-j", "DOCKER-USER"])
    assert [line.partition(":")[0] for line in restore()] == ["took away from ip filter FORWARD"] * 4
    assert net.tcp_passes("peer", SPOKE, 5000, "spoke")
    assert {rule["chain"] for rule in firewall_info.info(net.run, None, None)["rules"]} == {"DOCKER-USER"}
    assert '"interim"' not in (tmp_path / "placed").read_text()


def test_a_task_makes_the_place_for_now_its_own(net, host, restore):
    load(net, DOCKERS)
    host(BETWEEN)
    net.run(["sh", "-c", CLEAN])
    restore()
    before = net.run(["nft", "-s", "list", "chain", "ip", "filter", "FORWARD"]).stdout
    task(net, rules=BETWEEN)
    assert net.run(["nft", "-s", "list", "chain", "ip", "filter", "FORWARD"]).stdout == before
    assert task(net, rules=BETWEEN)["steps"] == []
    assert task(net, state="absent", all=True)["changed"]
    assert "overssh" not in net.listing()


def test_a_drop_that_came_before_ours_is_named_and_left(net, host, restore):
    load(net, "two_base_chains.nft")
    host(SWARM)
    net.run(["nft", "insert", "rule", "inet", "first", "input", "tcp", "dport", "2377", "drop"])
    before = net.listing()
    (said,) = restore()
    assert said == (
        "'tcp dport 2377 drop' in inet first input drops packets of swarm/tcp, which were let pass before; "
        "run overssh.swarm.site"
    )
    assert net.listing() == before


def test_rules_that_iptables_restored_are_written_as_ours(net, host, restore):
    net.run(["iptables-nft-restore"], data=CLOUD)
    host(SWARM)
    count = net.run(["iptables-nft-save"]).stdout.count("overssh:")
    assert count == 6
    placed = net.run(["nft", "-s", "list", "chain", "ip", "filter", "INPUT"]).stdout
    for _time in range(3):
        net.run(["iptables-nft-restore"], data=net.run(["iptables-nft-save"]).stdout)
        assert all(line.startswith("put back in ") for line in restore())
        assert net.run(["nft", "-s", "list", "chain", "ip", "filter", "INPUT"]).stdout == placed
        assert restore() == []
    assert task(net, state="absent", all=True)["changed"]
    assert "overssh:" not in net.run(["iptables-nft-save"]).stdout


def test_rules_that_were_loaded_twice_are_one_again(net, host, restore):
    load(net, "two_base_chains.nft")
    host(SWARM)
    before = net.listing()
    lines = [line.strip() for line in before.splitlines() if "overssh:" in line]
    net.run(["nft", "-f", "-"], data=f"insert rule inet first input {lines[0]}\n")
    assert net.listing() != before
    assert restore() == []
    assert sorted(net.listing().splitlines()) == sorted(before.splitlines())


def test_a_strangers_rule_does_not_stand_for_ours(net, host, restore):
    load(net, "two_base_chains.nft")
    host(SWARM)
    placed = [rule for rule in firewall_info.info(net.run, None, None)["rules"] if rule["name"] == "swarm/udp"]
    for rule in placed:
        chain = [rule["family"], rule["table"], rule["chain"]]
        net.run(["nft", "delete", "rule", *chain, "handle", str(rule["handle"])])
        net.run(["nft", "add", "rule", *chain, 'iifname "wg7" udp dport 4789 accept comment "overssh:swarm/udp"'])
    assert len(restore()) == len(placed)
    assert len(
        [rule for rule in firewall_info.info(net.run, None, None)["rules"] if rule["name"] == "swarm/udp"]
    ) == len(placed)
    assert len(firewall_info.info(net.run, None, None)["strangers"]) == len(placed)


def test_without_the_program_the_script_does_it(net, host, tmp_path):
    load(net, "two_base_chains.nft")
    host(SWARM)
    before = net.listing()
    (tmp_path / "program" / "_firewall" / "restore.py").write_text("raise SystemExit(9)\n")
    net.run(["nft", "-f", "-"], data=f"flush ruleset\n{(RULESETS / 'two_base_chains.nft').read_text()}")
    net.run(["sh", str(tmp_path / "restore"), str(tmp_path / "rules")])
    assert net.listing() == before


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A host on which Docker runs, with both of its bridges."""
    (tmp_path / "proc" / "42").mkdir(parents=True)
    (tmp_path / "proc" / "42" / "cmdline").write_text("/usr/sbin/dockerd\0-H\0fd://\0")
    (tmp_path / "pid").write_text("42")
    for name, path in (("PID_FILE", "pid"), ("PROC", "proc")):
        monkeypatch.setattr(docker_chains, name, str(tmp_path / path))
    monkeypatch.setattr(docker_chains, "names", lambda: frozenset(docker_chains.BRIDGES))
    monkeypatch.setattr(daemon, "DAEMON_FILE", str(tmp_path / "daemon.json"))
    return tmp_path


def test_what_docker_lost_is_told(net, docker):
    net.run(["iptables-nft-restore"], data=(RULESETS / DOCKERS).read_text())
    bridges = [name for name in docker_chains.BRIDGES if name not in net.listing()]
    for name in bridges:
        rule = ["-A", "POSTROUTING", "-s", "172.18.0.0/16", "!", "-o", name, "-j", "MASQUERADE"]
        net.run(["iptables-nft", "-t", "nat", *rule])
    assert task(net, rules=BETWEEN)["docker_lost"] == []
    net.run(["sh", "-c", CLEAN])
    done = task(net, rules=BETWEEN)
    assert [(each["what"], each["device"]) for each in done["docker_lost"]] == [
        ("jump", ""),
        ("masquerade", "docker0"),
        ("masquerade", "docker_gwbridge"),
    ]
    assert all(each["sentence"] in done["notes"] for each in done["docker_lost"])
    assert firewall_info.info(net.run, None, None)["docker_lost"] == done["docker_lost"]
    (docker / "daemon.json").write_text('{"ip-masq": false}')
    assert [each["device"] for each in task(net, rules=BETWEEN)["docker_lost"]] == ["", "docker_gwbridge"]
    (docker / "daemon.json").write_text('{"iptables": false}')
    assert task(net, rules=BETWEEN)["docker_lost"] == []
    (docker / "daemon.json").write_text("{}")
    (docker / "proc" / "42" / "cmdline").unlink()
    (docker / "proc" / "42").rmdir()
    assert task(net, rules=BETWEEN)["docker_lost"] == []
    assert nftables_record.PLACED_FILE.endswith("placed")
