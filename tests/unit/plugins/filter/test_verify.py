# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of a verification read what hosts hold from variables whose names they are given."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.filter.verify_explained import verify_explained
from ansible_collections.overssh.swarm.plugins.filter.verify_peers import verify_peers
from ansible_collections.overssh.swarm.plugins.filter.verify_report import verify_report

from tests.unit.roles.test_roles import PROJECT

UNDERLAY = {"a": "172.30.0.1", "b": "172.30.0.2", "c": "172.30.0.3"}
CHECKS = {check: {"ok": True} for check in ("icmp", "tcp", "udp", "dns", "mtu")}
HOSTVARS: dict[str, dict[str, Any]] = {
    "a": {
        "begun": {"container": "probe-a", "address": "10.200.0.2"},
        "seen": {"peers": {"b": CHECKS}},
        "why": {"causes": [{"kind": "firewall", "why": "a rule drops them", "next": "run it", "peer": "b"}]},
    },
    "b": {"begun": {"container": "probe-b", "address": "10.200.0.3"}, "seen": {"trouble": "no container"}},
    "c": {},
}
FILTERS = sorted((PROJECT / "plugins" / "filter").glob("*.py"))


def test_peers_come_from_the_variable_that_is_named() -> None:
    (peer,) = verify_peers(list(HOSTVARS), HOSTVARS, "begun", "a")
    assert peer == {"name": "b", "host": "probe-b", "address": "10.200.0.3"}
    assert verify_peers(list(HOSTVARS), HOSTVARS, "other", "a") == []


def test_a_report_comes_from_the_two_variables_that_are_named() -> None:
    report = verify_report(["a", "b"], HOSTVARS, "begun", "seen", "overssh", UNDERLAY, {"c": "drain"})
    assert [node["overlay"] for node in report["nodes"]] == ["10.200.0.2", "10.200.0.3"]
    there, back = report["pairs"]
    assert there["checks"] == CHECKS
    assert back["checks"]["icmp"] == {"ok": False, "reason": "no container"}
    assert (report["network"], report["left_out"]) == ("overssh", {"c": "drain"})


def test_causes_come_from_the_variable_that_is_named() -> None:
    report = verify_report(["a", "b"], HOSTVARS, "begun", "seen", "overssh", UNDERLAY)
    there, back = verify_explained(report, list(HOSTVARS), HOSTVARS, "why")["pairs"]
    assert "next" not in there
    assert back["cause"].endswith("a rule drops them")
    assert "cause" not in verify_explained(report, list(HOSTVARS), HOSTVARS, "other")["pairs"][1]


@pytest.mark.parametrize("path", FILTERS, ids=lambda path: str(path.stem))
def test_no_filter_names_a_variable_of_a_role(path: Any) -> None:
    assert re.findall(r"hostvars\[[^]]+\](?:\.get\(|\[)[\"']\w+", path.read_text(encoding="utf-8")) == []
