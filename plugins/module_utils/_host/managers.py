# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that manage network interfaces on this host, and those of their files that may match ours; only looks.

NetworkManager is not among them: with our file that has it leave a device alone, no profile makes or takes that device.
Sources: systemd.network(5), systemd.link(5), systemd.netdev(5), interfaces(5), dhcpcd.conf(5), connman.conf(5); the
effects of dhcpcd 10.1 and ConnMan 1.44 on tun devices were tried.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .._core.files import layered, readable
from .._linux import devices, proc

# In order of precedence: a file hides those of the same name in later ones.
NETWORKD = tuple(f"{top}/systemd/network" for top in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))
INTERFACES = "/etc/network/interfaces"
DHCPCD, CONNMAN = "/etc/dhcpcd.conf", "/etc/connman/main.conf"
# As the kernel cuts the names of running programs.
NETWORKD_RUNS, CONNMAN_RUNS = "systemd-network", "connmand"
# The kind of claim of programs that take each interface they find, unless their settings exclude it.
TAKER = "taker"
# What a file may ask of an interface besides its name without passing over a tun device.
ALSO = {"kind": ("tun",), "type": ("none", "*")}
TAKES = "takes their addresses and routes away when it is reloaded"


@dataclass(frozen=True)
class Claim:
    """A file about interfaces: its program, and its kind, of which only the first match counts.

    patterns: of names, negated where all other names are meant; harmless: the file does nothing to tunnels; breaks: no
    tunnel works with it; way_out: the remedy against a program that takes all interfaces.
    """

    by: str
    kind: str
    place: str
    patterns: tuple[str, ...]
    negated: bool = False
    harmless: bool = False
    does: str = TAKES
    breaks: bool = False
    way_out: str = ""


Section = dict[str, dict[str, tuple[str, int]]]


def sections(text: str) -> Section:
    """A file of sections as systemd has them, in small letters, each value with its line."""
    found: Section = {}
    section = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip().lower()
        elif line and line[0] not in "#;" and "=" in line:
            key, _equals, value = line.partition("=")
            before = found.setdefault(section, {}).get(key.strip().lower())
            joined = value.strip() if before is None else f"{before[0]} {value.strip()}"
            found[section][key.strip().lower()] = (joined, number if before is None else before[1])
    return found


def networkd_claim(path: str, text: str) -> Claim | None:
    """The claim of a file of systemd's; None where it can't match a tun device."""
    found = sections(text)
    match, suffix = found.get("match", {}), path.rpartition(".")[2]
    made_by = "netplan" if "netplan" in os.path.basename(path) else "systemd-networkd"
    if suffix == "netdev":
        name, number = found.get("netdev", {}).get("name", ("", 0))
        return (
            Claim(made_by, suffix, f"{path} line {number}", (name,), does="makes a device of that name")
            if name
            else None
        )
    asked = "name" if suffix == "network" else "originalname"
    others = {key: value for key, (value, _line) in match.items() if key != asked}
    if any(not _may_be(value, ALSO.get(key, ())) for key, value in others.items()):
        return None
    names, number = match.get(asked, ("", 0))
    if not names and not others:
        return None
    words = (names or "*").split()
    negated = words[0].startswith("!")
    patterns = (words[0].removeprefix("!"), *words[1:])
    link = found.get("link", {})
    place = f"{path} line {number or min(line for _value, line in match.values())}"
    if suffix == "network":
        unmanaged = link.get("unmanaged", ("no", 0))[0].lower() in ("yes", "true", "1", "on")
        return Claim(made_by, suffix, place, patterns, negated, unmanaged)
    changes = [f"{word} {link[key][0]}" for key, word in (("name", "the name"), ("mtubytes", "the MTU")) if key in link]
    return Claim("udev", suffix, place, patterns, negated, not changes, f"gives them {' and '.join(changes)}")


def _may_be(value: str, words: Iterable[str]) -> bool:
    patterns = value.split()
    negated = bool(patterns) and patterns[0].startswith("!")
    fits = any(fnmatch.fnmatchcase(word, pattern.removeprefix("!")) for pattern in patterns for word in words)
    return fits != negated


