# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's settings as the operator wrote them in the inventory, checked one by one.

Every variable is declared here once, with its default and its check; whatever is wrong is told as a sentence that names
the host and the variable, and all of them are told at once.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "overssh_"
# OpenSSH's channel drops itself in silence above this packet size (CHAN_RBUF - 4).
LARGEST_TUN_MTU = 16380
SMALLEST_MTU = 576
NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")


class SettingError(ValueError):
    """What a value has to be, to be put behind "HOST: VARIABLE is VALUE; it takes"."""


def boolean(value: Any) -> bool:
    """true or false, also in the words that YAML and the command line have for them."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise SettingError("true or false")


def whole_number(low: int, high: int) -> Callable[[Any], int]:
    """A check for a whole number from low to high."""

    def check(value: Any) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = low - 1
        if isinstance(value, bool) or not low <= number <= high:
            raise SettingError(f"a whole number from {low} to {high}")
        return number

    return check


def network(value: Any) -> str:
    """An IPv4 network in CIDR form, its host bits zero."""
    try:
        if "/" not in str(value):
            raise ValueError
        return str(ipaddress.IPv4Network(str(value)))
    except ValueError as error:
        raise SettingError("an IPv4 network such as 172.30.0.0/16") from error


def address(value: Any) -> str:
    """An IPv4 address."""
    try:
        return str(ipaddress.IPv4Address(str(value)))
    except ValueError as error:
        raise SettingError("an IPv4 address such as 172.30.0.7") from error


def text(value: Any) -> str:
    """A string that is not empty and has no white space."""
    word = str(value) if value is not None else ""
    if not word or word.split() != [word]:
        raise SettingError("a name or an address, without white space")
    return word


def optional_text(value: Any) -> str:
    """A string, which may be empty."""
    return "" if value is None else str(value)


def networks(value: Any) -> list[str]:
    """A list of IPv4 networks."""
    if not isinstance(value, (list, tuple)) or not value:
        raise SettingError("a list of IPv4 networks such as [10.201.0.0/16]")
    return [network(item) for item in value]


def mtu_or_auto(value: Any) -> str | int:
    """The word auto, or an MTU in bytes."""
    return "auto" if value == "auto" else whole_number(SMALLEST_MTU, LARGEST_TUN_MTU)(value)


def labels(value: Any) -> dict[str, str]:
    """A mapping of label to value."""
    if not isinstance(value, Mapping):
        raise SettingError("a mapping of label to value")
    return {str(key): str(item) for key, item in value.items()}


OVERLAY_OPTIONS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "name": (None, text),
    "subnet": (None, network),
    "gateway": ("", lambda value: address(value) if value else ""),
    "attachable": (True, boolean),
    "internal": (False, boolean),
    "encrypted": (False, boolean),
    "mtu": ("auto", mtu_or_auto),
    "labels": ({}, labels),
}


def overlays(value: Any) -> list[dict[str, Any]]:
    """The overlay networks, each with every option filled in."""
    if not isinstance(value, (list, tuple)):
        raise SettingError("a list of overlay networks, each with name and subnet")
    return [_overlay(item) for item in value]


def _overlay(item: Any) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise SettingError("a list of overlay networks, each with name and subnet")
    for key in item:
        if key not in OVERLAY_OPTIONS:
            raise SettingError(f"networks with the options {', '.join(OVERLAY_OPTIONS)}, not '{key}'")
    for key in ("name", "subnet"):
        if not item.get(key):
            raise SettingError(f"networks that all have a {key}")
    found = {}
    for key, (default, check) in OVERLAY_OPTIONS.items():
        try:
            found[key] = check(item.get(key, default))
        except SettingError as error:
            raise SettingError(f"{error} as {key} of the network '{item.get('name')}'") from error
    if not NETWORK_NAME.match(found["name"]):
        raise SettingError(f"networks named with letters, digits, '_', '.' and '-', not '{found['name']}'")
    return found


@dataclass(frozen=True)
class Setting:
    """One variable: its default, its check, and whether it belongs to one host or to the whole fleet."""

    name: str
    default: Any
    check: Callable[[Any], Any]
    per_host: bool = False


SETTINGS = (
    Setting("group", "overssh", text),
    Setting("underlay", "172.30.0.0/16", network),
    Setting("mtu", 1500, whole_number(SMALLEST_MTU, LARGEST_TUN_MTU)),
    Setting("tun_base", 1000, whole_number(0, 1_000_000)),
    Setting("user", "overssh", text),
    Setting("keepalive_interval", 1, whole_number(1, 60)),
    Setting("keepalive_count", 3, whole_number(1, 60)),
    Setting("wait_timeout", 60, whole_number(1, 3600)),
    Setting("swarm_port", 2377, whole_number(1, 65535)),
    Setting("data_path_port", 4789, whole_number(1024, 49151)),
    Setting("swarm_pool", ["10.201.0.0/16"], networks),
    Setting("swarm_pool_prefix", 24, whole_number(9, 29)),
    Setting("overlays", [{"name": "overssh", "subnet": "10.200.0.0/24"}], overlays),
    Setting("report", "reports/verify.json", optional_text),
    Setting("hub", False, boolean, per_host=True),
    Setting("manager", None, lambda value: None if value is None else boolean(value), per_host=True),
    Setting("address", None, lambda value: None if value is None else address(value), per_host=True),
    Setting("dial_host", None, lambda value: None if value is None else text(value), per_host=True),
    Setting("dial_port", None, lambda value: None if value is None else whole_number(1, 65535)(value), per_host=True),
)


def read(hosts: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, dict[str, Any]], list[str]]:
    """The fleet's settings, each host's own, and what is wrong with them.

    hosts: the variables of every host by inventory name, in inventory order. A value that is wrong is reported and
    stands in as its default, so that the rest can be looked at too.
    """
    problems: list[str] = []
    for host, variables in hosts.items():
        problems += _unknown(host, variables)
    fleet = {setting.name: _fleet_wide(setting, hosts, problems) for setting in SETTINGS if not setting.per_host}
    own = {
        host: {setting.name: _value(setting, host, variables, problems) for setting in SETTINGS if setting.per_host}
        for host, variables in hosts.items()
    }
    return fleet, own, problems


def _unknown(host: str, variables: Mapping[str, Any]) -> list[str]:
    known = [PREFIX + setting.name for setting in SETTINGS]
    found = []
    for name in sorted(variables):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists all of them."
            found.append(f"{host}: there is no variable {name}; {hint}")
    return found


def _fleet_wide(setting: Setting, hosts: Mapping[str, Mapping[str, Any]], problems: list[str]) -> Any:
    """The value that every host has to agree on."""
    variable = PREFIX + setting.name
    first: tuple[str, Any] | None = None
    for host, variables in hosts.items():
        here = variables.get(variable, setting.default)
        if first is None:
            first = (host, here)
        elif here != first[1]:
            problems.append(
                f"{host}: {variable} is {here!r}, but {first[1]!r} on {first[0]}; set it once for the whole group."
            )
            break
    if first is None:
        return setting.check(setting.default)
    return _value(setting, first[0], {variable: first[1]}, problems)


def _value(setting: Setting, host: str, variables: Mapping[str, Any], problems: list[str]) -> Any:
    variable = PREFIX + setting.name
    value = variables.get(variable, setting.default)
    try:
        return setting.check(value)
    except SettingError as error:
        problems.append(f"{host}: {variable} is {value!r}; it takes {error}.")
        return setting.check(setting.default)
