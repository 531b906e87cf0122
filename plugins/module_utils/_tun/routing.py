# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's routing for a tun device: the kernel's settings of the device, and the rules that name it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from .._core.errors import OversshError
from .._core.files import read_text

FORWARDING = "net/ipv4/conf/{}/forwarding"
# From Linux 6.17 on; before, and for what comes in over other devices, there is one switch for the whole host.
FORWARDING_6 = "net/ipv6/conf/{}/force_forwarding"
HOST_FORWARDING_6 = "net/ipv6/conf/all/forwarding"
# A route through a device without carrier is passed over, and a packet may come from where its answer would not go.
IGNORE_LINKDOWN = "net/ipv4/conf/{}/ignore_routes_with_linkdown"
IGNORE_LINKDOWN_6 = "net/ipv6/conf/{}/ignore_routes_with_linkdown"
SOURCE_CHECK = "net/ipv4/conf/{}/rp_filter"
LOOSE = "2"

AF_INET, AF_INET6 = 2, 10
FAMILIES = (AF_INET, AF_INET6)
# Numbers of linux/fib_rules.h, and the places of our rules: before those of the host's own tables.
FR_ACT_TO_TBL, FR_ACT_UNREACHABLE = 1, 7
LOOKUP_PRIORITY, REFUSE_PRIORITY = 7946, 7947


def proc_path(setting: str, device: str) -> str:
    """The path of a kernel setting."""
    return f"/proc/sys/{setting.format(device)}"


def failover_values(wanted: bool, default_check: str) -> dict[str, str]:
    """The settings that failover needs; default_check: the host's source check for new devices."""
    number = str(int(wanted))
    return {IGNORE_LINKDOWN: number, SOURCE_CHECK: LOOSE if wanted else default_check, IGNORE_LINKDOWN_6: number}


def forwarding(device: str) -> bool:
    """Whether the host forwards IPv4 packets that come in over the device."""
    return _read(FORWARDING, device) == "1"


def set_forwarding(device: str, wanted: bool) -> None:
    """Turn forwarding of IPv4 on or off for the device."""
    _write(FORWARDING, device, str(int(wanted)))


def forwarding_6(device: str) -> bool:
    """Whether the host forwards IPv6 packets that come in over the device."""
    return _read(FORWARDING_6 if _forwards_by_device(device) else HOST_FORWARDING_6, device) == "1"


def set_forwarding_6(device: str, wanted: bool) -> None:
    """Turn forwarding of IPv6 on or off for the device; OversshError where the kernel has no setting for one device."""
    if not _forwards_by_device(device):
        if forwarding_6(device) == wanted:
            return
        raise OversshError(one_switch(device, wanted))
    _write(FORWARDING_6, device, str(int(wanted)))


def one_switch(device: str, wanted: bool) -> str:
    """The sentence on a kernel that has one setting of forwarding6 for the whole host."""
    return (
        f"forwarding6 of {device} can't be set to {str(wanted).lower()}: this kernel is older than 6.17 and "
        "forwards IPv6 for the whole host or not at all; it goes by net.ipv6.conf.all.forwarding, which is yours "
        "to set, with accept_ra=2 on devices that take their addresses from a router"
    )


def host_forwards_6() -> bool | None:
    """Whether the whole host forwards IPv6, None where the kernel decides by device."""
    return None if _forwards_by_device("default") else _read(HOST_FORWARDING_6, "all") == "1"


def _forwards_by_device(device: str) -> bool:
    return os.path.exists(proc_path(FORWARDING_6, device))


def failover(device: str) -> bool:
    """Whether routes through the device give way while no process holds it."""
    return _read(IGNORE_LINKDOWN, device) == "1" and _read(SOURCE_CHECK, device) == LOOSE


def set_failover(device: str, wanted: bool) -> None:
    """Turn failover on or off for the device."""
    for setting, value in failover_values(wanted, _read(SOURCE_CHECK, "default")).items():
        # A host without IPv6 has no setting for it.
        if setting != IGNORE_LINKDOWN_6 or os.path.exists(proc_path(setting, device)):
            _write(setting, device, value)


def incoming_tables(kernel: Any) -> dict[str, int]:
    """By device, the only routing table for packets that come in over it; devices without one are left out."""
    found: dict[str, dict[tuple[int, int], int | None]] = {}
    for family, rule in _rules(kernel):
        of_device = found.setdefault(rule.get_attr("FRA_IIFNAME"), {})
        of_device[family, rule["action"]] = rule.get_attr("FRA_TABLE")
    tables = {}
    for device, rules in found.items():
        named = {table for (_family, action), table in rules.items() if action == FR_ACT_TO_TBL}
        if len(rules) == len(FAMILIES) * 2 and len(named) == 1:
            tables[device] = int(named.pop() or 0)
    return tables


def set_incoming_table(kernel: Any, device: str, table: int | None) -> None:
    """Set the only routing table for packets that come in over the device, or none."""
    for family, rule in list(_rules(kernel)):
        if rule.get_attr("FRA_IIFNAME") == device:
            kernel.rule("del", family=family, iifname=device, priority=rule.get_attr("FRA_PRIORITY"))
    if table is None:
        return
    for family in FAMILIES:
        kernel.rule("add", family=family, iifname=device, priority=LOOKUP_PRIORITY, table=table)
        kernel.rule("add", family=family, iifname=device, priority=REFUSE_PRIORITY, action=FR_ACT_UNREACHABLE)


def _rules(kernel: Any) -> Iterator[tuple[int, Any]]:
    """The rules of ours; they stay when the device that they name is removed."""
    for family in FAMILIES:
        for rule in kernel.get_rules(family=family):
            if rule.get_attr("FRA_PRIORITY") in (LOOKUP_PRIORITY, REFUSE_PRIORITY) and rule.get_attr("FRA_IIFNAME"):
                yield family, rule


def _read(setting: str, device: str) -> str:
    with contextlib.suppress(OversshError):
        return (read_text(proc_path(setting, device)) or "").strip()
    return ""


def _write(setting: str, device: str, value: str) -> None:
    path = proc_path(setting, device)
    try:
        with open(path, "w", encoding="ascii") as opened:
            opened.write(value)
    except OSError as error:
        raise OversshError(f"can't write {value} to {path}: {error.strerror}") from error
