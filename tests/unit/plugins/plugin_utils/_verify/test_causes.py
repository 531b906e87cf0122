# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why pairs are broken: which cause explains which pair, and what is read from hosts."""

from __future__ import annotations

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._docker import rules as docker_rules
from ansible_collections.overssh.swarm.plugins.module_utils._overlay import cause as overlay_cause
from ansible_collections.overssh.swarm.plugins.module_utils._watcher import unit as watcher_unit
from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import causes
from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import report as verify_report
from ansible_collections.overssh.swarm.plugins.plugin_utils._verify.matrix import matrix

UNDERLAY = {"cloud1": "172.30.0.1", "edge1": "172.30.0.2", "edge2": "172.30.0.3"}
NODES = [{"name": name, "underlay": address, "overlay": ""} for name, address in UNDERLAY.items()]
GOOD = {
    "icmp": {"ok": True, "rtt_ms": 1.0},
    "tcp": {"ok": True, "rtt_ms": 1.0},
    "udp": {"ok": True, "rtt_ms": 1.0},
    "dns": {"ok": True, "ms": 1.0},
    "mtu": {"ok": True, "bytes": 1450},
}
SILENT = {check: {"ok": False, "reason": "no answer"} for check in GOOD}
LARGE = {**GOOD, "mtu": {"ok": False, "reason": "packets over 1250 bytes are lost, the interface's MTU is 1450"}}
TRACE = (
    "ansible edge2 -b -m overssh.swarm.nft_trace -a "
    "'protocol=udp port=4789 source=172.30.0.2 destination=172.30.0.3 peer=edge1'"
)


def report(found):
    """The one in which edge1 found this of edge2, and everybody else that all is well."""
    answers = {name: {"peers": {peer: GOOD for peer in UNDERLAY if peer != name}} for name in UNDERLAY}
    answers["edge1"]["peers"]["edge2"] = found
    return verify_report.build("overssh", NODES, answers)


def cause(kind, peer="", command="run it on {host}"):
    return {"kind": kind, "why": f"something is wrong with {kind}", "next": command, "peer": peer}


def explained(found, **looked):
    done = causes.explained(report(found), looked, 4789)
    (pair,) = [pair for pair in done["pairs"] if verify_report.failed(pair)]
    return pair.get("cause"), pair["next"]


@pytest.mark.parametrize(
    ("looked", "said"),
    [
        ({}, (None, TRACE)),
        ({"edge2": [cause("firewall")]}, ("on edge2, something is wrong with firewall", "run it on edge2")),
        ({"edge1": [cause("gossip", "edge2")]}, ("on edge1, something is wrong with gossip", "run it on edge1")),
        # About another pair.
        ({"edge1": [cause("gossip", "cloud1")]}, (None, TRACE)),
        # A host between them.
        ({"cloud1": [cause("forwarding")]}, ("on cloud1, something is wrong with forwarding", "run it on cloud1")),
        ({"cloud1": [cause("log")]}, (None, TRACE)),
        # Managers know nodes by their addresses.
        ({"cloud1": [cause("node", "172.30.0.3")]}, ("on cloud1, something is wrong with node", "run it on cloud1")),
        ({"cloud1": [cause("node", "172.30.0.1")]}, (None, TRACE)),
        # The most telling one, and where both have it the target's.
        (
            {"edge1": [cause("log"), cause("underlay", "edge2")], "edge2": [cause("log"), cause("gossip", "edge1")]},
            ("on edge1, something is wrong with underlay", "run it on edge1"),
        ),
        (
            {"edge1": [cause("log")], "edge2": [cause("log", command="")]},
            ("on edge2, something is wrong with log", TRACE),
        ),
    ],
)
def test_a_broken_pair_has_the_cause_that_explains_it_and_what_to_run_next(looked, said):
    assert explained(SILENT, **looked) == said


def test_a_pair_that_loses_large_packets_is_not_explained_by_what_would_stop_all():
    assert explained(LARGE, edge2=[cause("gossip", "edge1")]) == (None, causes.REMAKE)
    assert explained(LARGE, edge2=[cause("firewall")])[0] == "on edge2, something is wrong with firewall"


def test_a_fault_says_each_reason_once_its_cause_and_the_next_command():
    mixed = {**SILENT, "mtu": {"ok": False, "reason": "not even packets of 576 bytes cross"}}
    done = causes.explained(report(mixed), {"edge2": [cause("firewall")]}, 4789)
    assert verify_report.faults(done) == [
        "edge1 does not reach edge2 on overssh by icmp, tcp, udp, dns, mtu: icmp, tcp, udp, dns: no answer; "
        "mtu: not even packets of 576 bytes cross. The cause: on edge2, something is wrong with firewall. "
        "Run next: run it on edge2"
    ]


