# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts at links that can't come up, several side by side: each has a name, a unit and a device of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from . import lab

HERE = "edge1"
KEYS = "/etc/overssh/keys"
DROP_IN = "/etc/ssh/sshd_config.d/00-mishap.conf"
# sshd drops some of those who have not logged in yet where there are ten of them (MaxStartups).
AT_ONCE = 8
# What may end by itself is waited for to the end; all else is told as soon as it is seen twice. Eight logins at a time
# take a busy host more than ten seconds.
LONGEST, MAY_END = 30, {"wait_timeout": 20}
# The devices that attempts have at either end, a number for each.
FIRST_DEVICE = 1900


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong; says: what has to be said of it.

    link: what the link has other than usual. here and there: shell scripts that break this end and the other one
    before. line: what the other end's key has in front of it. All of these are formatted with what a link is.
    """

    why: str
    says: str
    link: Mapping[str, Any] = field(default_factory=dict)
    here: str = ""
    there: str = ""
    line: str = ""


@dataclass(frozen=True)
class Attempt:
    """A fault, and what the link is that it is tried with."""

    fault: Fault
    name: str
    words: Mapping[str, Any]
    link: Mapping[str, Any]

    def format(self, text: str) -> str:
        """A text with what the link is."""
        return text.format(**self.words)

    def options(self) -> dict[str, Any]:
        """The module's."""
        own = {key: self.format(value) if isinstance(value, str) else value for key, value in self.fault.link.items()}
        return {"name": self.name, **self.link, **own}


@dataclass
class Told:
    """What was said of each fault, by what it is; left: the links that stood after each time."""

    said: dict[str, str] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)
    left: list[list[str]] = field(default_factory=list)

    def attempt(self, *attempts: Attempt) -> None:
        """Try all of these side by side."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = pool.map(lambda each: ssh_tunnel(**each.options()), attempts)
            for each, answer in zip(attempts, answers):
                self.said[each.fault.why] = answer.get("msg", "")
                self.expected[each.fault.why] = each.format(each.fault.says)
        self.left.append([link["name"] for link in links()])

    def holds(self, fault: Fault) -> None:
        """What had to be said was said."""
        assert self.expected[fault.why] in self.said[fault.why], self.said[fault.why]


def ssh_tunnel(**options: Any) -> dict[str, Any]:
    """What the module says."""
    return lab.task(HERE, "overssh.swarm.ssh_tunnel", **options)


def links() -> list[dict[str, Any]]:
    """All links that this end has."""
    found: list[dict[str, Any]] = lab.task(HERE, "overssh.swarm.ssh_tunnel_info")["links"]
    return found


def host_keys() -> list[str]:
    """The keys that the real link trusts."""
    return [
        line.partition(" ")[2]
        for line in lab.inside(HERE, f"cat /etc/overssh/links/{lab.hub()}.known_hosts").splitlines()
    ]


def attempts(faults: Sequence[Fault], real: Mapping[str, Any], link: Mapping[str, Any]) -> list[Attempt]:
    """One for each of these; link: the options that they have in common, formatted with what each link is."""
    found = []
    for number, fault in enumerate(faults):
        name, device = f"mishap{number:02d}", f"tun{FIRST_DEVICE + number}"
        words = {
            "number": number,
            "name": name,
            "device": device,
            "real": real,
            "peer": f"{name} ({real['host']} port {real['port']})",
            "key": f"{KEYS}/mishap_{number}",
            "keys": KEYS,
            "helper": f"/run/mishap/{name}",
        }
        own = {key: value.format(**words) if isinstance(value, str) else value for key, value in link.items()}
        found.append(Attempt(fault, name, words, own))
    return found


@contextmanager
def sshd(text: str) -> Iterator[None]:
    """The hub's sshd reads this ahead of all other files meanwhile."""
    lab.inside(lab.hub(), f"cat >{DROP_IN} <<'END'\n{text}\nEND\n/usr/sbin/sshd -t; systemctl reload ssh")
    try:
        yield
    finally:
        lab.inside(lab.hub(), f"rm {DROP_IN}; systemctl reload ssh")


@contextmanager
def only_root_opens_tunnels(node: str) -> Iterator[None]:
    """A node's /dev/net/tun is for nobody else meanwhile."""
    lab.inside(node, "chmod 0600 /dev/net/tun")
    try:
        yield
    finally:
        lab.inside(node, "chmod 0666 /dev/net/tun")
