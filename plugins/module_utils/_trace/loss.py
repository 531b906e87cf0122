# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why the kernel drops a packet that no nft rule dropped: ask its routing about that packet."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from .._core.command import Runner
from .._core.errors import OversshError
from .._core.files import read_text
from .._linux.devices import read_devices
from .._linux.routes import device_to
from .._nftables import legacy as nftables_legacy
from .._nftables.accept import accept_from
from .._nftables.traversal import Reader, Walker
from .netlink import Header
from .path import TracePath

# The protocols that rules distinguish, by the kernel's numbers.
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 50: "esp", 58: "icmpv6"}


def lost(run: Runner, way: TracePath, names: Mapping[int, str]) -> str:
    """One sentence: where the packet was lost, why, and where to look."""
    if way.entered == way.left == "prerouting" and way.last is not None:
        return f"no rule drops the packet; the kernel does, when it looks for its way: {_routing(run, way.last, names)}"
    where = f"after the hook {way.left}" if way.entered == way.left else f"at the hook {way.entered or way.left}"
    legacy = nftables_legacy.observe(run)
    if not legacy.owners:
        who = "look at what else handles packets there, such as IPsec policies, the MTU of its way, or programs of eBPF"
    elif words := _by_legacy(legacy, way, names):
        who = words
    else:
        who = "iptables-legacy has rules on this host, which nft does not show; look at iptables-legacy-save"
    return f"no rule of nft drops the packet, and it is lost {where}; {who}"


def _by_legacy(legacy: nftables_legacy.Legacy, way: TracePath, names: Mapping[int, str]) -> str:
    """Which rule or policy of iptables-legacy drops the packet at the hook where it was lost, "" where none does."""
    header = way.last
    protocol = PROTOCOLS.get(header.protocol) if header is not None else None
    if header is None or protocol is None:
        return ""
    path = way.path or "input"
    devices = {"in_interfaces": header.iif if path != "output" else 0, "out_interfaces": header.oif}
    described: dict[str, Any] = {key: [names[index]] for key, index in devices.items() if index in names}
    if path == "input":
        described.pop("out_interfaces", None)
    if header.port is not None and protocol in ("tcp", "udp"):
        described["ports"] = [str(header.port)]
    accept = accept_from(
        {
            **described,
            "name": "packet",
            "path": path,
            "protocol": protocol,
            "source": [header.source],
            "destination": [header.destination],
        }
    )
    walker = Walker(legacy.ruleset, Reader(legacy.ruleset))
    found = [one for one in nftables_legacy.deciders(walker, accept) if one[0].hook == (way.entered or way.left)]
    if not found:
        return ""
    # What surely drops it goes before what may.
    base, words, surely = min(found, key=lambda one: not one[2])
    program = f"{nftables_legacy.PROGRAMS[base.key.family]}-legacy"
    drops = "drops" if surely else "may drop"
    return f"{program} {drops} it, by {words} in the table {base.key.table}; let it pass there, as nft has no say in it"


def unsent(run: Runner, destination: str) -> str:
    """Why a packet of this host did not reach the hook output, "" where unknown."""
    if device_to(run, destination):
        return ""
    return f"this host has no route to {destination}; look at 'ip route' and 'ip rule'"


def _read(path: str) -> str | None:
    try:
        return read_text(path)
    except OversshError:
        return None


def _routing(run: Runner, packet: Header, names: Mapping[int, str]) -> str:
    device = names.get(packet.iif, "")
    source, destination = ipaddress.ip_address(packet.source), ipaddress.ip_address(packet.destination)
    own = {address for found in read_devices() for address in found.own}
    if str(source) in own:
        return f"the source {source} is an address of this host itself, and no packet of others may have it"
    if source.is_loopback or source.is_multicast or source.is_unspecified:
        return f"the source {source} is one that no packet on the wire may have"
    if source.version == 4:
        back = device_to(run, packet.source)
        way = f"the way to {source} is by {back}" if back else f"there is no way to {source}"
        strictness = _strictness(device)
        if (strictness == 1 and back != device) or (strictness == 2 and not back):
            return (
                f"it came by {device}, and {way}, so the reverse path filter drops it; correct the route, or set "
                f"net.ipv4.conf.{device}.rp_filter and net.ipv4.conf.all.rp_filter to 2 or 0"
            )
    family = "ipv4" if source.version == 4 else "ipv6"
    if str(destination) not in own and not _forwards(run, family, device):
        return f"{destination} is not this host, and net.{family}.conf.{device}.forwarding is 0, so it forwards nothing"
    mark = ["mark", str(packet.mark)] if packet.mark else []
    asked = run(["ip", "route", "get", packet.destination, "from", packet.source, "iif", device, *mark], check=False)
    if asked.rc != 0:
        words = asked.stderr.strip().rpartition("RTNETLINK answers: ")[2]
        return f"it has no route to {destination} ({words}); look at 'ip route' and 'ip rule'"
    return f"its route is {asked.stdout.splitlines()[0].strip()}, so look at that device and at nstat's counters"


def _strictness(device: str) -> int:
    """Of the reverse path filter; the kernel takes the higher one of the two."""
    return max(int(_read(f"/proc/sys/net/ipv4/conf/{place}/rp_filter") or 0) for place in ("all", device))


def _forwards(run: Runner, family: str, device: str) -> bool:
    # Dots within a device's name are slashes to sysctl; the file has the name as it is.
    switches = [device, "all"] if family == "ipv6" else [device]
    return all((_read(f"/proc/sys/net/{family}/conf/{switch}/forwarding") or "1").strip() == "1" for switch in switches)
