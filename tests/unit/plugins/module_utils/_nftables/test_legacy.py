# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What iptables-legacy may drop, out of what it and nft printed on a Debian 12."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer, CommandError
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.accept import accept_from
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.legacy import Legacy, in_own_words, notes, observe
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.normalize import read_listing
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.ruleset import Ruleset

RECORDED = Path(__file__).resolve().parents[4] / "recorded" / "nft" / "legacy"
SAVED = (RECORDED / "saved.v4").read_text(encoding="utf-8")
LISTED = (RECORDED / "listing.txt").read_text(encoding="utf-8")
LEGACY = Legacy(in_own_words(read_listing(LISTED), SAVED))


def told(**options):
    return notes(LEGACY, [accept_from({"name": "x", "in_interfaces": ["tun1002"], **options})])


def test_the_rule_that_may_drop_is_told_in_iptables_words():
    assert told(protocol="tcp", ports=["7946"]) == [
        "iptables-legacy may drop packets of x, by '-A closed -j REJECT --reject-with icmp-host-prohibited' in the "
        "table filter; nft has no say there, so let them pass with iptables-legacy too"
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": "tcp", "ports": ["2377"]},
        {"protocol": "tcp", "ports": ["7946"], "in_interfaces": ["tun1003"]},
        {"protocol": "udp", "ports": ["7946"]},
        {"protocol": "tcp", "ports": ["7946"], "source": ["fd00::/64"]},
        {"protocol": "tcp", "ports": ["2377"], "in_interfaces": []},
    ],
)
def test_rules_for_other_packets_are_not(options):
    assert told(**options) == []


def test_a_policy_is_told_too():
    (note,) = told(path="forward")
    assert "by the policy of FORWARD in the table filter" in note


def test_a_host_without_its_tables_is_asked_nothing_more():
    asked = []

    def run(argv, data=None, check=True):
        asked.append(argv[0])
        return Answer(2, "", "grep: /proc/net/ip_tables_names: No such file or directory")

    assert observe(run) == Legacy()
    assert asked == ["grep"]


def test_what_can_not_be_read_may_drop():
    def run(argv, data=None, check=True):
        if argv[0] == "grep":
            return Answer(2, "/proc/net/ip6_tables_names:filter\n", "")
        raise CommandError(f"{argv[0]} is not installed")

    found = observe(run)
    assert found == Legacy(Ruleset(), {"ip6": "ip6tables-legacy-save is not installed"})
    (note,) = notes(found, [accept_from({"name": "x", "protocol": "tcp", "ports": ["2377"]})])
    assert note.startswith("ip6tables-legacy has rules of its own on this host, which may drop these packets")
    assert "ip6tables-legacy-save is not installed" in note
    assert notes(found, [accept_from({"name": "x", "source": ["10.0.0.0/8"]})]) == []
