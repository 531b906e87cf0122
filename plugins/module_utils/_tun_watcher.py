# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has the tun devices of ours put back soon after somebody else has changed them; one process for all of them.

    python3 -I /etc/overssh/devices/watch

It sleeps until the kernel tells of a change (rtnetlink). What a device has to be stands in its unit, as the lines that
make it. Where a line does not hold any more, the unit is started again. Whoever removes the same thing again and again
is named, and has his way for an hour.

A module of ours holds the lock while it works, so its own changes are over when this looks. This file is installed as
it is: nothing but the standard library.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

UNITS = "/etc/systemd/system"
UNIT = re.compile(r"overssh-(tun[0-9]+)\.service")
LINK_UNIT = re.compile(r"overssh-link-.+\.service")
RUNTIME = "/run/overssh-watch"
# What belongs together comes within this time, and is waited for so long at most, in seconds.
QUIET, LONGEST = 0.3, 1.0
# Putting something back so often within so many seconds is a fight; then it is left alone for so long.
ROUNDS, ROUND_SECONDS, TRUCE = 5, 60.0, 3600.0

# linux/netlink.h, linux/rtnetlink.h, linux/fib_rules.h, linux/netconf.h
GROUPS = (1, 5, 7, 8, 9, 11, 19, 24, 25)
RTM_NEWLINK, RTM_DELLINK, RTM_DELADDR = 16, 17, 21
RTM_NEWROUTE, RTM_DELROUTE, RTM_DELRULE, RTM_NEWNETCONF = 24, 25, 33, 80
NLM_F_REPLACE = 0x100
# A rule's device has the number that a device's name has.
IFLA_IFNAME, RTA_DST, RTA_OIF, NETCONFA_IFINDEX = 3, 1, 4, 1
HEADER, ATTRIBUTE, NUMBER = struct.Struct("=IHHII"), struct.Struct("=HH"), struct.Struct("=i")
# Where the attributes begin, after the header; and where an index stands before them.
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

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Part:
    """One thing that a device has to have.

    what: in words; holds: whether it is so; clear: a command that has to come before the unit can bring it back.
    """

    what: str
    holds: Callable[[], bool]
    clear: Sequence[str] = ()


@dataclass(frozen=True)
class Event:
    """A change that the kernel tells of.

    subject: the index or the name of a device, or the destination of a route; None where it may be anything.
    process: who asked for it, 0 where the kernel does not say.
    """

    subject: int | str | None
    process: int


def run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """What a program says."""
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)


def say(text: str) -> None:
    """One line for the journal."""
    sys.stderr.write(f"overssh-watch: {text}\n")


