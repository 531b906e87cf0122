# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of iptables-legacy, which nft can't see: what they drop stays dropped, and nft_rule says which rule it is."""

from __future__ import annotations

import shutil

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import drops

from tests.netns.firewall import load, task
from tests.netns.network import network

HOST = "172.30.2.1"
PORTS = {"protocol": "tcp", "ports": ["2377", "7946"], "in_interfaces": ["tun1002"]}


@pytest.fixture
def net():
    """A network of its own: tables of iptables-legacy stay, and iptables-nft would speak of them to other tests."""
    missing = [program for program in ("ip", "nft", "iptables-legacy") if shutil.which(program) is None]
    if missing:
        pytest.fail(f"these tests need {', '.join(missing)}; on Debian: apt-get install iproute2 nftables iptables")
    with network("legacy") as found:
        load(found, "cloud_reject_last.nft")
        yield found


def legacy(net, words, program="iptables-legacy"):
    net.run([program, *words.split()])


def test_what_they_drop_is_told(net):
    legacy(net, "-N closed")
    legacy(net, "-A closed -p tcp --dport 7946 -j REJECT --reject-with tcp-reset")
    legacy(net, "-A INPUT -i tun1002 -j closed")
    legacy(net, "-P INPUT DROP", "ip6tables-legacy")
    answer = task(net, name="swarm", **PORTS)
    assert net.tcp_blocked("peer", HOST, 7946)
    assert net.tcp_blocked("peer", "fd00:30:2::1", 2377)
    assert answer["owners"] == ["iptables-legacy", "nftables"]
    assert answer["notes"] == [
        "iptables-legacy may drop packets of swarm, by '-A closed -p tcp -m tcp --dport 7946 -j REJECT --reject-with "
        "tcp-reset' in the table filter; nft has no say there, so let them pass with iptables-legacy too",
        "ip6tables-legacy may drop packets of swarm, by the policy of INPUT in the table filter; nft has no say there, "
        "so let them pass with ip6tables-legacy too",
    ]


def test_where_they_let_the_packets_pass_there_is_nothing_to_tell(net):
    legacy(net, "-A INPUT -i tun1002 -p tcp --dport 2377 -j ACCEPT")
    legacy(net, "-A INPUT -p tcp --dport 2377 -j DROP")
    legacy(net, "-A INPUT -p tcp --dport 7946 -i wan0 -j DROP")
    answer = task(net, name="swarm", **PORTS)
    assert net.tcp_passes("peer", HOST, 2377)
    assert net.tcp_passes("peer", HOST, 7946)
    assert answer["notes"] == []


def test_rules_that_can_not_be_read_may_drop(net):
    legacy(net, "-A INPUT -j DROP -i tun1002")

    def without(argv, data=None, check=True):
        if argv[0] == "iptables-legacy-save":
            argv = ["iptables-legacy-save-that-is-not-there"]
        return net.run(argv, data, check)

    answer = task(net, runner=without, name="swarm", **PORTS)
    assert answer["owners"] == ["iptables-legacy", "nftables"]
    (note,) = answer["notes"]
    assert note.startswith("iptables-legacy has rules of its own on this host, which may drop these packets")


def test_tables_that_stand_empty_have_nothing_to_say(net):
    legacy(net, "-P INPUT DROP")
    legacy(net, "-P INPUT ACCEPT")
    answer = task(net, name="swarm", **PORTS)
    assert (answer["owners"], answer["notes"]) == (["nftables"], [])


def test_what_drops_packets_that_have_to_pass_is_named_whosever_it_is(net):
    base = "type filter hook prerouting priority -400;"
    rule = "iifname tun1002 tcp dport 2377 drop"
    net.run(["nft", f"add table inet x; add chain inet x first {{ {base} }}; add rule inet x first {rule}"])
    legacy(net, "-A INPUT -i tun1002 -p udp --dport 4789 -j DROP")
    vxlan = {"name": "vxlan", "protocol": "udp", "ports": ["4789"], "in_interfaces": ["tun1002"]}
    found = drops.blocks(net.run, [{"name": "swarm", **PORTS}, vxlan])
    assert "'iifname \"tun1002\" tcp dport 2377 drop' in inet x first drops packets of swarm" in found
    assert any("'-A INPUT -i tun1002 -p udp -m udp --dport 4789 -j DROP'" in words for words in found)
    task(net, rules=[{"name": "swarm", **PORTS}])
    after = drops.blocks(net.run, [{"name": "swarm", **PORTS}])
    assert after == []
