# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our tun devices, watched. On a host this file is a part of the watcher's program.

The unit of a device has the lines that make it. Where the device differs from a line, its unit is started again.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import os
import re
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .._linux.devices import Address, addresses_of, find, read_links
from .._linux.netlink import Message, attributes
from .fights import ROUND_SECONDS, ROUNDS, TRUCE, Fights
from .host import Run, read, say
from .kernel import Kernel, name_of

UNIT = re.compile(r"overssh-(tun[0-9]+)\.service")
LINK_UNIT = re.compile(r"overssh-link-.+\.service")

# linux/netlink.h, linux/rtnetlink.h, linux/fib_rules.h, linux/netconf.h
NETLINK_ROUTE = 0
GROUPS = (1, 5, 7, 8, 9, 11, 19, 24, 25)
RTM_NEWLINK, RTM_DELLINK, RTM_DELADDR = 16, 17, 21
RTM_NEWROUTE, RTM_DELROUTE, RTM_DELRULE, RTM_NEWNETCONF = 24, 25, 33, 80
NLM_F_REPLACE = 0x100
# A rule's device has the number that a device's name has.
IFLA_IFNAME, RTA_DST, RTA_OIF, NETCONFA_IFINDEX = 3, 1, 4, 1
NUMBER = struct.Struct("=i")
# Where the attributes begin; and where an index stands before them.
BODY = {
    RTM_NEWLINK: 16,
    RTM_DELLINK: 16,
    RTM_DELADDR: 8,
    RTM_NEWROUTE: 12,
    RTM_DELROUTE: 12,
    RTM_DELRULE: 12,
    RTM_NEWNETCONF: 4,
}
INDEX_AT = 4


@dataclass(frozen=True)
class Part:
    """One property that a device must have.

    what: in words; holds: whether the device has it; clear: a command to run before the unit can restore it.
    """

    what: str
    holds: Callable[[], bool]
    clear: Sequence[str] = ()


def names_in(units: str) -> list[str]:
    """The names of the devices with a unit of ours in this folder."""
    return [found[1] for found in map(UNIT.fullmatch, os.listdir(units)) if found]


def concerns(message: Message) -> bool:
    """Whether a change may be about a device of ours."""
    return message.kind in BODY and (message.kind != RTM_NEWROUTE or bool(message.flags & NLM_F_REPLACE))


def subject(message: Message) -> int | str | None:
    """The subject of a change: a device's index or name, or a route's destination; None where unknown."""
    kind, body = message.kind, message.body
    found = dict(attributes(body[BODY[kind] :]))
    if kind in (RTM_NEWLINK, RTM_DELRULE):
        return found.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
    if kind in (RTM_DELLINK, RTM_DELADDR):
        return int(NUMBER.unpack_from(body, INDEX_AT)[0])
    if kind == RTM_NEWROUTE:  # it replaces another one, whose device is unknown
        family, length = body[0], body[1]
        everywhere = bytes(4 if family == socket.AF_INET else 16)
        return f"{socket.inet_ntop(family, found.get(RTA_DST, everywhere))}/{length}"
    wanted = found.get(NETCONFA_IFINDEX if kind == RTM_NEWNETCONF else RTA_OIF)
    return None if wanted is None else int(NUMBER.unpack_from(wanted)[0])


def parts(device: str, text: str, run: Run) -> Iterator[Part]:
    """The properties that the lines of its unit require of a device."""
    for command in re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE):
        for pattern, made in KINDS:
            found = re.search(pattern, command)
            if found:
                yield from made(device, found, run)
                break


def _exists(device: str, _found: re.Match[str], _run: Run) -> Iterator[Part]:
    yield Part("the device itself", lambda: find(device) is not None)


def _sizes(device: str, found: re.Match[str], _run: Run) -> Iterator[Part]:
    for what, size, wanted in (("MTU", "mtu", found[1]), ("queue", "txqueuelen", found[2])):
        yield Part(f"the {what} {wanted}", functools.partial(_has_size, device, size, int(wanted)))