def read(path: str) -> str:
    """A file's text; nothing where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as opened:
            return opened.read().strip()
    except OSError:
        return ""


def events(data: bytes) -> Iterator[Event]:
    """The changes in what was received that may concern a device of ours."""
    place = 0
    while place + HEADER.size <= len(data):
        length, kind, flags, _number, process = HEADER.unpack_from(data, place)
        if length < HEADER.size:
            return
        if kind in BODY and (kind != RTM_NEWROUTE or flags & NLM_F_REPLACE):
            yield Event(_subject(kind, data[place + HEADER.size : place + length]), process)
        place += (length + 3) & ~3


def _subject(kind: int, body: bytes) -> int | str | None:
    attributes = dict(_attributes(body[BODY[kind] :]))
    if kind in (RTM_NEWLINK, RTM_DELRULE):
        return attributes.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
    if kind in (RTM_DELLINK, RTM_DELADDR):
        return int(NUMBER.unpack_from(body, INDEX_AT)[0])
    if kind == RTM_NEWROUTE:  # it takes the place of another one, whose device it does not tell
        family, length = body[0], body[1]
        everywhere = bytes(4 if family == socket.AF_INET else 16)
        return f"{socket.inet_ntop(family, attributes.get(RTA_DST, everywhere))}/{length}"
    wanted = attributes.get(NETCONFA_IFINDEX if kind == RTM_NEWNETCONF else RTA_OIF)
    return None if wanted is None else int(NUMBER.unpack_from(wanted)[0])


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, place)
        if length < ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[place + ATTRIBUTE.size : place + length]
        place += (length + 3) & ~3


def parts(device: str, text: str, run: Run) -> Iterator[Part]:
    """What a device has to have by the lines of its unit."""
    for command in re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE):
        for pattern, made in KINDS:
            found = re.search(pattern, command)
            if found:
                yield from made(device, found, run)
                break


def _exists(device: str, _found: re.Match[str], _run: Run) -> Iterator[Part]:
    yield Part("the device itself", lambda: os.path.exists(f"/sys/class/net/{device}"))


def _sizes(device: str, found: re.Match[str], _run: Run) -> Iterator[Part]:
    for what, file, wanted in (("MTU", "mtu", found[1]), ("queue", "tx_queue_len", found[2])):
        path = f"/sys/class/net/{device}/{file}"
        yield Part(f"the {what} {wanted}", lambda path=path, wanted=wanted: read(path) == wanted)  # type: ignore[misc]


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
        shown = run([ip, "-json", "address", "show", "dev", device]).stdout
        entries = [entry for link in json.loads(shown or "[]") for entry in link.get("addr_info", [])]
        return wanted in map(_spelled, entries)

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
    """Whether the device is set up."""
    return bool(int(read(f"/sys/class/net/{device}/flags") or "0", 16) & 1)


def _spelled(entry: dict[str, Any]) -> str:
    peer = f" peer {entry['address']}" if "address" in entry else ""
    return f"{entry.get('local')}{peer}/{entry.get('prefixlen')}"


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


class Fights:
    """How often each thing was put back, and what is left alone therefore."""

    def __init__(self) -> None:
        self._rounds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.left: dict[tuple[str, str], tuple[float, str]] = {}

    def is_left(self, device: str, what: str, now: float) -> bool:
        """Whether it is left alone still."""
        if (device, what) in self.left and now - self.left[device, what][0] >= TRUCE:
            del self.left[device, what]
            self._rounds.pop((device, what), None)
        return (device, what) in self.left

    def round(self, device: str, what: str, by: str, now: float) -> bool:
        """Whether to put it back once more; with too many rounds it is left alone from now on."""
        rounds = [then for then in self._rounds[device, what] if now - then < ROUND_SECONDS]
        self._rounds[device, what] = [*rounds, now]
        if len(rounds) < ROUNDS:
            return True
        self.left[device, what] = (now, by)
        return False

    def pause(self, now: float) -> float | None:
        """Seconds until the first of them is looked after again; None where nothing is left alone."""
        return max(0.0, min(since for since, _by in self.left.values()) + TRUCE - now) if self.left else None


class Watcher:
    """All devices of this host that have a unit of ours."""

    def __init__(self, units: str, runtime: str, run: Run) -> None:
        self._units, self._runtime, self._run = units, runtime, run
        self._fights = Fights()
        self._texts: dict[str, str] = {}
        self._read_at = -1
        # The devices by their indexes, and by the destinations of their routes.
        self._subjects: dict[int | str, set[str]] = {}

    def devices(self) -> set[str]:
        """Their names."""
        self._read_units()
        return set(self._texts)

    def pause(self) -> float | None:
        """See Fights."""
        return self._fights.pause(time.monotonic())

    def touched(self, event: Event) -> set[str]:
        """The devices that an event may concern."""
        if event.subject is None:
            return self.devices()
        if isinstance(event.subject, str) and event.subject.startswith("tun"):
            self._read_units(again=event.subject in self._texts)
            return {event.subject} & set(self._texts)
        return self._subjects.get(event.subject, set())

    def _read_units(self, again: bool = False) -> None:
        """The units, where any is another one than before; again: or a device has another index."""
        changed = os.stat(self._units).st_mtime_ns
        if changed == self._read_at and not again:
            return
        self._read_at = changed
        names = [found[1] for found in map(UNIT.fullmatch, os.listdir(self._units)) if found]
        self._texts = {name: read(f"{self._units}/overssh-{name}.service") for name in names}
        self._subjects = defaultdict(set)
        for name, text in self._texts.items():
            self._subjects[int(read(f"/sys/class/net/{name}/ifindex") or "0")].add(name)
            for destination in re.findall(r" route replace (\S+) ", text):
                self._subjects[destination].add(name)

    def look(self, devices: set[str], by: str) -> None:
        """Put back what of these devices is not as it has to be; by: whose change it was, as far as that is known."""
        folder = os.open(self._units, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            for device in sorted(devices & self.devices()):
                self._restore(device, by)
        finally:
            os.close(folder)

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
        gone = not os.path.exists(f"/sys/class/net/{device}")
        if gone:
            missing = [Part("the device itself", lambda: False)]
        now = time.monotonic()
        again = [part for part in missing if self._fights.round(device, part.what, by, now)]
        self._note()
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
            say(f"still missing on {device}: {_listed(left)}; see the journal of overssh-{device}.service")

    def _redial(self, device: str) -> None:
        """What held the device that was there before holds nothing."""
        for name in sorted(filter(LINK_UNIT.fullmatch, os.listdir(self._units))):
            if f"overssh-{device}.service" in read(f"{self._units}/{name}"):
                self._run(["systemctl", "try-restart", name])

    def _note(self) -> None:
        """What is left alone, for whoever asks."""
        found = [
            {"device": device, "what": what, "by": by} for (device, what), (_since, by) in self._fights.left.items()
        ]
        draft = f"{self._runtime}/left_alone.draft"
        with open(draft, "w", encoding="utf-8") as opened:
            json.dump(found, opened)
        os.rename(draft, f"{self._runtime}/left_alone.json")


def _listed(parts: Sequence[Part]) -> str:
    return ", ".join(part.what for part in parts)


def name_of(process: int) -> str:
    """Who asked the kernel for a change: the process's number is that of its conversation with the kernel."""
    if process == 1:  # it opens the conversation and hands it on
        return "systemd-networkd (by systemd, process 1)"
    name = read(f"/proc/{process}/comm") if process > 0 else ""
    return f"{name} (process {process})" if name else "a process that has ended" if process > 0 else "the kernel"


