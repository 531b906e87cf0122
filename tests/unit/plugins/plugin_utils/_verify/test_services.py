# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import matrix, report, services

HOSTS = ["a", "b"]
GOOD = {check: {"ok": True} for check in services.CHECKS}
PLAIN = {check: {"ok": True} for check in ("dns", "tasks", "each")}
STARTED = {
    "services": [
        {
            "name": "v-global",
            "endpoint_mode": "vip",
            "address": "10.200.0.8",
            "tasks": [
                {"id": "1", "node": "a", "address": "10.200.0.9"},
                {"id": "2", "node": "b", "address": "10.200.0.10"},
            ],
        },
        {
            "name": "v-replicated",
            "endpoint_mode": "dnsrr",
            "address": "",
            "tasks": [{"id": "3", "node": "a", "address": "10.200.0.11"}],
        },
    ]
}
MEASURED = {"services": {"v-global": GOOD, "v-replicated": PLAIN}}
PAIRS = {check: {"ok": True, "rtt_ms": 1.0, "bytes": 1450} for check in report.CHECKS}
NODES = [{"name": host, "underlay": "", "overlay": "10.200.0.1"} for host in HOSTS]


def whole(started: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
    """The report of two nodes that reach each other."""
    peers = {host: {**answers[host], "peers": {other: PAIRS for other in HOSTS if other != host}} for host in HOSTS}
    return report.build("overssh", NODES, peers, services=services.build(started, answers, HOSTS))


def test_services_that_every_node_reaches() -> None:
    found = whole(STARTED, {"a": MEASURED, "b": MEASURED})
    assert found["ok"]
    assert report.faults(found) == []
    assert (
        matrix.matrix(found)[-1] == "services: 2 of 2 pass dns, tasks, each, vip, vip_udp, bulk, ports from every node"
    )
    assert found["services"][0]["tasks"] == [
        {"node": "a", "address": "10.200.0.9"},
        {"node": "b", "address": "10.200.0.10"},
    ]


def test_one_that_a_node_does_not_reach_breaks_the_report() -> None:
    broken = {**GOOD, "vip": {"ok": False, "reason": "1 of 2 tasks answered"}}
    found = whole(STARTED, {"a": MEASURED, "b": {"services": {**MEASURED["services"], "v-global": broken}}})
    assert not found["ok"]
    assert report.faults(found) == ["b does not reach the service v-global on overssh: vip: 1 of 2 tasks answered."]
    assert matrix.matrix(found)[-2:] == [
        "services: 1 of 2 pass dns, tasks, each, vip, vip_udp, bulk, ports from every node",
        "v-global from b: FAILED:vip",
    ]


def test_what_nobody_measured_is_broken() -> None:
    found = whole(STARTED, {"a": MEASURED, "b": {"trouble": "no container"}})
    assert "b does not reach the service v-replicated on overssh: dns: no container." in report.faults(found)


def test_services_that_could_not_be_made_say_why() -> None:
    found = whole(
        {"msg": "all services having converged did not happen within 90 s; v-global: 1 of 2 tasks run."},
        {"a": {}, "b": {}},
    )
    assert not found["ok"]
    assert report.faults(found) == [
        "the verification's services on overssh: all services having converged did not happen within 90 s; v-global: "
        "1 of 2 tasks run."
    ]
    assert matrix.matrix(found)[-1] == "services: FAILED"


def test_a_node_that_got_no_task_is_missed() -> None:
    short = {"services": [{**STARTED["services"][0], "tasks": STARTED["services"][0]["tasks"][:1]}]}
    (fault,) = report.faults(whole(short, {"a": MEASURED, "b": MEASURED}))
    assert fault.startswith("the verification's service v-global on overssh: it has 1 tasks on 2 nodes, namely on a;")


def test_kernels_without_ipvs_are_named_together_and_break_nothing() -> None:
    plain = {"services": {"v-global": PLAIN, "v-replicated": PLAIN}, "limits": ["the kernel has no IPVS"]}
    assert services.limits({"a": plain, "b": plain, "c": MEASURED}) == ["on a, b, the kernel has no IPVS"]
    found = whole(STARTED, {"a": plain, "b": plain})
    assert found["ok"]
    assert matrix.matrix(found)[-1] == "services: 2 of 2 pass dns, tasks, each from every node"


def test_without_services_the_report_is_as_before() -> None:
    found = report.build("overssh", NODES, {})
    assert "services" not in found
    assert services.lines(found) == []
