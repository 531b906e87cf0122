# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's settings in the inventory, checked one by one.

Every variable is declared here once, with its default and its check. A sentence names the host and the variable of each
wrong value; all sentences come at once.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.model import OPTIONS_OF_THEIR_OWN
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.settings import SETTINGS as SWARM_SETTINGS
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.lanes import AUTO, LANES_MAX

PREFIX = "overssh_"
# Where Ansible reaches a host, and how.
ANSIBLES_OWN = ("ansible_host", "ansible_port", "ansible_connection")
# OpenSSH's channel drops itself in silence above this packet size (CHAN_RBUF - 4).
LARGEST_TUN_MTU = 16380
SMALLEST_MTU, LARGEST_MTU = 576, 65535
# In the engine's own unit, a nanosecond, no time of a swarm may pass 63 bits.
LARGEST_SWARM_SETTING = 9_000_000_000
# What a link gets where nobody says anything else: the fastest there, by the benchmark.
BEST_MTU = {"stream": 65000, "tun": 9000}
NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
# It becomes a word of a shell's command and of a unit's.
PROGRAM = re.compile(r"/[A-Za-z0-9_.+/-]+\Z")


class SettingError(ValueError):
    """What a value has to be, as the end of "HOST: VARIABLE is VALUE; it takes"."""


@dataclass(frozen=True)
class Setting:
    """One variable: default, check, description, and whether it belongs to one host or to the whole fleet."""

    name: str
    default: Any
    check: Callable[[Any], Any]
    description: str
    per_host: bool = False


def boolean(value: Any) -> bool:
    """true or false, also in YAML's and the command line's words."""
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


def one_of(*words: str) -> Callable[[Any], str]:
    """A check for one of these words."""

    def check(value: Any) -> str:
        if value not in words:
            raise SettingError(" or ".join(words))
        return str(value)

    return check


def network(value: Any) -> str:
    """An IPv4 network in CIDR form, without host bits."""
    try:
        if "/" not in str(value):
            raise ValueError
        return str(ipaddress.IPv4Network(str(value)))
    except ValueError as error:
        raise SettingError("an IPv4 network such as 172.30.0.0/16") from error


def network6(value: Any) -> str:
    """An IPv6 network of 64 bits from which hosts may have addresses."""
    try:
        found = ipaddress.IPv6Network(str(value))
    except ValueError as error:
        raise SettingError("an IPv6 network such as fd8a:91c4:6e27::/64") from error
    if found.prefixlen != 64 or found.is_link_local or found.is_multicast or found.is_unspecified:
        raise SettingError(
            "an IPv6 network of unique local addresses with the prefix length 64, such as fd8a:91c4:6e27::/64"
        )
    return str(found)


def address(value: Any) -> str:
    """An IPv4 address."""
    try:
        return str(ipaddress.IPv4Address(str(value)))
    except ValueError as error:
        raise SettingError("an IPv4 address such as 172.30.0.7") from error


def text(value: Any) -> str:
    """A string that is not empty and has no white space."""
    word = "" if value is None or isinstance(value, (list, tuple, Mapping)) else str(value)
    if word.split() != [word]:
        raise SettingError("a name or an address, without white space")
    return word


def program(value: Any) -> str:
    """The absolute path of a program."""
    if not isinstance(value, str) or not PROGRAM.match(value):
        raise SettingError("an absolute path such as /usr/bin/python3, of letters, digits, '/', '_', '.', '+' and '-'")
    return value


def optional_text(value: Any) -> str:
    """A string that may be empty."""
    if isinstance(value, (list, tuple, Mapping)):
        raise SettingError("text, which may be empty")
    return "" if value is None else str(value)


def optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A check that accepts an unset variable."""
    return lambda value: None if value is None else check(value)


def or_empty(check: Callable[[Any], str]) -> Callable[[Any], str]:
    """A check that accepts a missing option as empty."""
    return lambda value: check(value) if value else ""


def listed(value: Any, takes: str) -> Sequence[Any]:
    """A list, or YAML text of one: answers of an AWX survey and values of -e KEY=VALUE are texts."""
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value)
        except yaml.YAMLError:
            value = None
        if not isinstance(value, list):
            raise SettingError(f"{takes}; this is a text, and no such list in YAML")
    if not isinstance(value, (list, tuple)):
        raise SettingError(takes)
    return value


def networks(value: Any) -> list[str]:
    """A list of IPv4 networks."""
    takes = "a list of IPv4 networks such as [10.201.0.0/16]"
    found = [network(item) for item in listed(value, takes)]
    if not found:
        raise SettingError(takes)
    return found


def some_of(*words: str) -> Callable[[Any], list[str]]:
    """A check for a list of some of these words, in their order here; it may be empty."""

    def check(value: Any) -> list[str]:
        takes = f"a list of {', '.join(words)}, which may be empty"
        found = [str(item) for item in listed(value, takes)]
        if not set(found) <= set(words):
            raise SettingError(takes)
        return [word for word in words if word in found]

    return check


def auto_or(low: int, high: int) -> Callable[[Any], str | int]:
    """A check for auto, or a number within bounds."""
    number = whole_number(low, high)

    def check(value: Any) -> str | int:
        if value == "auto":
            return "auto"
        try:
            return number(value)
        except SettingError as error:
            raise SettingError(f"auto, or {error}") from error

    return check


mtu_or_auto = auto_or(SMALLEST_MTU, LARGEST_MTU)


def texts(value: Any, takes: str) -> dict[str, str]:
    """A mapping of strings to strings, as Docker takes them."""
    if not isinstance(value, Mapping):
        raise SettingError(takes)
    return {str(key): str(item) for key, item in value.items()}


def labels(value: Any) -> dict[str, str]:
    """Labels of a network."""
    return texts(value, "a mapping of label to value")


def driver_options(value: Any) -> dict[str, str]:
    """Options of Docker's overlay driver."""
    takes = "a mapping of driver option to value"
    found = texts(value, takes)
    for key, option in OPTIONS_OF_THEIR_OWN.items():
        if key in found:
            raise SettingError(f"{takes} without {key}, which is said by {option},")
    return found


def swarm_settings(value: Any) -> dict[str, bool | int]:
    """Settings of a running swarm, as swarm_node takes them; times in seconds. A text is read as YAML, as of a list."""
    takes = f"a mapping with any of {', '.join(SWARM_SETTINGS)}"
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value)
        except yaml.YAMLError:
            value = None
    if not isinstance(value, Mapping) or not set(value) <= set(SWARM_SETTINGS):
        raise SettingError(takes)
    found: dict[str, bool | int] = {}
    for name, given in value.items():
        least = SWARM_SETTINGS[name].least
        check = boolean if least is None else whole_number(least, LARGEST_SWARM_SETTING)
        try:
            found[name] = check(given)
        except SettingError as error:
            raise SettingError(f"{error} as {name}") from error
    return found


def names(value: Any) -> list[str]:
    """Host names, as one name or a list."""
    if isinstance(value, str) and not value.lstrip().startswith(("[", "- ")):
        return [text(value)]
    takes = "a list of inventory names such as [cloud1, cloud2]"
    found = [text(item) for item in listed(value, takes)]
    if not found:
        raise SettingError(takes)
    return found


LINK_OPTIONS = {"peer": text, "host": text, "port": whole_number(1, 65535)}


def links(value: Any) -> list[dict[str, Any]]:
    """Links that a node dials, each with a peer, and an address and port where these differ from the peer's own."""
    takes = "a list of links, each with a peer, and if need be with host and port"
    found = []
    for item in listed(value, takes):
        if not isinstance(item, Mapping) or not item.get("peer") or set(item) - set(LINK_OPTIONS):
            raise SettingError(takes)
        found.append({key: LINK_OPTIONS[key](given) for key, given in item.items()})
    return found


def subnet(value: Any) -> str:
    """An overlay network's subnet. Docker's overlay driver ignores an IPv6 one (moby 52469, up to 29.4)."""
    try:
        return network(value)
    except SettingError as error:
        if ":" in str(value):
            raise SettingError(f"{error} (no version of Docker carries IPv6 inside overlay networks)") from error
        raise


SUBNET_OPTIONS = (
    Setting(
        "subnet",
        "",
        or_empty(subnet),
        "Its addresses; they must overlap neither the underlay nor a route of any host.",
    ),
    Setting("gateway", "", or_empty(address), "Its gateway; left out, Docker takes one."),
    Setting(
        "ip_range",
        "",
        or_empty(network),
        "The part of subnet that containers get their addresses from; left out, all of it.",
    ),
)
SUBNET_NAMES = tuple(option.name for option in SUBNET_OPTIONS)


