# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of a verification: as wide as a terminal, and whole in whatever Ansible prints it with."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import yaml
from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import report as verify_report
from ansible_collections.overssh.swarm.plugins.plugin_utils._verify.matrix import FRAME, LARGEST, SHOWN, matrix


def passed(size: int = 64950, rtt: float = 0.61) -> dict[str, Any]:
    return {
        "icmp": {"ok": True, "rtt_ms": rtt},
        "tcp": {"ok": True, "rtt_ms": 1.2},
        "udp": {"ok": True, "rtt_ms": 0.7},
        "dns": {"ok": True, "ms": 0.4},
        "mtu": {"ok": True, "bytes": size},
    }


def report_of(
    names: Iterable[str],
    broken: Mapping[tuple[str, str], Iterable[str]] | None = None,
    checks: Mapping[tuple[str, str], dict[str, Any]] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The report of a fleet whose pairs all pass but these, by the checks that fail."""
    names = list(names)
    answers: dict[str, dict[str, Any]] = {name: {"peers": {}} for name in names}
    for pair in itertools.permutations(names, 2):
        lacking = {check: {"ok": False, "reason": "no answer"} for check in (broken or {}).get(pair, ())}
        answers[pair[0]]["peers"][pair[1]] = {**(checks or {}).get(pair, passed()), **lacking}
    nodes = [{"name": name, "underlay": "", "overlay": ""} for name in names]
    return verify_report.build("net", nodes, answers, left_out)


def fleet(number: int) -> list[str]:
    return [f"edge{position}" for position in range(1, number + 1)]


def test_it_shows_who_reaches_whom() -> None:
    broken = {("edge1", "edge2"): ["udp", "dns"], ("edge2", "edge3"): verify_report.CHECKS}
    assert matrix(report_of(fleet(3), broken)) == [
        "network net: 4 of 6 pairs pass icmp, tcp, udp, dns, mtu",
        "from/to  edge1  edge2           edge3",
        "edge1    -      FAILED:udp,dns  0.6ms",
        "edge2    0.6ms  -               FAILED",
        "edge3    0.6ms  0.6ms           -",
        "largest packets: 64950 bytes",
    ]


def test_packets_that_are_not_of_the_same_size_everywhere_are_in_the_cells() -> None:
    lines = matrix(report_of(fleet(2), checks={("edge1", "edge2"): passed(1450, 12.34)}))
    assert lines[2:] == [
        "edge1    -            12.3ms/1450",
        "edge2    0.6ms/64950  -",
        "largest packets: 1450 to 64950 bytes",
    ]


def test_columns_have_numbers_where_their_names_are_too_wide() -> None:
    names = [f"node{number}.cluster.example.org" for number in range(1, 5)]
    lines = matrix(report_of(names), columns=80)
    assert lines[1:3] == [
        "from/to                      1      2      3      4",
        "1=node1.cluster.example.org  -      0.6ms  0.6ms  0.6ms",
    ]
    assert matrix(report_of(names), columns=160)[1].split() == ["from/to", *names]


def test_nodes_that_took_no_part_are_named() -> None:
    lines = matrix(report_of(fleet(2), left_out={"c": "drain", "d": "pause"}))
    assert lines[-1] == "left out, as they take no containers: c (drain), d (pause)"


def test_a_fleet_of_twenty_is_shown_by_what_is_broken() -> None:
    names = fleet(20)
    broken = {("edge3", "edge4"): ["udp"]}
    for other in names:
        broken |= {("edge7", other): list(verify_report.CHECKS), (other, "edge7"): ["icmp", "tcp"]}
    checks = {("edge1", "edge2"): passed(rtt=31.0), ("edge2", "edge1"): passed(rtt=0.2)}
    assert matrix(report_of(names, broken, checks), path="reports/verify.json") == [
        "network net: 341 of 380 pairs pass icmp, tcp, udp, dns, mtu",
        "edge7 to all others: FAILED:icmp,tcp,udp,dns,mtu",
        "all others to edge7: FAILED:icmp,tcp",
        "edge3 to edge4: FAILED:udp",
        "edge3 reaches 17 of 18, is reached by 18",
        "edge4 reaches 18 of 18, is reached by 17",
        "17 of 19 nodes besides reach all others, and are reached by all",
        "round trips: 0.2ms to 31.0ms",
        "the longest: edge1 to edge2",
        "every pair: reports/verify.json",
        "largest packets: 64950 bytes",
    ]


def test_a_fleet_of_twenty_without_a_fault_takes_few_lines() -> None:
    assert matrix(report_of(fleet(20)), path="reports/verify.json") == [
        "network net: 380 of 380 pairs pass icmp, tcp, udp, dns, mtu",
        "20 of 20 nodes reach all others, and are reached by all",
        "round trips: 0.6ms to 0.6ms",
        "the longest: edge1 to edge2",
        "every pair: reports/verify.json",
        "largest packets: 64950 bytes",
    ]


def test_what_is_broken_everywhere_is_counted() -> None:
    names = fleet(60)
    broken = {
        pair: ["mtu"] for pair in itertools.permutations(names, 2) if int(pair[0][4:]) % 2 != int(pair[1][4:]) % 2
    }
    lines = matrix(report_of(names, broken))
    assert len(lines) < 50
    assert f"and {len(broken) - SHOWN} broken pairs more" in lines
    assert f"and {60 - SHOWN} nodes more" in lines


def test_of_one_node_or_none_there_is_nothing_to_show() -> None:
    assert matrix(report_of(["edge1"]))[0] == "network net: 0 of 0 pairs pass icmp, tcp, udp, dns, mtu"
    assert matrix(report_of([]))[0] == "network net: 0 of 0 pairs pass icmp, tcp, udp, dns, mtu"


@pytest.mark.parametrize("number", [2, 3, LARGEST, LARGEST + 1, 20])
@pytest.mark.parametrize("name", ["edge{}", "node{}.cluster.example.org"])
@pytest.mark.parametrize("columns", [80, 120, 200])
def test_no_line_is_folded_or_escaped_and_none_is_wider_than_the_terminal(number: int, name: str, columns: int) -> None:
    names = [name.format(position) for position in range(1, number + 1)]
    sizes = {pair: passed(1450 + int(pair[0] < pair[1]), 1234.5) for pair in itertools.permutations(names, 2)}
    broken = {(names[0], names[1]): ["udp", "dns"]}
    for report in (report_of(names), report_of(names, broken), report_of(names, checks=sizes)):
        lines = matrix(report, columns)
        # Two long names take what they take.
        assert max(len(line) for line in lines if " to " not in line) + FRAME <= columns, lines
        # As Ansible's callbacks print them: each on a line of its own, letter by letter.
        for printed in (yaml.dump({"msg": lines}, default_flow_style=False), json.dumps({"msg": lines}, indent=4)):
            assert len(printed.splitlines()) - len(lines) in (1, 4)
            assert [line for line in lines if line not in printed] == []
