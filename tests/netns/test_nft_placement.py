# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""nft_rule against the kernel: what is blocked before passes after, on the tunnels and nowhere else."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint import checkpoint
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer, CommandError
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import apply
from ansible_collections.overssh.swarm.plugins.module_utils._core.wait import wait_until
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import desired as firewall_desired
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import engine as firewall_engine
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import info as firewall_info
from ansible_collections.overssh.swarm.plugins.module_utils._linux import systemd

from tests.netns.firewall import BETWEEN, RULESETS, SWARM, TRANSIT, keep, load, options_of, task

ALL = sorted(path.name for path in RULESETS.iterdir())

HOST, SPOKE, WAN = "172.30.2.1", "172.30.3.2", "198.51.100.1"


@pytest.mark.parametrize("ruleset", ALL)
def test_opens_the_ports_on_the_tunnels_only(net, ruleset):
    load(net, ruleset)
    before = net.listing()
    assert net.tcp_blocked("peer", HOST, 2377)
    assert net.udp_blocked("peer", HOST, 4789)

    answer = task(net, rules=SWARM)

    assert answer["changed"] and answer["needed"]
    assert net.tcp_passes("peer", HOST, 2377)
    assert net.tcp_passes("spoke", "172.30.3.1", 7946)
    assert net.udp_passes("peer", HOST, 4789)
    assert net.tcp_blocked("peer", HOST, 2378)
    assert net.udp_blocked("peer", HOST, 2377)
    assert net.tcp_blocked("world", WAN, 2377)
    assert net.udp_blocked("world", WAN, 4789)
    assert net.tcp_blocked("peer", SPOKE, 2377, target="spoke")
    again = task(net, rules=SWARM)
    assert (again["changed"], again["steps"]) == (False, [])
    assert again["placements"] == answer["placements"]

    assert task(net, state="absent", all=True)["changed"]
    assert net.listing() == before
    assert not task(net, state="absent", all=True)["changed"]


@pytest.mark.parametrize("rules", [TRANSIT, BETWEEN], ids=["in", "in_and_out"])
@pytest.mark.parametrize("ruleset", [name for name in ALL if name not in {"iptables_vendor.v4"}])
def test_lets_tunnels_talk_to_each_other(net, ruleset, rules):
    load(net, ruleset)
    before = net.listing()
    assert net.tcp_blocked("peer", SPOKE, 5000, target="spoke")

    answer = task(net, rules=rules)

    assert net.tcp_passes("peer", SPOKE, 5000, target="spoke")
    assert net.udp_passes("spoke", "172.30.2.2", 5000, target="peer")
    assert net.tcp_blocked("world", SPOKE, 5000, target="spoke")
    assert net.tcp_blocked("peer", HOST, 2377)
    assert task(net, rules=rules)["steps"] == []
    assert {placement["name"] for placement in answer["placements"]} == {"transit"}

    task(net, state="absent", rules=[{"name": "transit"}])
    assert net.listing() == before


def test_lets_the_host_itself_out(net):
    net.run(["nft", "add table inet f { chain out { type filter hook output priority 0; policy drop; }; }"])
    net.run(["nft", "add rule inet f out ct state established accept"])
    before = net.listing()
    rule = {"name": "out", "path": "output", "out_interfaces": ["tun1002"], "destination": ["172.30.2.0/24"]}
    assert net.tcp_blocked("host", "172.30.2.2", 7946, target="peer")

    answer = task(net, rules=[rule])

    assert [place["decided_by"]["rule"] for place in answer["placements"]] == ["policy drop"]
    assert net.tcp_passes("host", "172.30.2.2", 7946, target="peer")
    assert net.udp_passes("host", "172.30.2.2", 4789, target="peer")
    assert net.tcp_blocked("host", SPOKE, 7946, target="spoke")
    assert net.tcp_blocked("host", "198.51.100.2", 7946, target="world")
    assert task(net, rules=[rule])["steps"] == []
    task(net, state="absent", all=True)
    assert net.listing() == before


def test_replies_that_nothing_lets_out_pass_with_a_rule_for_them(net):
    net.run(["nft", "add table inet f { chain out { type filter hook output priority 0; policy drop; }; }"])
    told = "'policy drop' in inet f out drops this host's replies; a rule of path output lets them out"
    assert task(net, rules=SWARM)["notes"] == [told]
    assert net.tcp_blocked("peer", HOST, 2377)
    task(net, name="out", path="output", out_interfaces=["tun1002"], source=["172.30.2.1"])
    assert net.tcp_passes("peer", HOST, 2377)
    assert net.tcp_blocked("spoke", "172.30.3.1", 2377)