def subnets(value: Any) -> list[dict[str, str]]:
    """The subnets of a network that has several, each with its options."""
    takes = "a list of subnets, each with subnet, and if need be with gateway and ip_range"
    found = []
    for item in listed(value, takes):
        if isinstance(item, Mapping) and "aux_addresses" in item:
            raise SettingError(
                f"{takes}; Docker keeps no aux_addresses of an overlay network, so that none can be given"
            )
        if not isinstance(item, Mapping) or not item.get("subnet") or set(item) - set(SUBNET_NAMES):
            raise SettingError(takes)
        found.append(_subnet({option.name: option.check(item.get(option.name)) for option in SUBNET_OPTIONS}))
    for index, one in enumerate(found):
        for other in found[:index]:
            if ipaddress.IPv4Network(one["subnet"]).overlaps(ipaddress.IPv4Network(other["subnet"])):
                raise SettingError(f"subnets that don't overlap, as {other['subnet']} and {one['subnet']} do,")
    return found


def _subnet(found: dict[str, str]) -> dict[str, str]:
    """A subnet's options, which fit together."""
    if found["ip_range"] and not _within(found["ip_range"], found["subnet"]):
        raise SettingError(
            f"networks whose ip_range is within their subnet, and {found['ip_range']} is not within {found['subnet']}"
        )
    if found["gateway"] and not _between(found["gateway"], found["subnet"]):
        raise SettingError(
            "networks whose gateway is an address within their subnet, not its first or last, and "
            f"{found['gateway']} is none of {found['subnet']}"
        )
    return found


OVERLAY_OPTIONS = (
    Setting("name", None, text, "The network's name, as containers and services ask for it."),
    *SUBNET_OPTIONS,
    Setting(
        "subnets",
        [],
        subnets,
        "Its subnets, where it has several, in the place of subnet, gateway and ip_range. Each container gets an "
        "address from one of them; not every service is reached at its own address then, but each task is.",
    ),
    Setting("attachable", True, boolean, "Whether single containers may attach to it, and not services only."),
    Setting("internal", False, boolean, "Whether its containers are kept from everything outside of it."),
    Setting("encrypted", False, boolean, "Whether Docker encrypts its traffic once more, with IPsec."),
    Setting("mtu", "auto", mtu_or_auto, "The largest packet in bytes; auto is what fits through the underlay."),
    Setting("labels", {}, labels, "Labels for the network."),
    Setting("options", {}, driver_options, "Further options of Docker's overlay driver."),
)


def overlays(value: Any) -> list[dict[str, Any]]:
    """The overlay networks, each with every option filled in."""
    return [_overlay(item) for item in listed(value, "a list of overlay networks, each with name and subnet")]


def _overlay(item: Any) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise SettingError("a list of overlay networks, each with name and subnet")
    known = [option.name for option in OVERLAY_OPTIONS]
    for key in item:
        if key not in known:
            raise SettingError(f"networks with the options {', '.join(known)}, not '{key}'")
    for key in ("name", "subnet"):
        if not item.get(key) and not (key == "subnet" and item.get("subnets")):
            raise SettingError(f"networks that all have a {key}")
    short = [option.name for option in SUBNET_OPTIONS if item.get(option.name)]
    if short and item.get("subnets"):
        raise SettingError(f"networks with subnet or with subnets, and '{item['name']}' has {short[0]} and subnets")
    found = {}
    for option in OVERLAY_OPTIONS:
        try:
            found[option.name] = option.check(item.get(option.name, option.default))
        except SettingError as error:
            raise SettingError(f"{error} as {option.name} of the network '{item.get('name')}'") from error
    if not NETWORK_NAME.match(found["name"]):
        raise SettingError(f"networks named with letters, digits, '_', '.' and '-', not '{found['name']}'")
    return found if found["subnets"] else {**found, **_subnet({name: found[name] for name in SUBNET_NAMES})}


def subnets_of(overlay: Mapping[str, Any]) -> list[str]:
    """The subnets of a network of overssh_overlays, said in either form."""
    return [each["subnet"] for each in overlay["subnets"]] or [overlay["subnet"]]


