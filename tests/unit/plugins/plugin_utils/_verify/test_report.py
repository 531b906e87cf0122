# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a verification: complete, and never better than what was measured."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import report as verify_report

NODES = [
    {"name": "a", "underlay": "172.30.0.1", "overlay": "10.200.0.2"},
    {"name": "b", "underlay": "172.30.0.2", "overlay": "10.200.0.3"},
]


def passed() -> dict[str, Any]:
    return {
        "icmp": {"ok": True, "rtt_ms": 0.61},
        "tcp": {"ok": True, "rtt_ms": 1.2},
        "udp": {"ok": True, "rtt_ms": 0.7},
        "dns": {"ok": True, "ms": 0.4},
        "mtu": {"ok": True, "bytes": 1450},
    }


def test_a_report_of_two_nodes_has_both_ordered_pairs() -> None:
    report = verify_report.build("net", NODES, {"a": {"peers": {"b": passed()}}, "b": {"peers": {"a": passed()}}})
    assert report["ok"] is True
    assert report["schema"] == 1
    assert [(pair["from"], pair["to"]) for pair in report["pairs"]] == [("a", "b"), ("b", "a")]
    assert report["pairs"][0]["checks"]["mtu"] == {"ok": True, "bytes": 1450}
    assert verify_report.faults(report) == []


def test_a_pair_that_nobody_measured_is_broken() -> None:
    report = verify_report.build(
        "net", NODES, {"a": {"peers": {"b": passed()}}, "b": {"trouble": "the daemon is gone"}}
    )
    assert report["ok"] is False
    assert verify_report.faults(report) == [
        "b does not reach a on net by icmp, tcp, udp, dns, mtu: the daemon is gone."
    ]


def test_a_single_check_that_was_left_out_breaks_its_pair() -> None:
    partial = passed()
    del partial["udp"]
    report = verify_report.build("net", NODES, {"a": {"peers": {"b": partial}}, "b": {"peers": {"a": passed()}}})
    assert report["ok"] is False
    assert report["pairs"][0]["checks"]["udp"] == {"ok": False, "reason": "not measured"}


def test_faults_name_pair_check_and_reason() -> None:
    broken = {**passed(), "udp": {"ok": False, "reason": "no answer"}, "mtu": {"ok": False, "reason": "over 1200 lost"}}
    report = verify_report.build("net", NODES, {"a": {"peers": {"b": broken}}, "b": {"peers": {"a": passed()}}})
    assert verify_report.faults(report) == [
        "a does not reach b on net by udp, mtu: udp: no answer; mtu: over 1200 lost."
    ]


def test_no_pairs_prove_nothing_and_that_is_said() -> None:
    report = verify_report.build("net", NODES[:1], {}, {"b": "drain"})
    assert report["ok"] is False
    assert verify_report.faults(report) == ["nothing was proved of net, as fewer than two nodes take containers."]


def test_nodes_that_take_no_containers_are_in_it() -> None:
    answers = {"a": {"peers": {"b": passed()}}, "b": {"peers": {"a": passed()}}}
    report = verify_report.build("net", NODES, answers, {"c": "drain", "d": "pause"})
    assert (report["ok"], report["left_out"]) == (True, {"c": "drain", "d": "pause"})


def test_peers_are_all_others_that_have_a_container() -> None:
    containers: dict[str, dict[str, Any]] = {
        "a": {"container": "overssh-verify-a", "address": "10.200.0.2"},
        "b": {"container": "overssh-verify-b", "address": "10.200.0.3"},
        "c": {"failed": True, "msg": "no network"},
    }
    assert verify_report.peers("a", containers) == [{"name": "b", "host": "overssh-verify-b", "address": "10.200.0.3"}]
    assert [node["overlay"] for node in verify_report.nodes(containers, {})] == ["10.200.0.2", "10.200.0.3", ""]


def test_several_networks_make_one_report_that_is_as_good_as_the_worst() -> None:
    good = verify_report.build("one", NODES, {"a": {"peers": {"b": passed()}}, "b": {"peers": {"a": passed()}}})
    bad = verify_report.build("two", NODES, {})
    merged = verify_report.merge([good, bad])
    assert (merged["ok"], merged["network"], merged["more"][0]["network"]) == (False, "one", "two")
    assert verify_report.merge([good]) == good


def test_its_text_is_the_same_data_a_line_for_each_check() -> None:
    good = verify_report.build("one", NODES, {"a": {"peers": {"b": passed()}}, "b": {"peers": {"a": passed()}}})
    alone = verify_report.build("two", NODES[:1], {}, {"b": "drain"})
    for report in (good, alone, verify_report.merge([good, alone]), verify_report.merge([alone, good, good])):
        assert json.loads(verify_report.text(report)) == report
    assert verify_report.text(good).splitlines()[:15] == [
        "{",
        '  "schema": 1,',
        '  "ok": true,',
        '  "network": "one",',
        '  "nodes": [',
        '    {"name": "a", "underlay": "172.30.0.1", "overlay": "10.200.0.2"},',
        '    {"name": "b", "underlay": "172.30.0.2", "overlay": "10.200.0.3"}',
        "  ],",
        '  "pairs": [',
        '    {"from": "a", "to": "b", "checks": {',
        '        "icmp": {"ok": true, "rtt_ms": 0.61},',
        '        "tcp": {"ok": true, "rtt_ms": 1.2},',
        '        "udp": {"ok": true, "rtt_ms": 0.7},',
        '        "dns": {"ok": true, "ms": 0.4},',
        '        "mtu": {"ok": true, "bytes": 1450}',
    ]