def test_leaves_an_open_firewall_alone(net):
    net.run(["nft", "add table inet filter { chain input { type filter hook input priority 0; policy accept; }; }"])
    before = net.listing()
    answer = task(net, rules=SWARM)
    assert (answer["changed"], answer["needed"], answer["placements"]) == (False, False, [])
    assert net.listing() == before


def test_check_mode_tells_what_then_happens(net):
    load(net, "two_base_chains.nft")
    before = net.listing()
    foreseen = task(net, check_mode=True, rules=SWARM)
    assert net.listing() == before
    done = task(net, rules=SWARM)
    assert (foreseen["changed"], foreseen["steps"], foreseen["diff"]) == (True, done["steps"], done["diff"])
    assert [{**placement, "handle": None} for placement in done["placements"]] == foreseen["placements"]


def test_opens_ports_for_ipv6_too(net):
    load(net, "two_base_chains.nft")
    assert net.tcp_blocked("peer", "fd00:30:2::1", 2377)
    task(net, rules=SWARM)
    assert net.tcp_passes("peer", "fd00:30:2::1", 2377)
    assert net.tcp_blocked("world", "fd00:31::1", 2377)


def test_narrows_by_networks(net):
    load(net, "policy_drop.nft")
    rule = {**SWARM[0], "source": ["172.30.2.0/24"], "destination": [HOST]}
    task(net, rules=[rule])
    assert net.tcp_passes("peer", HOST, 2377)
    assert net.tcp_blocked("spoke", "172.30.3.1", 2377)
    assert net.tcp_blocked("peer", "172.30.3.1", 2377)
    assert task(net, rules=[rule])["steps"] == []


def test_changes_a_rule_that_says_something_else(net):
    load(net, "cloud_reject_last.nft")
    task(net, name="x", protocol="tcp", ports=["2377"], in_interfaces=["tun1002"])
    answer = task(net, name="x", protocol="tcp", ports=["2378"], in_interfaces=["tun1002"])
    assert len(answer["placements"]) == 1
    assert net.tcp_blocked("peer", HOST, 2377)
    assert net.tcp_passes("peer", HOST, 2378)


def test_moves_a_rule_that_came_to_stand_too_late(net):
    load(net, "cloud_reject_last.nft")
    task(net, rules=SWARM)
    net.run(["nft", "insert rule inet filter input tcp dport 2377 drop"])
    assert net.tcp_blocked("peer", HOST, 2377)
    answer = task(net, rules=SWARM)
    assert answer["changed"]
    assert net.tcp_passes("peer", HOST, 2377)
    assert task(net, rules=SWARM)["steps"] == []


def test_removes_what_the_prefix_no_longer_covers(net):
    load(net, "cloud_reject_last.nft")
    task(net, rules=SWARM)
    task(net, name="other", protocol="tcp", ports=["9"], in_interfaces=["tun1002"])
    task(net, rules=SWARM[:1], exclusive_prefix="swarm/")
    assert net.tcp_passes("peer", HOST, 2377)
    assert net.udp_blocked("peer", HOST, 4789)
    assert 'comment "overssh:other"' in net.listing()
    task(net, rules=[], exclusive_prefix="swarm/")
    assert "overssh:swarm/" not in net.listing()


@pytest.mark.parametrize("ruleset", ["iptables_vendor.v4", "iptables_docker.v4", "iptables_ufw.v4"])
def test_iptables_shows_what_was_placed(net, ruleset):
    load(net, ruleset)
    rule = {**SWARM[0], "ports": ["2377", "7946-7950"], "source": ["172.30.0.0/16", "10.1.2.3"]}
    task(net, rules=[rule, *BETWEEN])
    shown = net.run(["iptables-nft", "-S"])
    ours = {line.split(" ", 2)[2] for line in shown.stdout.splitlines() if "overssh:" in line}
    end = '-m comment --comment "overssh:swarm/tcp" -j ACCEPT'
    expected = {
        f"-s {source} -i {device} -p tcp -m tcp --dport {ports} {end}"
        for source in ("172.30.0.0/16", "10.1.2.3/32")
        for device in ("tun1002", "tun1003")
        for ports in ("2377", "7946:7950")
    } | {
        f'-i {first} -o {second} -m comment --comment "overssh:transit" -j ACCEPT'
        for first in ("tun1002", "tun1003")
        for second in ("tun1002", "tun1003")
    }
    assert ours == expected
    assert shown.stderr == ""
    assert net.run(["iptables-nft-save"]).rc == 0


