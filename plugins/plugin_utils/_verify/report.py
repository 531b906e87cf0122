# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: every node's measurements of every other, as one record, and one sentence per fault."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import services as services_proof

SCHEMA = 1
CHECKS = ("icmp", "tcp", "udp", "dns", "mtu")


def nodes(containers: Mapping[str, Mapping[str, Any]], underlay: Mapping[str, str]) -> list[dict[str, str]]:
    """Each node's name, underlay and overlay address, from overlay_probe's answers.

    A node whose container did not start has no overlay address.
    """
    return [
        {"name": name, "underlay": underlay.get(name, ""), "overlay": str(found.get("address") or "")}
        for name, found in containers.items()
    ]


def peers(name: str, containers: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """The other nodes with a container, as overlay_probe_info takes them."""
    return [
        {"name": peer, "host": str(found["container"]), "address": str(found["address"])}
        for peer, found in containers.items()
        if peer != name and found.get("address")
    ]


def build(
    network: str,
    nodes: Sequence[Mapping[str, str]],
    answers: Mapping[str, Mapping[str, Any]],
    left_out: Mapping[str, str] | None = None,
    remarks: Sequence[str] = (),
    services: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The report of one verification.

    nodes: name, underlay and overlay address of each. answers: by the measuring node's name, its "peers" (the checks by
    the measured node's name), or its "trouble". A pair or a check without a measurement counts as failed: silence is no
    proof. left_out: the availability of nodes that take no containers. remarks: sentences on changes by the measurement
    itself, and on faults that may exist although all pairs pass. services: the proof of each service, as
    services.build() returns it.
    """
    troubles = {name: str(answer["trouble"]) for name, answer in answers.items() if answer.get("trouble")}
    pairs = []
    for source in nodes:
        for target in nodes:
            if source["name"] != target["name"]:
                found = answers.get(source["name"], {}).get("peers", {}).get(target["name"], {})
                reason = troubles.get(source["name"]) or troubles.get(target["name"]) or "not measured"
                checks = {check: dict(found.get(check) or {"ok": False, "reason": reason}) for check in CHECKS}
                pairs.append({"from": source["name"], "to": target["name"], "checks": checks})
    return {
        "schema": SCHEMA,
        "ok": bool(pairs) and not any(failed(pair) for pair in pairs) and all(one["ok"] for one in services),
        "network": network,
        "nodes": [dict(node) for node in nodes],
        "pairs": pairs,
        "left_out": dict(left_out or {}),
        "remarks": list(remarks),
        **({"services": [dict(service) for service in services]} if services else {}),
    }


def merge(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One report of several networks: the first one's shape, with the others under "more"."""
    whole = dict(reports[0])
    if len(reports) > 1:
        whole["more"] = [dict(report) for report in reports[1:]]
        whole["ok"] = all(report["ok"] for report in reports)
    return whole


def text(report: Mapping[str, Any], indent: str = "") -> str:
    """The report as JSON that people can read: the outcome, then a line for each node and each check of a pair."""
    inner = f"{indent}  "
    parts = []
    for key, value in report.items():
        if key == "more":
            written = _several([text(each, f"{inner}  ").rstrip() for each in value], inner)
        elif key == "pairs":
            written = _several([_pair_text(pair, f"{inner}  ") for pair in value], inner)
        elif isinstance(value, list):
            written = _several([json.dumps(each) for each in value], inner)
        else:
            written = json.dumps(value)
        parts.append(f"{inner}{json.dumps(key)}: {written}")
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}\n"


def _several(parts: Sequence[str], indent: str) -> str:
    return f"[\n{indent}  " + f",\n{indent}  ".join(parts) + f"\n{indent}]" if parts else "[]"


def _pair_text(pair: Mapping[str, Any], indent: str) -> str:
    """Its ends on one line, and each of its checks on one."""
    ends = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pair.items() if key != "checks"]
    checks = [f"{indent}    {json.dumps(name)}: {json.dumps(check)}" for name, check in pair["checks"].items()]
    return "{" + ", ".join(ends) + ', "checks": {\n' + ",\n".join(checks) + f"\n{indent}}}}}"


def faults(report: Mapping[str, Any]) -> list[str]:
    """One sentence per broken pair, or one on a report without pairs."""
    said = []
    if not report["pairs"]:
        said.append(f"nothing was proved of {report['network']}, as fewer than two nodes take containers.")
    for pair in report["pairs"]:
        broken = failed(pair)
        if broken:
            said.append(
                f"{pair['from']} does not reach {pair['to']} on {report['network']} by {', '.join(broken)}: "
                f"{_reasons(pair, broken)}.{_next(pair)}"
            )
    return said + services_proof.faults(report)


def _reasons(pair: Mapping[str, Any], broken: Sequence[str]) -> str:
    """Each reason once, with the checks that it is of where there are several."""
    checks: dict[str, list[str]] = {}
    for check in broken:
        checks.setdefault(str(pair["checks"][check].get("reason", "failed")), []).append(check)
    if len(checks) == 1:
        return next(iter(checks))
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in checks.items())


def _next(pair: Mapping[str, Any]) -> str:
    """Why it is so, where that is known, and what to run next."""
    cause = f" The cause: {pair['cause']}." if pair.get("cause") else ""
    return f"{cause} Run next: {pair['next']}" if pair.get("next") else cause


def failed(pair: Mapping[str, Any]) -> list[str]:
    """The checks that the pair fails."""
    return [check for check in CHECKS if not pair["checks"][check]["ok"]]