def _within(part: str, whole: str) -> bool:
    return ipaddress.IPv4Network(part).subnet_of(ipaddress.IPv4Network(whole))


def _between(text: str, whole: str) -> bool:
    """Whether the address is one that a gateway can have."""
    subnet, one = ipaddress.IPv4Network(whole), ipaddress.IPv4Address(text)
    ends = () if subnet.prefixlen > 30 else (subnet.network_address, subnet.broadcast_address)
    return one in subnet and one not in ends


SETTINGS = (
    Setting("group", "overssh", text, "The inventory group of the fleet's hosts; set on the command line, with -e."),
    Setting(
        "underlay",
        "172.30.0.0/16",
        network,
        "The network of tunnel addresses. Every node has one of them, for life. No host may have a route into it.",
    ),
    Setting(
        "underlay6",
        None,
        optional(network6),
        "An IPv6 network of 64 bits for the tunnels, best of random unique local addresses (RFC 4193). Every node's "
        "address in it has the number of its IPv4 one. Unset, the tunnels carry IPv4 only.",
    ),
    Setting(
        "tun_base",
        1000,
        whole_number(0, 1_000_000),
        "The name of the tunnel device to a node is tun and this number plus the node's number in the underlay.",
    ),
    Setting("user", "overssh", text, "The system account that tunnels run as and log in to."),
    Setting("keepalive_interval", 1, whole_number(1, 60), "Seconds between two keepalives on a tunnel, on both ends."),
    Setting(
        "keepalive_count",
        3,
        whole_number(1, 60),
        "The number of missed keepalives in a row after which a tunnel is dialled again.",
    ),
    Setting("wait_timeout", 60, whole_number(1, 3600), "Seconds to wait at most for each change to take effect."),
    Setting(
        "swarm_family",
        "ipv4",
        one_of("ipv4", "ipv6"),
        "The underlay of the swarm and of its containers' traffic; fixed when the swarm starts. ipv6 needs "
        "overssh_underlay6, and Docker 25 or later on every node. Containers have IPv4 addresses in either case.",
    ),
    Setting("swarm_port", 2377, whole_number(1, 65535), "The managers' TCP port for the cluster's management."),
    Setting("data_path_port", 4789, whole_number(1024, 49151), "The UDP port of VXLAN; fixed when the swarm starts."),
    Setting(
        "swarm_pool",
        ["10.201.0.0/16"],
        networks,
        "Address pool for networks created without a subnet; fixed when the swarm starts.",
    ),
    Setting("swarm_pool_prefix", 24, whole_number(9, 29), "The prefix length of the subnets from the pool, in bits."),
    Setting(
        "swarm_settings",
        {},
        swarm_settings,
        "Settings of the swarm that can change while it runs, such as dispatcher_heartbeat: 15, by the names and in "
        "the units of the options of the module swarm_node. What is not named stays as it is.",
    ),
    Setting(
        "overlays",
        [{"name": "overssh", "subnet": "10.200.0.0/24"}],
        overlays,
        "The overlay networks; the table below lists the options of each.",
    ),
    Setting(
        "firewall_restrict",
        False,
        boolean,
        "Whether the swarm's ports are closed to all but the tunnels, on hosts that would accept others.",
    ),
    Setting(
        "confirm",
        "auto",
        one_of("auto", "manual", "none"),
        "How changes of firewalls and of sshd are confirmed; a host rolls back an unconfirmed change by itself. auto: "
        "by a new connection to the host. manual: by you, with the playbook confirm. none: there is no rollback; use "
        "it only for hosts whose consoles are at hand.",
    ),
    Setting(
        "rollback_timeout",
        60,
        whole_number(5, 86400),
        "Seconds after which a host rolls back such a change without a confirmation.",
    ),
    Setting(
        "report",
        "reports/verify.json",
        optional_text,
        "The file of verify's report on the controller, relative to the folder of the run; empty for no file.",
    ),
    Setting(
        "verify",
        ["services"],
        some_of("services", "ports"),
        "What verify proves of each attachable network besides that containers reach each other: services is service "
        "names, service addresses and each task by turns, by throwaway services; ports is published ports besides, "
        "which are open to the world meanwhile. [] is nothing more.",
    ),
    Setting(
        "node",
        "",
        optional_text,
        "The node that the playbook remove_node removes from the fleet; set on the command line, with -e.",
    ),
    Setting(
        "hub",
        False,
        boolean,
        "Whether the others can dial this node, and it forwards their packets. A fleet has one hub or several, and "
        "hubs have links with each other. If one fails, the others take over.",
        per_host=True,
    ),
    Setting(
        "manager",
        None,
        optional(boolean),
        "Whether this node is a swarm manager. Unset, the hubs are managers, as far as their number is odd.",
        per_host=True,
    ),
    Setting(
        "address",
        None,
        optional(address),
        "This node's underlay address. Unset, it keeps its present one, or gets the lowest free one.",
        per_host=True,
    ),
    Setting(
        "dial_host",
        None,
        optional(text),
        "The name or address at which the others dial this node; unset, ansible_host.",
        per_host=True,
    ),
    Setting(
        "dial_port",
        None,
        optional(whole_number(1, 65535)),
        "The TCP port at which the others dial this node; unset, ansible_port, or 22.",
        per_host=True,
    ),
    Setting(
        "hubs",
        None,
        optional(names),
        "The hubs that this node dials, the preferred one first; unset, all hubs in inventory order.",
        per_host=True,
    ),
    Setting(
        "site",
        None,
        optional(text),
        "The site of this node. Nodes of one site have links with each other, and packets between them stay there.",
        per_host=True,
    ),
    Setting(
        "site_host",
        None,
        optional(text),
        "The name or address at which nodes of the same site dial this node; unset, the one for all others.",
        per_host=True,
    ),
    Setting(
        "site_port",
        None,
        optional(whole_number(1, 65535)),
        "The TCP port that goes with overssh_site_host; unset, ansible_port, or 22.",
        per_host=True,
    ),
    Setting(
        "jump",
        None,
        optional(text),
        "The jump host: the node of the fleet through whose sshd the others dial this node.",
        per_host=True,
    ),
    Setting(
        "links",
        [],
        links,
        "Nodes that this node always dials, hubs or not, each with peer, and with host and port where these differ "
        "from the peer's own.",
        per_host=True,
    ),
    Setting(
        "transport",
        "stream",
        one_of("stream", "tun"),
        "The transport of the links that this node dials; the other end accepts both. stream is fast, and needs a "
        "helper and Python on both ends. tun is `ssh -w`, and needs neither.",
        per_host=True,
    ),
    Setting(
        "firewall_owner",
        "auto",
        one_of("auto", "nftables", "iptables", "firewalld"),
        "The program that manages this host's firewall; auto finds it in the ruleset.",
        per_host=True,
    ),
    Setting(
        "lanes",
        AUTO,
        auto_or(1, LANES_MAX),
        "The number of ssh connections of each link that this node dials. auto begins with one, opens more where the "
        "window of an ssh session limits the link, as on long and fast lines, and closes unused ones. A number above 1 "
        "is constant; each connection has a process of its own at both ends, so they use more cores. tun always has "
        "one, also with auto.",
        per_host=True,
    ),
    Setting(
        "mtu",
        "auto",
        mtu_or_auto,
        "The largest packet on the links that this node dials, in bytes, and the largest on any that it is dialled "
        f"on. auto is the fastest: {BEST_MTU['stream']} for stream and {BEST_MTU['tun']} for tun, which takes up to "
        f"{LARGEST_TUN_MTU}. Set 1500 on a node whose uplink is slower than about 20 Mbit/s: one packet of 65000 bytes "
        "occupies such a line for 26 ms and more, and every other packet waits for it. Overlay networks with the MTU "
        "auto follow the smallest link of the fleet.",
        per_host=True,
    ),
    Setting(
        "python",
        "/usr/bin/python3",
        program,
        "The Python, 3.9 or later, that the helper of stream runs with on this node; every account has to be allowed "
        "to run it.",
        per_host=True,
    ),
)


def read(hosts: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, dict[str, Any]], list[str]]:
    """The fleet's settings, each host's own settings, and sentences on wrong values.

    hosts: the variables of every host by inventory name, in inventory order. The default replaces a wrong value, so
    that the rest can be checked too.
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


def variables_of(host: Any) -> dict[str, Any]:
    """The variables that a plan may read, so that no others are resolved: settings, and those of the connection."""
    return {name: host[name] for name in host if name.startswith(PREFIX) or name in ANSIBLES_OWN}
