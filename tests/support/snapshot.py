# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node looks like, so that before and after can be compared line by line.

`python -m tests.support.snapshot` keeps what all nodes look like now as what they looked like when fresh.
"""

from __future__ import annotations

import json
import re

from . import lab

FRESH = lab.STATE / "fresh.json"
RULESET = "nft list ruleset"

# Ansible's own folder, and the copies that useradd and its kin keep of what they change.
LEFT_OUT = (
    r"-not -path '*/.ansible*' -not -name .pwd.lock"
    r" -not -regex '/etc/\(passwd\|shadow\|group\|gshadow\|subuid\|subgid\)-'"
)
PLACES = "/etc /home /opt /root /usr/lib/systemd /usr/local /var/spool"

SCRIPTS = {
    RULESET: "nft -s list ruleset",
    "ip link": "ip -o link | sed -E 's/^[0-9]+: //; s/@if[0-9]+//; s/ *[\\].*//'",
    "ip address": "ip -o address | sed -E 's/^[0-9]+: //'",
    "ip route": "ip -4 route show table all; ip -6 route show table all",
    "ip rule": "ip -4 rule; ip -6 rule",
    "forwarding": "sysctl -a 2>/dev/null | grep -E '^net[.]ipv[46][.](ip_forward|conf[.](all|default)[.])'",
    "unit files": "systemctl list-unit-files --no-legend --plain --full",
    "units": "systemctl list-units --no-legend --plain --full --state=active,failed,activating"
    " --type=service,socket,timer,path,target",
    "listeners": "ss -H -lntup | awk '{print $1, $5, $7}' | sed -E 's/,?(pid|fd)=[0-9]+//g'",
    "accounts": "cat /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/subgid",
    "sshd -T": "/usr/sbin/sshd -T; /usr/sbin/sshd -T -C user=overssh,host=localhost,addr=127.0.0.1",
    "files": rf"find {PLACES} -xdev {LEFT_OUT} -printf '%p %y %m %u:%g %l\n'",
    "contents": rf"find {PLACES} -xdev -type f {LEFT_OUT} -exec sha256sum {{}} +",
    "names": "find / /run -xdev -name '*overssh*'",
    "docker": "docker info --format '{{.Swarm.LocalNodeState}}'; docker network ls --format 'network {{.Name}}';"
    " docker ps --all --format 'container {{.Names}}'; docker images --format 'image {{.Repository}}'",
}
# Sessions of whoever looks, what systemd starts by its own clock or on demand, or at the first boot only, and the ports
# that containerd and the lab's name server take at random at every boot.
PASSING = re.compile(
    r"^(session-|user@|user-runtime-dir@|user-\d)"
    r"|^systemd-(hostnamed|timedated|tmpfiles-clean|localed|journal-catalog-update|sysusers|update-done)\.service"
    r"|^ldconfig\.service"
    r"|^(tcp|udp) 127\.0\.0\.(11:|1:\d+ .*containerd)"
)


def ruleset(text: str) -> list[str]:
    """The rules of a listing, chain by chain; their order counts, that of tables and chains does not.

    Docker 28 has a table `raw` for as long as the bridge of a swarm is there, and leaves it behind without a rule.
    """
    table = block = ""
    found = []
    for line in text.splitlines():
        if line.startswith("table "):
            table, block = line.rstrip(" {"), ""
            found.append((table, "(table)"))
        elif line.startswith("\t") and line.endswith(" {"):
            block = line.strip("\t {")
        elif line.startswith("\t\t"):
            found.append((f"{table} {block}".strip(), line.strip()))
        elif line == "\t}":
            found.append((f"{table} {block}", "(end)"))
    raw = [item for item in found if re.match(r"table ip6? raw\b", item[0])]
    if all(line in {"(table)", "(end)"} or line.startswith("type ") for _place, line in raw):
        found = [item for item in found if item not in raw]
    return [f"{place}: {line}" for place, line in sorted(found, key=lambda item: item[0])]


def take(node: str, aspect: str) -> list[str]:
    """The lines of one aspect of a node, as it is now."""
    text = lab.inside(node, SCRIPTS[aspect])
    if aspect == RULESET:
        return ruleset(text)
    # systemd makes columns as wide as what passes needs.
    return sorted(" ".join(line.split()) for line in text.splitlines() if not PASSING.match(line))


def fresh(node: str, aspect: str) -> list[str]:
    """The same from when nothing had been done to the node."""
    lines: list[str] = json.loads(FRESH.read_text(encoding="utf-8"))[node][aspect]
    return lines


if __name__ == "__main__":
    FRESH.write_text(
        json.dumps({node: {aspect: take(node, aspect) for aspect in SCRIPTS} for node in lab.hosts()}), encoding="utf-8"
    )
