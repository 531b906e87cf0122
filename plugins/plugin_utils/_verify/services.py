# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of services: what every node measured of every service, as part of a verification's report; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# In the order in which one builds on the other.
CHECKS = ("dns", "tasks", "each", "vip", "vip_udp", "bulk", "ports")
UNMEASURED = "not measured"


def build(
    started: Mapping[str, Any], answers: Mapping[str, Mapping[str, Any]], hosts: Sequence[str]
) -> list[dict[str, Any]]:
    """What was proved of each service.

    started: what service_probe returned, "services", or else "msg" that says why there are none. answers: by host that
    took part, its "services" (checks by the service's name) and "trouble" where it could not measure. A host that
    measured nothing of a service counts as failed: silence is no proof.
    """
    if "services" not in started:
        return [{"name": "", "ok": False, "reason": str(started.get("msg") or UNMEASURED), "checks": {}}]
    found = []
    for service in started["services"]:
        name = str(service["name"])
        checks = {host: _checks(answers.get(host) or {}, name) for host in hosts}
        reason = _short_of_tasks(service, len(hosts))
        found.append(
            {
                "name": name,
                "endpoint_mode": service["endpoint_mode"],
                "address": service["address"],
                "tasks": [{"node": task["node"], "address": task["address"]} for task in service["tasks"]],
                "ok": not reason and not any(failed(each) for each in checks.values()),
                **({"reason": reason} if reason else {}),
                "checks": checks,
            }
        )
    return found


def _checks(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    measured = (answer.get("services") or {}).get(name)
    return dict(measured or {"dns": {"ok": False, "reason": str(answer.get("trouble") or UNMEASURED)}})


def _short_of_tasks(service: Mapping[str, Any], hosts: int) -> str:
    """Why a service that is to have a task on each node has not."""
    number = len(service["tasks"])
    if service["endpoint_mode"] != "vip" or number >= hosts:
        return ""
    nodes = ", ".join(task["node"] for task in service["tasks"]) or "none"
    return f"it has {number} tasks on {hosts} nodes, namely on {nodes}; see 'docker node ls' and the nodes' journals"


def failed(checks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The checks that a host's measurement of a service does not pass."""
    return [check for check in CHECKS if check in checks and not checks[check]["ok"]]


def faults(report: Mapping[str, Any]) -> list[str]:
    """One sentence for each service and host that does not reach it."""
    said = []
    for service in report.get("services", []):
        if service.get("reason"):
            name = f" {service['name']}" if service["name"] else "s"
            said.append(f"the verification's service{name} on {report['network']}: {service['reason'].rstrip('.')}.")
        for host, checks in service["checks"].items():
            broken = failed(checks)
            if broken:
                reasons = "; ".join(f"{check}: {checks[check].get('reason', 'failed')}" for check in broken)
                said.append(f"{host} does not reach the service {service['name']} on {report['network']}: {reasons}.")
    return said


def lines(report: Mapping[str, Any]) -> list[str]:
    """What a person sees of it: one line where all is well, and one for each service that is not."""
    services = report.get("services", [])
    if not services:
        return []
    good = [service for service in services if service["ok"]]
    checks = {check for service in services for found in service["checks"].values() for check in found}
    passed = ", ".join(check for check in CHECKS if check in checks)
    said = [f"services: {len(good)} of {len(services)} pass {passed} from every node" if passed else "services: FAILED"]
    for service in services:
        broken = {host: failed(found) for host, found in service["checks"].items() if failed(found)}
        said += [f"{service['name']} from {host}: FAILED:{','.join(names)}" for host, names in broken.items()]
    return said


def limits(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences on what kernels can't do, each with the hosts that it is true of."""
    hosts: dict[str, list[str]] = {}
    for host, answer in answers.items():
        for words in answer.get("limits") or []:
            hosts.setdefault(str(words), []).append(host)
    return [f"on {', '.join(names)}, {words}" for words, names in hosts.items()]
