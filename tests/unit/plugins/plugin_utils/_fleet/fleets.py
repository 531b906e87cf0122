# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as host_info finds them, and plans for fleets of them."""

from __future__ import annotations

from typing import Any

from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import plan as fleet_plan


def host(**more: Any) -> dict[str, Any]:
    python = {"path": "/usr/bin/python3", "version": "3.13.5", "error": ""}
    found = {
        "problems": [],
        "devices": [],
        "routes": [],
        "ipv6": {"enabled": True, "forwarding": "device"},
        "docker": {"swarm": "inactive"},
        "sshd": {},
        "python": python,
    }
    return {"host": {**found, **more}}


def planned(hosts: dict[str, dict[str, Any]], **found: dict[str, Any]) -> dict[str, Any]:
    return fleet_plan.plan(hosts, {name: found.get(name, host()) for name in hosts})


def settled(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The hosts of a planned fleet as host_info finds them when site has run."""
    return {
        name: host(
            devices=[
                {"name": each["name"], "alias": f"overssh {each['peer']}", "addresses": each["addresses"]}
                for each in node["devices"]
            ]
        )
        for name, node in plan["nodes"].items()
    }
