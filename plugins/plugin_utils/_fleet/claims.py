# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims of others on devices, forwarding and the port of VXLAN that the fleet needs; pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.overssh.swarm.plugins.module_utils._tun.managers import NETWORKD

# Docker numbers its VXLAN devices from here on.
FIRST_VNI = 4096
# More than these are counted, not named.
NAMED = 8
Found = Mapping[str, Mapping[str, Any]]


def problems(found: Found, devices: Mapping[str, Sequence[str]], settings: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on programs that hold VXLAN's port, and on those with which no tunnel works.

    devices: see warnings().
    """
    port = settings["data_path_port"]
    for name, answer in found.items():
        host = answer.get("host", {})
        held = host.get("vxlan_port") or {}
        if held.get("port") == port and held.get("holder"):
            yield (
                f"{name}: {held['holder']} has UDP port {port}, which VXLAN needs; stop it, or set "
                "overssh_data_path_port to another one."
            )
        for device in host.get("vxlans", []):
            if device["port"] == port and device["alone"]:
                yield (
                    f"{name}: the VXLAN device {device['name']} has UDP port {port} for itself, so Docker can't "
                    "have it; set overssh_data_path_port to another one."
                )
        yield from _managed(name, host.get("managers", []), devices.get(name, ()), breaks=True)


def warnings(
    found: Found, devices: Mapping[str, Sequence[str]], hubs: Collection[str], settings: Mapping[str, Any]
) -> Iterator[str]:
    """Sentences on programs that may change the fleet's devices later. devices: by node the names of its devices."""
    for name, answer in found.items():
        host = answer.get("host", {})
        for device in host.get("vxlans", []):
            if device["port"] == settings["data_path_port"] and not device["alone"] and device["vni"] >= FIRST_VNI:
                yield (
                    f"{name}: the VXLAN device {device['name']} has UDP port {device['port']} and the number "
                    f"{device['vni']}, which Docker may take for a network of its own, and then can't; better set "
                    "overssh_data_path_port to another port."
                )
        yield from _managed(name, host.get("managers", []), devices.get(name, ()), breaks=False)
        yield from _reset(
            name, host.get("sysctl", []), devices.get(name, ()), name in hubs, bool(settings["underlay6"])
        )


def _managed(name: str, claims: Sequence[Mapping[str, Any]], devices: Sequence[str], breaks: bool) -> Iterator[str]:
    """The files by which others manage the devices; breaks: those with which no tunnel works, or the others."""
    named: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
    for device in devices:
        decided = set()
        for claim in claims:
            who = (claim["by"], claim["kind"])
            if who in decided or not _fits(claim, device):
                continue
            if claim["kind"] == "network" and _name(claim) > NETWORKD.file.format(device=device):
                continue  # site puts a file before it by which the device is left alone
            if claim["kind"] in ("network", "link", "taker"):  # of these the first one that fits is taken
                decided.add(who)
            if not claim["harmless"] and claim["breaks"] is breaks:
                named.setdefault(claim["place"], (claim, []))[1].append(device)
    for place, (claim, taken) in named.items():
        if claim["kind"] == "taker":
            yield (
                f"{name}: {claim['by']} takes {_all(taken)}, as {place} does not keep it from them, and "
                f"{claim['does']}; {claim['way_out']}."
            )
            continue
        yield (
            f"{name}: {claim['by']} has {' '.join(claim['patterns'])} in {place}, which fits {_some(taken)}, and "
            f"{claim['does']}; narrow it, so that it is not about devices called {_some(taken)}."
        )


def _name(claim: Mapping[str, Any]) -> str:
    """The name of a claim's file, by which networkd orders them."""
    path, _line, _number = str(claim["place"]).rpartition(" line ")
    return path.rpartition("/")[2]


def _fits(claim: Mapping[str, Any], device: str) -> bool:
    fits = any(fnmatch.fnmatchcase(device, pattern) for pattern in claim["patterns"])
    return fits is not bool(claim["negated"])


def _some(devices: Sequence[str]) -> str:
    return devices[0] if len(devices) == 1 else f"{devices[0]} and {len(devices) - 1} more"


def _all(devices: Sequence[str]) -> str:
    """All of them, as they have to be named elsewhere, as long as a sentence can have them."""
    ordered = sorted(devices)
    return f"{', '.join(ordered[:-1])} and {ordered[-1]}" if 1 < len(ordered) <= NAMED else _some(ordered)


def _reset(
    name: str, assignments: Sequence[Mapping[str, Any]], devices: Sequence[str], hub: bool, ipv6: bool
) -> Iterator[str]:
    """The files that set anew what the devices need, whenever sysctl reads them."""
    for entry in assignments:
        key, value = entry["key"], entry["value"]
        if not _harms(key, value, devices, hub, ipv6):
            continue
        yield (
            f"{name}: {key} = {value} in {entry['place']} takes effect again whenever 'sysctl --system' runs, and the "
            f"tunnels' devices need it otherwise; take the line out, or set it to {_needed(key)} there."
        )


def _harms(key: str, value: str, devices: Sequence[str], hub: bool, ipv6: bool) -> bool:
    """Whether an assignment undoes something that a device of the node needs."""
    parts = key.split(".")
    whose, last = (parts[3], parts[4]) if len(parts) == 5 else ("all", parts[-1])
    mine = whose == "all" or any(fnmatch.fnmatchcase(device, whose) for device in devices)
    if last in ("ip_forward", "forwarding", "force_forwarding"):
        wanted = hub and mine and (parts[1] == "ipv4" or ipv6)
        return wanted and value == "0"
    if last == "rp_filter":
        # Of a device's own value and that of all the larger one holds, and loose (2) is what ours have.
        return value == "1" and whose != "all" and mine
    return last == "disable_ipv6" and ipv6 and value == "1" and (mine or whose == "default")


def _needed(key: str) -> str:
    return {"rp_filter": "2", "disable_ipv6": "0"}.get(key.rpartition(".")[2], "1")
