# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof: what every node measured of every other, as one record, one table and one sentence per fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = 1
CHECKS = ("icmp", "tcp", "udp", "dns", "mtu")


def nodes(containers: Mapping[str, Mapping[str, Any]], underlay: Mapping[str, str]) -> list[dict[str, str]]:
    """Each node's name, underlay and overlay address, from what overlay_probe returned on it.

    A node whose container did not start has no overlay address.
    """
    return [
        {"name": name, "underlay": underlay.get(name, ""), "overlay": str(found.get("address") or "")}
        for name, found in containers.items()
    ]


def peers(name: str, containers: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Whom a node has to check, as overlay_probe_info takes them: every other node that has a container."""
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
) -> dict[str, Any]:
    """The report of one verification.

    nodes: name, underlay and overlay address of each. answers: by name of the node that measured, its "peers" (the
    checks by name of the node that it measured), or the "trouble" that kept it from measuring. A pair or a check that
    nobody measured counts as failed: silence is no proof. left_out: the availability of nodes that take no containers.
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
        "ok": bool(pairs) and not any(_failed(pair) for pair in pairs),
        "network": network,
        "nodes": [dict(node) for node in nodes],
        "pairs": pairs,
        "left_out": dict(left_out or {}),
    }


def merge(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One report of several networks: the first one's shape, with the others under "more"."""
    whole = dict(reports[0])
    if len(reports) > 1:
        whole["more"] = [dict(report) for report in reports[1:]]
        whole["ok"] = all(report["ok"] for report in reports)
    return whole


def matrix(report: Mapping[str, Any]) -> list[str]:
    """The report as a table for people: a row per node that asks, a column per node that is asked."""
    names = [node["name"] for node in report["nodes"]]
    cells = {(pair["from"], pair["to"]): _cell(pair) for pair in report["pairs"]}
    rows = [["from \\ to", *names]]
    rows += [[source, *(cells.get((source, target), "-") for target in names)] for source in names]
    widths = [max(len(row[column]) for row in rows) for column in range(len(names) + 1)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    good = sum(not _failed(pair) for pair in report["pairs"])
    summary = f"network {report['network']}: {good} of {len(report['pairs'])} pairs pass {', '.join(CHECKS)}"
    left_out = ", ".join(f"{name} ({word})" for name, word in report.get("left_out", {}).items())
    return [summary, *lines, *([f"left out, as they take no containers: {left_out}"] if left_out else [])]


def faults(report: Mapping[str, Any]) -> list[str]:
    """One sentence per broken pair, or one that there is none at all."""
    said = []
    if not report["pairs"]:
        said.append(f"nothing was proved of {report['network']}, as fewer than two nodes take containers.")
    for pair in report["pairs"]:
        failed = _failed(pair)
        if failed:
            reasons = {check: str(pair["checks"][check].get("reason", "failed")) for check in failed}
            shared = set(reasons.values())
            told = shared.pop() if len(shared) == 1 else "; ".join(f"{check}: {why}" for check, why in reasons.items())
            said.append(
                f"{pair['from']} does not reach {pair['to']} on {report['network']} by {', '.join(failed)}: {told}."
            )
    return said


def _failed(pair: Mapping[str, Any]) -> list[str]:
    return [check for check in CHECKS if not pair["checks"][check]["ok"]]


def _cell(pair: Mapping[str, Any]) -> str:
    failed = _failed(pair)
    if failed:
        return "FAILED " + ",".join(failed)
    checks = pair["checks"]
    return f"ok {checks['icmp']['rtt_ms']:.1f} ms, {checks['mtu']['bytes']} bytes"
