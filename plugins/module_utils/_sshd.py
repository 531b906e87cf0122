# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""This host's sshd: what the other end of a link has to know of it, and what stands in the way of one; only looks.

Whether a Match block of ours would hold is tried out beforehand: sshd is asked what it would do with a copy of its
configuration that has such a block where the role tunnel would put it.
"""

from __future__ import annotations

import glob
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from . import _proc
from ._command import CommandError, Runner
from ._files import read_text

MAIN = "/etc/ssh/sshd_config"
DROP_INS = "/etc/ssh/sshd_config.d"
OUR_DROP_IN = f"{DROP_INS}/overssh.conf"
# What the role tunnel decides for its account; where something else comes out, it was not our block that did so.
REHEARSED = {
    "PermitTunnel": "point-to-point",
    "DisableForwarding": "no",
    "AllowTcpForwarding": "local",
    "AuthorizedKeysFile": "/etc/overssh/authorized_keys",
    "AuthorizedKeysCommand": "none",
    "TrustedUserCAKeys": "none",
    "AuthenticationMethods": "publickey",
    "PubkeyAuthentication": "yes",
    "AllowStreamLocalForwarding": "no",
    "AllowAgentForwarding": "no",
    "X11Forwarding": "no",
    "PermitTTY": "no",
    "PermitUserRC": "no",
    "MaxSessions": "1",
    "ForceCommand": "none",
    "ChrootDirectory": "none",
}
# Around what is ours at the end of a file that has no drop-ins.
BEGIN, END = "# BEGIN overssh.swarm", "# END overssh.swarm"
OUR_BLOCK = re.compile(rf"^{re.escape(BEGIN)}$.*?^{re.escape(END)}$\n?", re.M | re.S)
INCLUDE = re.compile(r"\s*include\s", re.I)


def look(run: Runner, finds: Callable[[str], bool], user: str) -> dict[str, Any]:
    """All of it; user: the account that tunnels log in to."""
    found: dict[str, Any] = {"host_keys": [], "drop_ins": False, "service": "", "ends_unused": False, "decided": []}
    if not finds("sshd"):
        return {**found, "problems": ["the program sshd is missing; install the package openssh-server."]}
    answer = run(["sshd", "-T"], check=False)
    if answer.rc != 0:
        words = answer.stderr.strip().rstrip(".")
        return {**found, "problems": [f"sshd does not accept its own configuration: {words}."]}
    effective = parse(answer.stdout)
    keys = [read_text(f"{path}.pub") for path in effective.get("hostkey", [])]
    host_keys = [" ".join(key.split()[:2]) for key in keys if key]
    said = problems(effective, user)
    if not host_keys:
        said.append("sshd's public host keys can't be read; make them with ssh-keygen -A.")
    main = read_text(MAIN) or ""
    return {
        "host_keys": host_keys,
        "drop_ins": includes_drop_ins(main),
        "service": service(),
        "ends_unused": "unusedconnectiontimeout" in effective,
        "decided": _decided(run, main, user),
        "problems": said,
    }


def effective(run: Runner, user: str, config: str = MAIN) -> list[str]:
    """What holds for the account of what the role tunnel decides, in lines of a keyword in small letters and its value.

    CommandError where sshd does not take the configuration.
    """
    answer = run(["sshd", "-T", "-f", config, "-C", f"user={user},host=localhost,addr=127.0.0.1"])
    decided = {keyword.lower() for keyword in REHEARSED}
    return [line for line in map(small, answer.stdout.splitlines()) if line.partition(" ")[0] in decided]


def small(line: str) -> str:
    """A line of `sshd -T` with its keyword in small letters, as OpenSSH before 10.4 prints it."""
    keyword, space, value = line.strip().partition(" ")
    return f"{keyword.lower()}{space}{value}"


def rehearse(run: Runner, main: str, block: str, user: str) -> list[str]:
    """The same with a Match block in the place that ours would have; main: the text of sshd's own file.

    CommandError where sshd would not take it.
    """
    with tempfile.TemporaryDirectory(prefix="overssh-sshd-") as folder:
        ours, copy = os.path.join(folder, "overssh.conf"), os.path.join(folder, "sshd_config")
        _write(ours, block)
        drop_ins = sorted(glob.glob(f"{DROP_INS}/*.conf"))
        _write(copy, among_drop_ins(main, ours, drop_ins) if includes_drop_ins(main) else with_block(main, block))
        return effective(run, user, copy)


def parse(text: str) -> dict[str, list[str]]:
    """`sshd -T` as a mapping of keyword to its values, in the order they are printed."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _space, value = small(line).partition(" ")
        if keyword:
            found.setdefault(keyword, []).append(value)
    return found