def listen() -> socket.socket:
    """What the kernel tells of devices, addresses, routes, rules and settings."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    kernel.bind((0, sum(1 << group - 1 for group in GROUPS)))
    kernel.setblocking(False)
    return kernel


def received(kernel: socket.socket) -> Iterator[Event]:
    """The events that have come."""
    while True:
        try:
            yield from events(kernel.recv(1 << 17))
        except BlockingIOError:
            return
        except OSError:  # more came than there is room for
            yield Event(None, 0)


def gather(kernel: socket.socket, watcher: Watcher) -> tuple[set[str], str]:
    """Wait for a change; the devices that it and what follows at once concern, and whose it was."""
    devices: set[str] = set()
    by: list[str] = []
    poll = select.poll()
    poll.register(kernel, select.POLLIN)
    pause = watcher.pause()
    if not poll.poll(None if pause is None else pause * 1000):
        return watcher.devices(), "somebody"
    deadline = time.monotonic() + LONGEST
    while True:
        for event in received(kernel):
            touched = watcher.touched(event)
            devices |= touched
            if touched and event.process > 0:
                by.append(name_of(event.process))
        rest = min(QUIET, deadline - time.monotonic())
        if not devices or rest <= 0 or not poll.poll(rest * 1000):
            break
    return devices, next((name for name in by if "process " in name), by[0] if by else name_of(0))


def main() -> None:
    """Look once, then after each change."""
    units, runtime = sys.argv[1:3] or (UNITS, RUNTIME)
    kernel, watcher = listen(), Watcher(units, runtime, run)
    devices, by = watcher.devices(), "somebody"
    while True:
        if devices:
            try:
                watcher.look(devices, by)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                say(f"could not look after {', '.join(sorted(devices))}: {error}")
        devices, by = gather(kernel, watcher)


if __name__ == "__main__":
    main()
