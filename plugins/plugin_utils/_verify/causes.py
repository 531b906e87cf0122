# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Match each host's findings about itself and others to the broken pairs that they explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.overssh.swarm.plugins.module_utils._overlay.cause import KINDS

from .report import failed

# What a host between two others may have to do with it.
IN_BETWEEN = ("undone", "forwarding", "firewall", "docker_rules")
# Where smaller packets cross, these have nothing to do with it.
ONLY_LARGE = ("firewall",)
REMAKE = "ansible-playbook overssh.swarm.overlay -e overlay_on_change=recreate"


def suspects(report: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    """The nodes whose pairs with this node are broken, as overlay_cause_info takes them."""
    broken = {
        pair["to"] if pair["from"] == name else pair["from"]
        for pair in report["pairs"]
        if name in (pair["from"], pair["to"]) and failed(pair)
    }
    return [
        {"name": node["name"], "address": node["underlay"]}
        for node in report["nodes"]
        if node["name"] in broken and node["underlay"]
    ]


def explained(
    report: Mapping[str, Any], looked: Mapping[str, Sequence[Mapping[str, str]]], port: int
) -> dict[str, Any]:
    """The report, where each broken pair has "next", the command to run, and "cause" where it is known.

    looked: by host, the answers of overlay_cause_info; port: VXLAN's.
    """
    underlay = {node["name"]: node["underlay"] for node in report["nodes"]}
    pairs = [
        {**pair, **_explanation(pair, looked, underlay, port)} if failed(pair) else dict(pair)
        for pair in report["pairs"]
    ]
    return {**report, "pairs": pairs}


def _explanation(
    pair: Mapping[str, Any], looked: Mapping[str, Sequence[Mapping[str, str]]], underlay: Mapping[str, str], port: int
) -> dict[str, str]:
    source, target = pair["from"], pair["to"]
    only_large = failed(pair) == ["mtu"]
    found = [
        (KINDS.index(cause["kind"]), (target, source, host).index(host), host, cause)
        for host, causes in looked.items()
        for cause in causes
        if _explains(cause, host, source, target, underlay) and (not only_large or cause["kind"] in ONLY_LARGE)
    ]
    if found:
        _kind, _order, host, cause = min(found, key=lambda one: one[:2])
        command = cause["next"].replace("{host}", host)
        return {"cause": f"on {host}, {cause['why']}", "next": command or _trace(source, target, underlay, port)}
    return {"next": REMAKE if only_large else _trace(source, target, underlay, port)}


def _explains(cause: Mapping[str, str], host: str, source: str, target: str, underlay: Mapping[str, str]) -> bool:
    about = cause["peer"]
    if cause["kind"] == "node":  # any manager knows of all nodes, by their addresses
        return about in (underlay.get(source), underlay.get(target))
    if host in (source, target):
        return about in ("", target if host == source else source)
    return not about and cause["kind"] in IN_BETWEEN


def _trace(source: str, target: str, underlay: Mapping[str, str], port: int) -> str:
    """The command that traces a VXLAN packet through the firewall at its target."""
    words = f"protocol=udp port={port} source={underlay.get(source)} destination={underlay.get(target)} peer={source}"
    return f"ansible {target} -b -m overssh.swarm.nft_trace -a '{words}'"


def remarks(containers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences on Docker's own rules: those missing before the verification, and those still missing.

    containers: overlay_probe's answers, by host.
    """
    said = []
    for host, found in containers.items():
        if found.get("restored"):
            said.append(
                f"on {host}, {', '.join(found['restored'])} was missing until the container of this verification had "
                "Docker make it again; before, other traffic may have been dropped there"
            )
        if found.get("missing"):
            said.append(
                f"on {host}, {', '.join(found['missing'])} is missing, which Docker makes and somebody has removed; "
                f"'systemctl restart docker' makes it again, when the containers there may be interrupted"
            )
    return said