def networkd(folders: Iterable[str], running: bool) -> Iterator[Claim]:
    """The files of systemd in its order of reading; without networkd running, only the .link files."""
    wanted = ("network", "netdev", "link") if running else ("link",)
    for path in layered(folders, "*.*"):
        if path.rpartition(".")[2] in wanted:
            claim = networkd_claim(path, readable(path))
            if claim is not None:
                yield claim


def ifupdown(path: str = INTERFACES, depth: int = 0) -> Iterator[Claim]:
    """The interfaces in /etc/network/interfaces, includes followed."""
    for number, line in enumerate(readable(path).splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] in ("source", "source-directory") and len(words) > 1 and depth < 4:
            wanted = words[1] if words[0] == "source" else f"{words[1]}/*"
            for included in sorted(glob.glob(os.path.join(os.path.dirname(INTERFACES), wanted))):
                yield from ifupdown(included, depth + 1)
        elif words[0] == "iface" or words[0] == "auto" or words[0].startswith("allow-"):
            names = words[1:2] if words[0] == "iface" else words[1:]
            patterns = tuple(name.strip("/").partition("=")[0].rpartition("/")[2] for name in names)
            yield Claim(
                "ifupdown", "stanza", f"{path} line {number}", patterns, does="brings them up and down by itself"
            )


def takes_all(command: Sequence[str], interfaces: Collection[str]) -> bool:
    """Whether a dhcpcd with this command line takes all interfaces, and not given ones."""
    words = " ".join(command).split()
    if words[:1] == ["dhcpcd:"]:  # from version 9 on, its processes say what they are
        return "[manager]" in words or "[master]" in words
    return bool(words) and not set(words[1:]) & set(interfaces)


def dhcpcd(path: str, text: str) -> Iterator[Claim]:
    """The claims of a dhcpcd that takes all interfaces: denied ones first, then the allowed ones."""
    denied: list[str] = []
    allowed: list[str] = []
    place = path
    for number, line in enumerate(text.splitlines(), 1):
        words = re.split(r"[\s,]+", line.strip())
        if words[0] == "denyinterfaces":
            denied += words[1:]
        elif words[0] == "allowinterfaces":
            allowed += words[1:]
            place = f"{path} line {number}"
    yield Claim("dhcpcd", TAKER, path, tuple(denied), harmless=True)
    yield Claim(
        "dhcpcd",
        TAKER,
        place,
        tuple(allowed) or ("*",),
        does="gives them addresses by which the nodes at their other ends can't be reached any more",
        breaks=True,
        way_out="name them there in a line 'denyinterfaces', and restart it",
    )


def connman(path: str, text: str) -> Iterator[Claim]:
    """The claims of a ConnMan: all interfaces but those in its blacklist, which has the beginnings of names."""
    beginnings, number = sections(text).get("general", {}).get("networkinterfaceblacklist", ("", 0))
    kept = tuple(f"{word.strip()}*" for word in beginnings.split(",") if word.strip())
    yield Claim("ConnMan", TAKER, path, kept, harmless=True)
    yield Claim(
        "ConnMan",
        TAKER,
        f"{path} line {number}" if number else path,
        ("*",),
        does="sets them down whenever it starts",
        way_out="name them there in NetworkInterfaceBlacklist, beside what stands in it or what it is by default, and "
        "restart it",
    )


def look() -> list[dict[str, Any]]:
    """All files that may match a tun device of ours, in each program's order of reading."""
    running = list(proc.processes())
    names = {each.name for each in running}
    found = list(networkd(NETWORKD, NETWORKD_RUNS in names))
    commands = [proc.command_line(each.pid) for each in running if each.name == "dhcpcd"]
    if any(takes_all(command, devices.names()) for command in commands):
        found += dhcpcd(DHCPCD, readable(DHCPCD))
    if CONNMAN_RUNS in names:
        found += connman(CONNMAN, readable(CONNMAN))
    if shutil.which("ifup", path="/usr/sbin:/sbin"):
        found += ifupdown()
    return [{**asdict(claim), "patterns": list(claim.patterns)} for claim in found if _is_wide(claim)]


def _is_wide(claim: Claim) -> bool:
    """Whether it can be about a device called tun and a number."""
    if claim.negated:
        return True
    return any(
        pattern[:1] in "*?[" or pattern.startswith(("tun", "t*", "t?", "tu", "t[")) for pattern in claim.patterns
    )
