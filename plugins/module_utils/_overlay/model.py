# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An overlay network, desired and observed."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._core.errors import OversshError
from .._linux.routes import Route

MANAGED = "overssh.managed"
MTU = "com.docker.network.driver.mtu"
ENCRYPTED = "encrypted"
VXLAN_IDS = "com.docker.network.driver.overlay.vxlanid_list"
AUTO = "auto"
# What the overlay driver takes where a network names no MTU.
DRIVER_MTU = 1500
# Options of the driver that are said by an option of the module.
OPTIONS_OF_THEIR_OWN = {MTU: "mtu", ENCRYPTED: "encrypted"}
VXLAN_OVERHEAD = 50
ESP_OVERHEAD = 26
SMALLEST_MTU = 576
LARGEST_MTU = 65535


@dataclass(frozen=True)
class Subnet:
    """One subnet of a network; gateway and ip_range are None where Docker chooses."""

    subnet: str
    gateway: str | None = None
    ip_range: str | None = None


@dataclass(frozen=True)
class Desired:
    """The desired network; None, and no subnets, where any value will do.

    ingress: the swarm's ingress network is meant, by any name. mtu: of the underlay, None for auto. underlay_mtus:
    those of the other nodes.
    """

    name: str
    state: str = "present"
    ingress: bool = False
    subnets: tuple[Subnet, ...] = ()
    attachable: bool = True
    internal: bool = False
    encrypted: bool = False
    mtu: int | None = None
    underlay_mtus: tuple[int, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    underlay: str | None = None
    on_change: str = "fail"


@dataclass(frozen=True)
class OverlayNetwork:
    """A network in the engine. driver is empty, and subnets too, until the swarm has allocated it."""

    name: str
    network_id: str
    driver: str
    scope: str
    subnets: tuple[Subnet, ...] = ()
    attachable: bool = False
    internal: bool = False
    ingress: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        """Whether this collection made the network."""
        return self.labels.get(MANAGED) == "true"

    @property
    def is_overlay(self) -> bool:
        """Whether the network spans the swarm; before the allocation it has no driver yet."""
        return self.scope == "swarm" and self.driver in ("overlay", "")

    @property
    def allocated(self) -> bool:
        """Whether the swarm has assigned the network's subnets."""
        return bool(self.driver and self.subnets)

    @property
    def encrypted(self) -> bool:
        """Whether IPsec encrypts the network's packets; an empty value counts as yes."""
        return ENCRYPTED in self.options and self.options[ENCRYPTED].lower() != "false"

    @property
    def mtu(self) -> int:
        """The underlay MTU that the network is made for."""
        return int(self.options.get(MTU) or DRIVER_MTU)

    @property
    def container_mtu(self) -> int:
        """The MTU of its containers.

        The driver subtracts VXLAN's header, and with encryption also ESP and its padding.
        """
        left = self.mtu - VXLAN_OVERHEAD
        if self.encrypted:
            left -= ESP_OVERHEAD
            left -= left % 4
        return left


@dataclass(frozen=True)
class Attached:
    """What can be taken off a network from here, and put back: a service of the swarm, or a container of this host.

    kind: "service" or "container"; ident: its ID; entry: its connection as Docker has it, and of a service its place at
    among the service's networks.
    """

    kind: str
    ident: str
    name: str
    entry: Mapping[str, Any] = field(default_factory=dict)
    at: int = 0


@dataclass(frozen=True)
class Observed:
    """The network of that name, and its surroundings.

    manager: whether this engine may change networks of the swarm. state: the engine's word for its part in the swarm.
    check_mode: a missing swarm is assumed to come. underlay_mtu: the smallest MTU of the devices with the node's data
    path address. others: the engine's other networks. resolvers: the addresses of the host's name servers. pools: the
    networks that the swarm takes subnets from. esp: whether the kernel has ESP, None where that is
    unknown, or of no matter.

    For a network that has to be made anew: attached: what can be taken off it; users: all that uses it, in words.

    For the ingress network: publishers: the services that publish through it; missing: the nodes that take no part in
    it; given_up: nodes that did not join in time.
    """

    manager: bool
    state: str
    check_mode: bool = False
    network: OverlayNetwork | None = None
    others: tuple[OverlayNetwork, ...] = ()
    routes: tuple[Route, ...] = ()
    resolvers: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    esp: bool | None = None
    data_path_addr: str = ""
    underlay_mtu: int | None = None
    attached: tuple[Attached, ...] = ()
    users: tuple[str, ...] = ()
    publishers: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()

    @property
    def to_come(self) -> bool:
        """Whether the swarm itself is still missing, in check mode."""
        return self.check_mode and self.state == "inactive"


def network_of(found: Mapping[str, Any]) -> OverlayNetwork:
    """A network from the engine's answer."""
    configs = [config for config in (found.get("IPAM") or {}).get("Config") or [] if config.get("Subnet")]
    return OverlayNetwork(
        name=found.get("Name") or "",
        network_id=found.get("Id") or "",
        driver=found.get("Driver") or "",
        scope=found.get("Scope") or "",
        subnets=tuple(
            Subnet(config["Subnet"], config.get("Gateway") or None, config.get("IPRange") or None) for config in configs
        ),
        attachable=bool(found.get("Attachable")),
        internal=bool(found.get("Internal")),
        ingress=bool(found.get("Ingress")),
        labels=dict(found.get("Labels") or {}),
        options=dict(found.get("Options") or {}),
    )


def desired_of(params: Mapping[str, Any]) -> Desired:
    """The desired network, from the module's options; OversshError names the wrong one."""
    options = {key: str(value) for key, value in (params.get("options") or {}).items()}
    for key, option in OPTIONS_OF_THEIR_OWN.items():
        if key in options:
            raise OversshError(f"{key} among the options is said with the option {option}")
    return Desired(
        name=params["name"],
        state=params.get("state") or "present",
        ingress=bool(params.get("ingress")),
        subnets=_subnets(params),
        attachable=bool(params.get("attachable", True)),
        internal=bool(params.get("internal")),
        encrypted=bool(params.get("encrypted")),
        mtu=None if params.get("mtu") in (None, "", AUTO) else _mtu("mtu", f"{AUTO} or ", params["mtu"]),
        underlay_mtus=tuple(_mtu("underlay_mtus", "", one) for one in params.get("underlay_mtus") or ()),
        labels={key: str(value) for key, value in (params.get("labels") or {}).items()},
        options=options,
        underlay=_network("underlay", params.get("underlay")),
        on_change=params.get("on_change") or "fail",
    )


def _subnets(params: Mapping[str, Any]) -> tuple[Subnet, ...]:
    """The subnets, said one by one or in the short form of a single one."""
    short = {key: params[key] for key in ("subnet", "gateway", "ip_range") if params.get(key)}
    listed = params.get("subnets") or ()
    if listed and short:
        raise OversshError(f"{' and '.join(short)} beside subnets: say them within subnets")
    if short and "subnet" not in short:
        raise OversshError("gateway and ip_range belong to a subnet; give subnet too")
    found = tuple(_subnet(each) for each in listed or ([short] if short else []))
    networks = [ipaddress.IPv4Network(each.subnet) for each in found]
    for index, one in enumerate(networks):
        for other in networks[:index]:
            if one.overlaps(other):
                raise OversshError(f"the subnets {other} and {one} of {params['name']} overlap; choose others")
    return found


def _subnet(given: Mapping[str, Any]) -> Subnet:
    subnet = _network("subnet", given["subnet"])
    if subnet is None:
        raise OversshError("an entry of subnets has no subnet")
    whole, ip_range, gateway = ipaddress.IPv4Network(subnet), _network("ip_range", given.get("ip_range")), None
    if ip_range and not ipaddress.IPv4Network(ip_range).subnet_of(whole):
        raise OversshError(f"ip_range {ip_range} is not within the subnet {subnet}")
    if given.get("gateway"):
        gateway = _gateway(given["gateway"], whole)
    return Subnet(subnet, gateway, ip_range)


def _network(option: str, text: str | None) -> str | None:
    if not text:
        return None
    try:
        return str(ipaddress.IPv4Network(text))
    except ValueError as error:
        raise OversshError(f"{option} is {text}; it takes an IPv4 network such as 10.200.0.0/24 ({error})") from error


def _gateway(text: str, subnet: ipaddress.IPv4Network) -> str:
    """Docker takes the first and last address too, and then never gives the network its subnet."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise OversshError(f"gateway is {text}, which is no IPv4 address") from error
    if address not in subnet:
        raise OversshError(f"gateway {address} is not within the subnet {subnet}")
    if subnet.prefixlen < 31 and address in (subnet.network_address, subnet.broadcast_address):
        what = "the network's own" if address == subnet.network_address else "the broadcast"
        raise OversshError(f"gateway {address} is {what} address of the subnet {subnet}; choose one between")
    return str(address)


def _mtu(option: str, besides: str, value: Any) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if not SMALLEST_MTU <= number <= LARGEST_MTU:
        raise OversshError(
            f"{option} is {value}; it takes {besides}a number of bytes from {SMALLEST_MTU} to {LARGEST_MTU}"
        )
    return number