def _has_size(device: str, size: str, wanted: int) -> bool:
    return getattr(find(device), size, None) == wanted


def _setting(_device: str, found: re.Match[str], _run: Run) -> Iterator[Part]:
    value, path = found[1], found[2]
    name = path.removeprefix("/proc/sys/").replace("/", ".")
    yield Part(f"the setting {name}={value}", lambda: read(path) in (value, ""))


def _rule(_device: str, found: re.Match[str], run: Run) -> Iterator[Part]:
    ip, family, selector, action = found.groups()
    listing = [ip, family, "rule", "list", *selector.split()]
    yield Part(f"the {family[1:]} rule {selector} {action}", lambda: bool(run(listing).stdout.strip()))


def _up(device: str, found: re.Match[str], _run: Run) -> Iterator[Part]:
    up = found[1] == "up"
    yield Part(f"the state {found[1]}", lambda: is_up(device) == up)


def _address(device: str, found: re.Match[str], run: Run) -> Iterator[Part]:
    ip, wanted = found.groups()

    def holds() -> bool:
        here = find(device)
        return here is not None and wanted in map(_spelled, addresses_of(here.index))

    def leads_on() -> bool:
        destination = str(ipaddress.ip_interface(wanted.rpartition(" ")[2]).network)
        family = "-6" if ":" in destination else "-4"
        listing = [ip, family, "route", "show", "exact", destination, "dev", device]
        return not holds() or not is_up(device) or bool(run(listing).stdout.strip())

    yield Part(f"the address {wanted}", holds)
    if " peer " in wanted:
        # The kernel makes this route when it gets the address, and not when it has it already.
        yield Part(f"the way to the peer of {wanted}", leads_on, (ip, "address", "del", *wanted.split(), "dev", device))


def is_up(device: str) -> bool:
    """Whether the device is up."""
    found = find(device)
    return found is not None and found.up


def _spelled(address: Address) -> str:
    peer = f" peer {address.peer}" if address.peer else ""
    return f"{address.own}{peer}/{address.prefix}"


def _route(device: str, found: re.Match[str], run: Run) -> Iterator[Part]:
    ip, words = found.groups()
    destination, *rest = words.split()
    wanted = dict(zip(rest[::2], rest[1::2]))
    family = "-6" if ":" in destination else "-4"
    table = wanted.get("table", "main")

    def holds() -> bool:
        shown = run([ip, "-json", family, "route", "show", "table", table, "exact", destination, "dev", device]).stdout
        return any(
            str(entry.get("metric", 0)) == wanted.get("metric", "0")
            and entry.get("prefsrc") == wanted.get("src")
            and entry.get("gateway") == wanted.get("via")
            for entry in json.loads(shown or "[]")
        )

    yield Part(f"the route {words}", holds)


Maker = Callable[[str, "re.Match[str]", Run], Iterator[Part]]
KINDS: tuple[tuple[str, Maker], ...] = (
    (r" tuntap add dev ", _exists),
    (r' link set dev \S+ alias ".*" mtu (\d+) txqueuelen (\d+)$', _sizes),
    (r"echo (\d+) >(/proc/sys/\S+)'$", _setting),
    (r"'(\S+) (-[46]) rule list (iif \S+ priority \d+) .* priority \d+ (.*)'$", _rule),
    (r" link set dev \S+ (up|down)$", _up),
    (r"(\S+) address replace (.+?) dev \S+(?: nodad)?$", _address),
    (r"(\S+) route replace (.+?) dev \S+ proto static$", _route),
)