def test_the_nodes_that_are_not_reached_are_looked_at_from_both_ends():
    assert causes.suspects(report(SILENT), "edge1") == [{"name": "edge2", "address": "172.30.0.3"}]
    assert causes.suspects(report(SILENT), "edge2") == [{"name": "edge1", "address": "172.30.0.2"}]
    assert causes.suspects(report(SILENT), "cloud1") == []


def test_every_kind_that_a_host_tells_is_known_to_the_report():
    assert causes.KINDS == overlay_cause.KINDS


def test_what_a_verification_changed_and_what_is_still_missing_stands_below_the_matrix():
    container = {"restored": [docker_rules.JUMP], "missing": ["the masquerading of docker0 (172.17.0.0/16)"]}
    done = verify_report.build("overssh", NODES, {}, remarks=causes.remarks({"cloud1": container, "edge1": {}}))
    jump, nat = matrix(done)[-2:]
    assert jump.startswith("note: on cloud1, the jump from FORWARD to DOCKER-USER was missing until the container of")
    assert nat.startswith("note: on cloud1, the masquerading of docker0 (172.17.0.0/16) is missing, which Docker makes")


# As iptables 1.8.11 prints them beside Docker 26.1.
FORWARD = "-P FORWARD ACCEPT\n-A FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER-ISOLATION-STAGE-1\n"
NAT = (
    "-P POSTROUTING ACCEPT\n-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n"
    "-A POSTROUTING -s 172.18.0.0/16 ! -o docker_gwbridge -j MASQUERADE\n"
)
BRIDGES = [
    {"Name": "bridge", "Options": {docker_rules.NAME: "docker0"}, "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}},
    {"Name": "docker_gwbridge", "Options": {}, "IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}]}},
    {"Name": "own", "Options": {docker_rules.MASQUERADE: "false"}, "IPAM": {"Config": [{"Subnet": "10.7.0.0/16"}]}},
    {"Name": "inner", "Internal": True, "IPAM": {"Config": [{"Subnet": "10.8.0.0/16"}]}},
    {"Name": "six", "IPAM": {"Config": [{"Subnet": "fd00::/64"}]}},
]


def test_rules_of_docker_that_somebody_removed_are_named():
    assert docker_rules.lost(FORWARD, NAT, BRIDGES) == []
    assert docker_rules.lost("-P FORWARD DROP\n", "-P POSTROUTING ACCEPT\n", BRIDGES) == [
        "the jump from FORWARD to DOCKER-USER",
        "the masquerading of docker0 (172.17.0.0/16)",
        "the masquerading of docker_gwbridge (172.18.0.0/16)",
    ]


def test_what_the_watcher_leaves_alone_is_a_cause(tmp_path, monkeypatch):
    told = tmp_path / "left_alone.json"
    told.write_text(
        '[{"subject": "tun1001", "what": "the address 172.30.0.2/32", "by": "nmcli (process 7)"},'
        ' {"subject": "tun1001", "what": "the queue 500", "by": "tuned (process 8)"},'
        ' {"subject": "firewall", "what": "rules", "by": "the program nft"}]'
    )
    monkeypatch.setattr(watcher_unit, "LEFT_ALONE", str(told))
    device, rules = overlay_cause.undone()
    assert device.kind == rules.kind == "undone"
    assert device.why.startswith("nmcli (process 7) undoes the address 172.30.0.2/32 of tun1001 again and again, so")
    assert rules.why.startswith("the program nft removes firewall rules of overssh again and again, so that overssh-w")


LOG = r"""time="2026-11-28T21:46:27.509869344Z" level=info msg="NetworkDB stats edge1 - netID:abc"
time="2026-11-28T21:46:28.1Z" level=error msg="Bulk sync to node 5f2e timed out" netID=abc
time="2026-11-28T21:46:29Z" level=warning msg="could not \"add\" fdb entry" error="file exists" module=overlay
"""


def test_the_engines_own_lines_are_read_newest_first():
    assert list(overlay_cause.log_lines(LOG)) == [
        '2026-11-28T21:46:29 could not "add" fdb entry (file exists)',
        "2026-11-28T21:46:28 Bulk sync to node 5f2e timed out",
    ]
