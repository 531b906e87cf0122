# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's own firewall rules: which ones were removed since the engine made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._core.command import Runner
from .._core.errors import OversshError
from .._core.files import read_text
from .._linux import proc
from . import daemon

PROCESS = "/var/run/docker.pid"
NAME, MASQUERADE = "com.docker.network.bridge.name", "com.docker.network.bridge.enable_ip_masquerade"
JUMP = "the jump from FORWARD to DOCKER-USER"
CURE = "'systemctl restart docker' makes it anew, when the containers on that host may be interrupted"


def missing(run: Runner, docker: Any) -> list[str]:
    """The missing rules in words; empty where the engine writes no iptables rules."""
    if not _by_iptables():
        return []
    forward = run(["iptables", "-w", "5", "-S", "FORWARD"], check=False)
    nat = run(["iptables", "-w", "5", "-t", "nat", "-S", "POSTROUTING"], check=False)
    if forward.rc != 0 or nat.rc != 0:
        return []
    return lost(forward.stdout, nat.stdout, docker.networks(filters={"driver": "bridge"}))


def lost(forward: str, nat: str, networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """The missing rules, from what iptables prints of both chains, and the engine's bridges."""
    found = [] if "-A FORWARD -j DOCKER-USER" in forward.splitlines() else [JUMP]
    masqueraded = {
        words[words.index("-s") + 1]
        for line in nat.splitlines()
        if "MASQUERADE" in (words := line.split()) and "-s" in words
    }
    for network in networks:
        options = network.get("Options") or {}
        if options.get(MASQUERADE) == "false" or network.get("Internal"):
            continue
        for pool in (network.get("IPAM") or {}).get("Config") or []:
            subnet = str(pool.get("Subnet") or "")
            if ":" not in subnet and subnet and subnet not in masqueraded:
                found.append(f"the masquerading of {options.get(NAME) or network['Name']} ({subnet})")
    return found


def _by_iptables() -> bool:
    """Whether this engine makes rules of iptables at all."""
    try:
        number = (read_text(PROCESS) or "").strip()
    except OversshError:
        return False
    words = proc.command_line(int(number)) if number.isdecimal() else []
    return daemon.makes_iptables_rules(daemon.settings(words, read_text)[0])
