# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who dials whom, and what preflight says where all is well."""

from __future__ import annotations

from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import plan as fleet_plan
from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import ways

from tests.unit.plugins.plugin_utils._fleet.fleets import host, planned, settled

FLEET: dict[str, dict[str, Any]] = {
    "cloud1": {"overssh_hub": True, "ansible_host": "198.51.100.7", "overssh_dial_port": 2222},
    "edge1": {"ansible_host": "192.0.2.21"},
    "edge2": {"ansible_host": "edge2.example.org"},
}


def test_hosts_are_told_whom_they_dial_and_from_where_they_are() -> None:
    dial = {"peer": "cloud1", "host": "198.51.100.7", "port": 2222}
    assert ways.ways(FLEET) == {
        "cloud1": {"dials": [], "dialled_by": [{"name": "edge1", "address": "192.0.2.21"}], "encrypted": False},
        "edge1": {"dials": [dial], "dialled_by": [], "encrypted": False},
        "edge2": {"dials": [dial], "dialled_by": [], "encrypted": False},
    }


def test_hosts_are_asked_for_esp_only_where_a_network_is_encrypted() -> None:
    networks = '[{"name": "a", "subnet": "10.8.0.0/24"}, {"name": "b", "subnet": "10.9.0.0/24", "encrypted": true}]'
    found = ways.ways({name: {**variables, "overssh_overlays": networks} for name, variables in FLEET.items()})
    assert [host["encrypted"] for host in found.values()] == [True, True, True]


def test_through_a_jump_host_that_one_is_dialled() -> None:
    fleet = {**FLEET, "inner": {"overssh_hub": True, "overssh_jump": "cloud1", "ansible_host": "10.9.9.9"}}
    first = {"peer": "cloud1", "host": "198.51.100.7", "port": 2222}
    assert ways.ways(fleet)["edge1"]["dials"] == [first, first]


def test_wrong_settings_are_no_trouble_here() -> None:
    assert ways.ways({"a": {"overssh_hub": "perhaps"}, "b": {"overssh_jump": "nobody"}})["a"]["dials"] == []


def test_a_preflight_that_passes_says_in_three_lines_what_it_found_and_what_site_would_do() -> None:
    docker = {"swarm": "inactive", "version": "26.1.5"}
    found = {name: host(docker=docker) for name in FLEET}
    assert fleet_plan.plan(FLEET, found)["summary"] == [
        "Found: 3 hosts fit to take part, Docker 26.1.5; cloud1 as hub, cloud1 as manager.",
        "Plan: edge1 and edge2 dial cloud1 at 198.51.100.7 port 2222; underlay 172.30.0.0/16, overlay network overssh "
        "10.200.0.0/24.",
        "site would make 2 links, start a swarm on cloud1, join edge1 and edge2 to it, open the firewalls where "
        "they would drop the swarm's packets, and verify.",
    ]


def test_of_a_finished_fleet_it_says_that_nothing_is_left() -> None:
    plan = planned(FLEET)
    found = settled(plan)
    for name, answer in found.items():
        answer["host"]["docker"] = {"swarm": "active", "swarm_address": plan["addresses"][name]}
    assert fleet_plan.plan(FLEET, found)["summary"][2] == (
        "site would find all links made and all hosts in the swarm, see that firewalls and networks are so too, and "
        "verify."
    )
    grown = fleet_plan.plan({**FLEET, "edge3": {}}, {**found, "edge3": host()})
    assert grown["summary"][2].startswith("site would make 1 link of 3, join edge3 to the swarm, open")


def test_of_a_large_fleet_names_are_counted() -> None:
    fleet = {**FLEET, **{f"edge{number}": {} for number in range(3, 21)}}
    lines = planned(fleet)["summary"]
    assert "edge1, edge2, edge3 and 17 more dial cloud1" in lines[1]
    assert all(len(line) < 250 for line in lines)
