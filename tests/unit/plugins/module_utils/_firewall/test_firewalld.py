# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accepts in firewalld's words, and the calls that bring them about."""

from __future__ import annotations

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import firewalld, firewalld_plan
from ansible_collections.overssh.swarm.plugins.module_utils._linux.ssh_session import Session
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import firewalld as firewalld_model
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.accept import accept_from
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.firewalld import Firewalld, Zone

# As firewalld 2.3 prints them.
LISTING = """\
overssh (active)
  target: %%REJECT%%
  icmp-block-inversion: no
  interfaces: tun1002 tun1003
  sources:
  ports:
  rich rules:
\trule protocol value="esp" accept
\trule family="ipv4" source address="172.30.0.0/16" port port="2377" protocol="tcp" accept

public (default, active)
  target: default
  interfaces: eth0
  ports: 9999/tcp
  rich rules:
"""
TUNNELS = frozenset({"tun1002", "tun1003"})
RULE = 'rule family="ipv4" source address="172.30.0.0/16" port port="2377" protocol="tcp" accept'
WANTED = Zone(TUNNELS, frozenset({RULE}), frozenset({'rule family="ipv4" source address="10.0.0.0/8" accept'}))
EMPTY = Firewalld(running=Zone(), permanent=Zone())


def accept(**options):
    return accept_from({"name": "x", "in_interfaces": ["tun1002"], **options})


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        ({"protocol": "tcp", "ports": ["80"]}, ['rule port port="80" protocol="tcp" accept']),
        (
            {"protocol": "udp", "ports": ["1-2", "9"], "source": ["10.0.0.0/8", "10.1.2.3", "192.0.2.1"]},
            [
                f'rule family="ipv4" source address="{source}" port port="{port}" protocol="udp" accept'
                for source in ("10.0.0.0/8", "192.0.2.1")
                for port in ("1-2", "9")
            ],
        ),
        (
            {"protocol": "icmp", "destination": ["172.30.0.1"]},
            ['rule family="ipv4" destination address="172.30.0.1" protocol value="icmp" accept'],
        ),
        ({"protocol": "icmpv6"}, ['rule family="ipv6" protocol value="ipv6-icmp" accept']),
        (
            {"protocol": "esp", "source": ["fd00::/64"]},
            ['rule family="ipv6" source address="fd00::/64" protocol value="esp" accept'],
        ),
        (
            {"path": "forward"},
            ['rule family="ipv4" source address="0.0.0.0/0" accept', 'rule family="ipv6" source address="::/0" accept'],
        ),
        ({"source": ["10.0.0.0/8"]}, ['rule family="ipv4" source address="10.0.0.0/8" accept']),
    ],
)
def test_rich_rules(options, rules):
    assert sorted(firewalld_model.rich_rules(accept(**options))) == sorted(rules)


def test_a_listing_is_read():
    found = firewalld_model.read_listing(LISTING)
    assert firewalld_model.zone_from(found["overssh"], {}) == Zone(
        TUNNELS, frozenset({'rule protocol value="esp" accept', RULE})
    )
    assert found["public"]["ports"] == ("9999/tcp",)


def test_what_a_reload_would_lose_is_known():
    running = firewalld_model.read_listing(LISTING)
    assert firewalld_model.differences(running, running) == []
    kept = firewalld_model.read_listing(LISTING.replace("9999/tcp", "").replace("eth0", "").replace("esp", "ah"))
    # Interfaces stay where they are, and our own zone is our own business.
    assert firewalld_model.differences(running, kept) == ["ports of public"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"in_interfaces": []}, "say in_interfaces"),
        ({"path": "forward", "out_interfaces": ["eth0"]}, "leave out_interfaces out"),
    ],
)
def test_what_firewalld_can_not_tell_apart_is_refused(options, words):
    with pytest.raises(OversshError, match=words):
        firewalld_model.lines_of(accept(protocol="tcp", **options), persist=True)
    with pytest.raises(OversshError, match="persist: false"):
        firewalld_model.lines_of(accept(protocol="tcp"), persist=False)


def test_rules_for_different_interfaces_are_refused():
    lines = firewalld_model.lines_of(accept(protocol="tcp"), persist=True)
    lines += firewalld_model.lines_of(accept(name="y", protocol="udp", in_interfaces=["tun1003"]), persist=True)
    with pytest.raises(OversshError, match="rule x is for tun1002, y for tun1003"):
        firewalld_model.zone_of(lines)
    assert firewalld_model.zone_of([]) is None