def problems(effective: Mapping[str, Sequence[str]], user: str) -> list[str]:
    """Sentences on why this sshd would not let the tunnel account in; effective: as `sshd -T` prints it."""
    said = []
    allowed = effective.get("allowusers", [])
    if allowed and not any(_names(pattern, user) for pattern in allowed):
        said.append(f"sshd's AllowUsers leaves out {user}; add it to that line.")
    if any(_names(pattern, user) for pattern in effective.get("denyusers", [])):
        said.append(f"sshd's DenyUsers names {user}; take it out of that line.")
    groups = effective.get("allowgroups", [])
    if groups and user not in groups:
        said.append(f"sshd's AllowGroups leaves out the group {user}; add it to that line.")
    return said


def _names(pattern: str, user: str) -> bool:
    return pattern.split("@", 1)[0] in (user, "*")


def includes_drop_ins(main: str) -> bool:
    """Whether sshd reads /etc/ssh/sshd_config.d, before anything else that could decide first."""
    for line in main.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].lower() == "include" and any("sshd_config.d/*.conf" in word for word in words[1:]):
            return True
        if words[0].lower() == "match":
            return False
    return False


def service() -> str:
    """The unit of the sshd that listens; empty where none does, as where systemd starts one for each connection."""
    daemons = [each for each in _proc.processes() if each.name == "sshd" and each.parent == 1]
    return next((_proc.unit(each.pid) for each in daemons if _proc.held(each.pid).listening), "")


def _decided(run: Runner, main: str, user: str) -> list[dict[str, str]]:
    """What a Match block of somebody else decides for the account before ours could, and in which file it stands."""
    block = "".join([f"Match User {user}\n", *(f"    {keyword} {value}\n" for keyword, value in REHEARSED.items())])
    try:
        found = parse("\n".join(rehearse(run, main, block, user)))
    except CommandError:  # what sshd says of its own configuration was told above
        return []
    return [
        {"keyword": keyword, "value": value, "file": _where(keyword, main)}
        for keyword, wanted in REHEARSED.items()
        for value in found.get(keyword.lower(), [])[:1]
        if value != wanted
    ]


def among_drop_ins(main: str, ours: str, drop_ins: Sequence[str]) -> str:
    """sshd's own file that includes our file ours in the place that it would have by its name."""
    others = [path for path in drop_ins if path != OUR_DROP_IN]
    named = [*(path for path in others if path < OUR_DROP_IN), ours, *(path for path in others if path > OUR_DROP_IN)]
    return "".join(
        f"Include {' '.join(named)}\n" if INCLUDE.match(line) and "sshd_config.d/*.conf" in line else f"{line}\n"
        for line in main.splitlines()
    )


def with_block(main: str, text: str) -> str:
    """sshd's own file with our block after all else; an Include would belong to the Match block before it."""
    others = OUR_BLOCK.sub("", main)
    gap = "" if not others or others.endswith("\n") else "\n"
    return f"{others}{gap}{BEGIN}\n{text.strip()}\n{END}\n"


def inside(block: str) -> str:
    """What stands between the marks of a block of ours."""
    return "\n".join(block.splitlines()[1:-1])


def _where(keyword: str, main: str) -> str:
    """The first file with a Match block that has the keyword; sshd's own where none is found."""
    for path, text in _files(main):
        matches = False
        for line in text.splitlines():
            word = line.split()[0].lower() if line.split() else ""
            matches = matches or word == "match"
            if matches and word == keyword.lower():
                return path
    return MAIN


def _files(main: str) -> Iterator[tuple[str, str]]:
    for path in sorted(glob.glob(f"{DROP_INS}/*.conf")):
        if path != OUR_DROP_IN:
            yield path, read_text(path) or ""
    yield MAIN, OUR_BLOCK.sub("", main)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as opened:
        opened.write(text)