def test_docker_finds_its_chains_as_it_left_them(net):
    load(net, "iptables_docker.v4")
    answer = task(net, rules=TRANSIT)
    assert {placement["chain"] for placement in answer["placements"]} == {"DOCKER-USER"}
    chain = net.run(["iptables-nft", "-S", "DOCKER-USER"]).stdout.splitlines()
    assert chain[1].endswith("-j DROP") and chain[-1] == "-A DOCKER-USER -j RETURN"
    # What dockerd does at its start.
    net.run(["iptables-nft", "-C", "DOCKER-USER", "-j", "RETURN"])
    net.run(["iptables-nft", "-D", "FORWARD", "-j", "DOCKER-USER"])
    net.run(["iptables-nft", "-I", "FORWARD", "-j", "DOCKER-USER"])
    assert net.tcp_passes("peer", SPOKE, 5000, target="spoke")


@pytest.mark.parametrize("ruleset", ALL)
def test_the_script_puts_back_what_is_missing(net, ruleset, tmp_path):
    load(net, ruleset)
    before = net.listing()
    task(net, rules=[*SWARM, *BETWEEN])
    placed = net.listing()
    keep(net, tmp_path, [*SWARM, *BETWEEN])
    rules, script = tmp_path / "rules", tmp_path / "restore"
    rules.write_text(rules.read_text() + "inet\tnowhere\tinput\taccept\t(end)\n")

    assert net.run(["sh", str(script), str(rules)]).stdout.splitlines() == [
        "no chain inet nowhere input, so no rule there: accept"
    ]
    assert net.listing() == placed
    task(net, state="absent", all=True)
    assert net.listing() == before
    net.run(["sh", str(script), str(rules)])
    assert sorted(net.listing().splitlines()) == sorted(placed.splitlines())
    assert task(net, rules=[*SWARM, *BETWEEN])["steps"] == []
    assert net.tcp_passes("peer", HOST, 2377)


def test_the_script_puts_no_drop_where_it_was_not_meant_to_be(net, tmp_path):
    """Before everything else it could cut whoever is connected."""
    load(net, "cloud_reject_last.nft")
    before = net.listing()
    keep(net, tmp_path, [])
    kept = 'inet\tfilter\tinput\ttcp dport {} {} comment "overssh:{}"\tit has gone\n'
    (tmp_path / "rules").write_text(kept.format(22, "drop", "rest") + kept.format(2377, "accept", "swarm"))
    done = net.run(["sh", str(tmp_path / "restore"), str(tmp_path / "rules")], check=False)
    assert done.rc == 1
    assert done.stderr.strip() == (
        'the rule that it stood before is gone, so it stays away: tcp dport 22 drop comment "overssh:rest"'
    )
    assert [line.strip() for line in net.listing().splitlines() if line not in before.splitlines()] == [
        'tcp dport 2377 accept comment "overssh:swarm"'
    ]


def test_a_refused_transaction_leaves_everything(net):
    load(net, "cloud_reject_last.nft")
    before = net.listing()

    def refuse(argv, data=None, check=True):
        if data is not None:
            data = data.replace('"saddr"', '"nonsense"')
        return net.run(argv, data, check)

    rules = [*SWARM, {**SWARM[0], "name": "y", "source": ["10.0.0.0/8"]}]
    desired = firewall_desired.desired_from(options_of(persist=False, rules=rules))
    engine = firewall_engine.NftRuleEngine(desired, refuse)
    with pytest.raises(firewall_engine.OversshError, match="nft"):
        engine.perform(engine.plan(engine.observe()).steps[1])
    assert net.listing() == before


def is_tried(argv):
    """Whether nft is about to try a transaction, so that all has been looked at and decided."""
    return argv[0] == "nft" and "-c" in argv


def test_a_ruleset_changed_meanwhile_is_looked_at_again(net):
    load(net, "cloud_reject_last.nft")
    state = {"changed": False}

    def meddle(argv, data=None, check=True):
        if is_tried(argv) and not state["changed"]:
            state["changed"] = True
            net.run(["nft", "flush", "chain", "inet", "filter", "input"])
            net.run(["nft", "add rule inet filter input ct state established accept"])
            net.run(["nft", "add rule inet filter input drop"])
        return net.run(argv, data, check)

    answer = task(net, runner=meddle, rules=SWARM)
    assert (answer["changed"], state["changed"]) == (True, True)
    assert net.tcp_passes("peer", HOST, 2377)