class Devices:
    """All devices of this host with a unit of ours; units: the folder of units."""

    def __init__(self, units: str, fights: Fights, run: Run) -> None:
        self.kernel = Kernel(NETLINK_ROUTE, GROUPS)
        self._units, self._fights, self._run = units, fights, run
        self._texts: dict[str, str] = {}
        self._read_at = -1
        # The devices by their indexes, and by the destinations of their routes.
        self._subjects: dict[int | str, set[str]] = {}
        self._disturbed = self._names()
        # Who changed something, one for each time; and for what could not be put back, by device, who had.
        self._by: list[str] = []
        self._failed: dict[str, str] = {}

    @property
    def waits(self) -> bool:
        """Whether a device has to be checked."""
        return bool(self._disturbed)

    @property
    def failed(self) -> bool:
        """Whether a device could not be restored."""
        return bool(self._failed)

    def everything(self) -> None:
        """Check all devices next."""
        self._disturbed |= self._names()

    def take(self) -> None:
        """Read the kernel's messages."""
        for message in self.kernel.received():
            if message is not None and not concerns(message):
                continue
            touched = self._names() if message is None else self._touched(subject(message))
            self._disturbed |= touched
            if message is not None and touched:
                self._by.append(name_of(message.process))

    def look(self) -> None:
        """Restore the devices that differ from their units."""
        devices, self._disturbed = self._disturbed, set()
        changers, self._by = self._by, []
        failed, self._failed = self._failed, {}
        # Best a process that still has its name.
        by = max(changers, key=lambda name: (name.endswith(")"), name != name_of(0)), default="somebody")
        for device in sorted(devices & self._names()):
            self._restore(device, by if changers else failed.get(device, by))

    def _names(self) -> set[str]:
        self._read_units()
        return set(self._texts)

    def _touched(self, what: int | str | None) -> set[str]:
        """The devices that a change may concern."""
        if what is None:
            return self._names()
        if isinstance(what, str) and what.startswith("tun"):
            self._read_units(again=what in self._texts)
            return {what} & set(self._texts)
        return self._subjects.get(what, set())

    def _read_units(self, again: bool = False) -> None:
        """The units, where any is another one than before; again: or a device has another index."""
        changed = os.stat(self._units).st_mtime_ns
        if changed == self._read_at and not again:
            return
        self._read_at = changed
        self._texts = {name: read(f"{self._units}/overssh-{name}.service") for name in names_in(self._units)}
        self._subjects = defaultdict(set)
        indices = {link.name: link.index for link in read_links()}
        for name, text in self._texts.items():
            self._subjects[indices.get(name, 0)].add(name)
            for destination in re.findall(r" route replace (\S+) ", text):
                self._subjects[destination].add(name)

    def _missing(self, device: str) -> list[Part]:
        now = time.monotonic()
        return [
            part
            for part in parts(device, self._texts[device], self._run)
            if not self._fights.is_left(device, part.what, now) and not part.holds()
        ]

    def _restore(self, device: str, by: str) -> None:
        missing = self._missing(device)
        # Not whether it is active: it stops together with systemd-networkd, and the device stays.
        if (
            not missing
            or self._run(["systemctl", "is-enabled", f"overssh-{device}.service"]).stdout.strip() != "enabled"
        ):
            return
        gone = find(device) is None
        if gone:
            missing = [Part("the device itself", lambda: False)]
        now = time.monotonic()
        again = [part for part in missing if self._fights.round(device, part.what, by, now)]
        for part in missing:
            if part not in again:
                say(
                    f"{part.what} of {device} was undone {ROUNDS + 1} times within {ROUND_SECONDS:g} s by {by}, "
                    f"and is left alone for {TRUCE / 60:g} minutes; see that nothing else manages {device}, then "
                    "restart overssh-watch.service"
                )
        if not again:
            return
        for part in again:
            if part.clear:
                self._run(part.clear)
        self._run(["systemctl", "restart", f"overssh-{device}.service"])
        if gone:
            self._redial(device)
        say(f"put back on {device}: {_listed(again)} (undone by {by})")
        left = self._missing(device)
        if left:
            self._failed[device] = by
            say(f"still missing on {device}: {_listed(left)}; see the journal of overssh-{device}.service")

    def _redial(self, device: str) -> None:
        """Restart the link of a device that was made anew: its program still holds the removed one."""
        for name in sorted(filter(LINK_UNIT.fullmatch, os.listdir(self._units))):
            if f"overssh-{device}.service" in read(f"{self._units}/{name}"):
                self._run(["systemctl", "try-restart", name])


def _listed(parts: Sequence[Part]) -> str:
    return ", ".join(part.what for part in parts)