def test_the_zone_is_made_first_and_rules_come_before_interfaces():
    made = firewalld_plan.calls(Firewalld(), WANTED, None)
    create, change = made.running
    assert create.args["calls"] == (*firewalld_plan.MAKE, ("--reload",))
    assert create.inverse.args["calls"] == firewalld_plan.UNMAKE
    assert [call[1].partition("=")[0] for call in change.args["calls"]] == [
        "--add-rich-rule",
        "--add-rich-rule",
        "--add-interface",
    ]
    assert [call[1].partition("=")[0] for call in change.inverse.args["calls"]] == [
        "--remove-interface",
        "--remove-rich-rule",
        "--remove-rich-rule",
    ]
    (kept,) = made.kept
    assert kept.args["calls"] == tuple(("--permanent", *call) for call in change.args["calls"])


def test_a_host_as_wished_needs_nothing():
    assert firewalld_plan.calls(Firewalld(WANTED, WANTED), WANTED, None) == firewalld_plan.Calls()
    assert firewalld_plan.calls(Firewalld(), None, None) == firewalld_plan.Calls()
    # What runs of a zone that was removed, until the next reload.
    assert firewalld_plan.calls(Firewalld(running=Zone()), None, None) == firewalld_plan.Calls()


def test_a_reload_that_would_lose_something_of_others_is_refused():
    with pytest.raises(OversshError, match="would lose ports of public, which nobody made permanent"):
        firewalld_plan.calls(Firewalld(lost=("ports of public",)), WANTED, None)
    gone = firewalld_plan.calls(Firewalld(WANTED, WANTED), None, None)
    assert gone.kept[0].args["calls"] == firewalld_plan.UNMAKE, "without a reload"


def test_only_tunnels_are_taken_out_of_a_zone_of_others():
    found = Firewalld(Zone(), Zone(), {"tun1002": "public"}, {"tun1003": "work"}, frozenset({"tun1002"}))
    with pytest.raises(OversshError, match="the interface tun1003 stands in firewalld's zone work"):
        firewalld_plan.calls(found, WANTED, None)
    found = Firewalld(Zone(), Zone(), {"tun1002": "public"}, {"tun1003": "work"}, TUNNELS)
    calls = firewalld_plan.calls(found, WANTED, None)
    assert calls.running[0].args["calls"][-2:] == (
        ("--zone=overssh", "--add-interface=tun1003"),
        ("--zone=overssh", "--change-interface=tun1002"),
    )
    assert calls.running[0].inverse.args["calls"][-1] == ("--zone=public", "--add-interface=tun1002")
    assert calls.kept[0].args["calls"][-1] == ("--permanent", "--zone=overssh", "--change-interface=tun1003")
    assert calls.kept[0].inverse.args["calls"][-1] == ("--permanent", "--zone=work", "--add-interface=tun1003")


def test_the_way_in_is_not_cut():
    session = Session("172.30.0.2", "172.30.0.1", 22, "tun1002")
    with pytest.raises(OversshError, match=r"comes in by tun1002.*force_lockout: true and accept 22/tcp too"):
        firewalld_plan.calls(EMPTY, WANTED, session)
    assert firewalld_plan.calls(EMPTY, WANTED, Session("10.0.0.1", "10.0.0.2", 22, "eth0")).running
    assert not firewalld_plan.calls(Firewalld(WANTED, WANTED), WANTED, session).running


def test_the_undoing_is_a_shell_script():
    script = firewalld_plan.rollback_commands(firewalld_plan.calls(Firewalld(), WANTED, None).running).splitlines()
    assert script[0] == "firewall-cmd --quiet --zone=overssh --remove-interface=tun1002 --remove-interface=tun1003"
    assert script[-2] == "firewall-cmd --quiet --permanent --delete-zone=overssh"
    assert script[-1].startswith("firewall-cmd --quiet --state || rm -f /etc/firewalld/policies/overssh-transit.xml")
    assert firewalld_plan.rollback_commands(()) == ""


def test_calls_before_one_that_fails_are_taken_back():
    asked = []

    def run(argv, data=None, check=True):
        asked.append(argv[1])
        status = {"--a": 0, "--new": firewalld.NAME_CONFLICT, "--b": 112}.get(argv[1], 0)
        return Answer(status, "", "Error: INVALID_ZONE: overssh\n" if status else "")

    with pytest.raises(OversshError, match="firewall-cmd --b: Error: INVALID_ZONE: overssh"):
        firewalld.call(run, (("--a",), ("--new",), ("--b",), ("--c",)), back=(("--un-a",),))
    assert asked == ["--a", "--new", "--b", "--un-a"]


def test_a_firewalld_that_does_not_run_is_an_error():
    with pytest.raises(OversshError, match="firewalld does not run; start it"):
        firewalld.observe(lambda *_args, **_more: Answer(firewalld.NOT_RUNNING, "", "FirewallD is not running"))