def test_a_change_that_needs_a_checkpoint_only_since_others_changed_something_is_not_made(net, tmp_path, monkeypatch):
    """It was about to be kept at once, as all that it did was to accept more."""
    # Where it were made, this machine would have the checkpoint.
    monkeypatch.setattr(checkpoint, "FOLDER", str(tmp_path / "checkpoint"))
    monkeypatch.setattr(systemd, "UNIT_FOLDER", str(tmp_path / "units"))
    load(net, "cloud_reject_last.nft")
    first, second = SWARM[0], {**SWARM[0], "name": "y", "ports": ["2399"]}
    task(net, rules=[first])
    meddled: list[str] = []

    def meddle(argv, data=None, check=True):
        if is_tried(argv) and not meddled:
            # The rule that ours is to stand before is another now, and what is there of ours has to move.
            chain = ["inet", "filter", "input"]
            for line in net.run(["nft", "-a", "list", "chain", *chain]).stdout.splitlines():
                if "log prefix" in line:
                    net.run(["nft", "delete", "rule", *chain, "handle", line.split()[-1]])
            net.run(["nft", "insert rule inet filter input tcp dport 2377 drop"])
            meddled.append(net.listing())
        return net.run(argv, data, check)

    options = options_of(persist=False, rules=[first, second])
    engine = firewall_engine.NftRuleEngine(firewall_desired.desired_from(options), meddle, "stage", 60, options)
    plan = engine.plan(engine.observe())
    with pytest.raises(firewall_engine.OversshError, match="another program has changed this host's ruleset meanwhile"):
        apply(plan, engine.perform)
    assert net.listing() == meddled[0]


def test_a_table_that_another_program_owns_is_known_beforehand(net):
    """In check mode as in the run."""
    with subprocess.Popen(
        ["ip", "netns", "exec", net.namespace("host"), "nft", "--interactive"], stdin=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdin is not None
        owner.stdin.write("add table inet filter { flags owner; }\n")
        owner.stdin.write("add chain inet filter input { type filter hook input priority 0; }\n")
        owner.stdin.write("add rule inet filter input reject\n")
        owner.stdin.flush()
        wait_until(lambda: "reject" in net.listing(), 10, "the table")
        before = net.listing()
        sentence = "^nft may not write to inet filter: another program owns the table, or root's rights are missing"
        for check_mode in (True, False):
            with pytest.raises(pytest.fail.Exception, match=sentence):
                task(net, check_mode=check_mode, rules=SWARM)
        assert net.listing() == before


def test_a_change_that_does_not_hold_is_taken_back(net):
    load(net, "cloud_reject_last.nft")
    task(net, name="x", protocol="tcp", ports=["2377"], in_interfaces=["tun1002"])
    before = net.listing()

    def undo_by_force(argv, data=None, check=True):
        answer: Answer = net.run(argv, data, check)
        if "-e" in argv and "2378" in (data or ""):
            net.run(["nft", "insert rule inet filter input tcp dport 2378 drop"])
        return answer

    with pytest.raises(pytest.fail.Exception, match="did not keep the change"):
        task(net, runner=undo_by_force, name="x", protocol="tcp", ports=["2378"], in_interfaces=["tun1002"])
    assert net.listing().replace("\t\ttcp dport 2378 drop\n", "") == before


def test_replies_do_not_come_by_a_chain_that_translates(net):
    load(net, "cloud_reject_last.nft")
    net.run(["nft", "add table ip t; add chain ip t out { type nat hook output priority 0; policy drop; }"])
    answer = task(net, rules=SWARM)
    assert answer["notes"] == []
    assert net.tcp_passes("peer", HOST, 2377)


def test_the_longest_name_fits(net):
    load(net, "cloud_reject_last.nft")
    name = "n" * 120
    task(net, name=name, protocol="tcp", ports=["2377"], in_interfaces=["tun1002"])
    assert [rule["name"] for rule in firewall_info.info(net.run, None, None)["rules"]] == [name]
    with pytest.raises(CommandError):
        net.run(["nft", f'add rule inet filter input accept comment "overssh:{name}n"'])
