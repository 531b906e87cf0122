# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""This host's sshd: facts that the other end of a link needs, and obstacles to a link; only looks.

A Match block of ours is tried out first: sshd reads a copy of its configuration with such a block in the place where
the role tunnel would put it.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .._core.command import CommandError, Runner
from .._core.files import read_text
from .._core.wait import WaitError, wait_until
from .._linux import proc
from .._linux.systemd import Systemd
from . import access
from . import config as sshd_config
from . import pam as sshd_pam

MAIN = sshd_config.MAIN
DROP_INS = "/etc/ssh/sshd_config.d"
OUR_DROP_IN = f"{DROP_INS}/overssh.conf"
# What the role tunnel decides for its account; where something else comes out, it was not our block that did so.
PROBED = {
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
# What sshd runs at every login, whatever the account.
RC = "/etc/ssh/sshrc"
# What two sides have to have in common.
ALGORITHMS = ("kexalgorithms", "hostkeyalgorithms", "ciphers", "macs")
# Seconds in which sshd listens again after a reload, on a busy host too; what systemd calls a service that runs.
SETTLE_SECONDS, ALIVE = 10.0, ("active", "reloading")
# An address that no Match block is about.
ANYWHERE = "127.0.0.1"
OTHER_FILE = re.compile(r"\s-f\s*(/\S+)")
INCLUDE = re.compile(r"\s*include\s", re.I)


def look(
    run: Runner, finds: Callable[[str], bool], user: str, peers: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """All facts and obstacles.

    user: the account that tunnels log in to; peers: the hosts that dial this one, each with a name and its address,
    which is also the address that it comes from, unless there is a NAT.
    """
    found: dict[str, Any] = {"host_keys": [], "drop_ins": False, "service": "", "ends_unused": False, "decided": []}
    found.update(warnings=[], limits=[], algorithms={}, rc="")
    if not finds("sshd"):
        return {**found, "problems": ["the program sshd is missing; install the package openssh-server."]}
    answer = run(["sshd", "-T", "-C", f"user={user},host=localhost,addr={ANYWHERE}"], check=False)
    if answer.rc != 0:
        words = answer.stderr.strip().rstrip(".")
        return {**found, "problems": [f"sshd does not accept its own configuration: {words}."]}
    effective = parse(answer.stdout)
    keys = [read_text(f"{path}.pub") for path in effective.get("hostkey", [])]
    host_keys = [" ".join(key.split()[:2]) for key in keys if key]
    lines = list(sshd_config.lines())
    groups = access.groups_of(user)

    def place(keyword: str, value: str) -> str:
        return sshd_config.place(lines, keyword, value)

    said = list(access.problems(effective, user, groups, place))
    warned = list(access.warnings(effective, user, peers, place))
    if not host_keys:
        said.append("sshd's public host keys can't be read; make them with ssh-keygen -A.")
    if effective.get("usepam") == ["yes"]:
        pam = sshd_pam.look(effective.get("pamservicename", ["sshd"])[0], user, groups, peers)
        said += pam["problems"]
        warned += pam["warnings"]
        found["limits"] = pam["limits"]
    daemon = _daemon()
    said += _unserved(daemon)
    main = read_text(MAIN) or ""
    return {
        **found,
        "host_keys": host_keys,
        "drop_ins": includes_drop_ins(main),
        "service": "" if daemon is None else proc.unit(daemon.pid),
        "ends_unused": "unusedconnectiontimeout" in effective,
        "decided": _decided(run, main, user, _addresses_that_matter(lines, peers), lines),
        "algorithms": algorithms(effective),
        "rc": RC if os.path.exists(RC) else "",
        "warnings": warned,
        "problems": said,
    }


def _addresses_that_matter(lines: Sequence[sshd_config.Line], peers: Sequence[Mapping[str, str]]) -> list[str]:
    """The addresses to ask about: of those that dial, where a Match block asks whence somebody comes."""
    asked = any(word.lower() in ("address", "host") for line in lines for word in line.match)
    return [ANYWHERE, *dict.fromkeys(peer["address"] for peer in peers if asked)]


def effective(run: Runner, user: str, config: str = MAIN, address: str = ANYWHERE) -> list[str]:
    """sshd's settings for the account, as lines of a keyword in small letters and its value; only those that we set.

    address: the source of the login. CommandError where sshd does not accept the configuration.
    """
    answer = run(["sshd", "-T", "-f", config, "-C", f"user={user},host=localhost,addr={address}"])
    decided = {keyword.lower() for keyword in PROBED}
    return [line for line in map(small, answer.stdout.splitlines()) if line.partition(" ")[0] in decided]


def offered(run: Runner) -> dict[str, list[str]]:
    """The algorithms that this host's ssh offers, of each kind that both sides must share, best first."""
    return algorithms(parse(run(["ssh", "-G", "-F", os.devnull, "localhost"], check=False).stdout))


def algorithms(effective: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The known algorithms of each kind."""
    return {kind: ",".join(effective[kind]).split(",") for kind in ALGORITHMS if kind in effective}


def small(line: str) -> str:
    """A line of `sshd -T` with its keyword in small letters, as OpenSSH before 10.4 prints it."""
    keyword, space, value = line.strip().partition(" ")
    return f"{keyword.lower()}{space}{value}"


def probe_block(run: Runner, main: str, block: str, user: str, address: str = ANYWHERE) -> list[str]:
    """The effective settings with a Match block in our block's place; main: the text of sshd's own file.

    CommandError where sshd would not accept it.
    """
    with tempfile.TemporaryDirectory(prefix="overssh-sshd-") as folder:
        ours, copy = os.path.join(folder, "overssh.conf"), os.path.join(folder, "sshd_config")
        _write(ours, block)
        drop_ins = sorted(glob.glob(f"{DROP_INS}/*.conf"))
        _write(copy, among_drop_ins(main, ours, drop_ins) if includes_drop_ins(main) else with_block(main, block))
        return effective(run, user, copy, address)


def parse(text: str) -> dict[str, list[str]]:
    """`sshd -T` as a mapping of each keyword to its values, in the order of printing."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _space, value = small(line).partition(" ")
        if keyword:
            found.setdefault(keyword, []).append(value)
    return found


def includes_drop_ins(main: str) -> bool:
    """Whether sshd reads /etc/ssh/sshd_config.d before any other setting."""
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
    """The unit of the listening sshd; empty for none, as where systemd starts one sshd for each connection."""
    daemon = _daemon()
    return "" if daemon is None else proc.unit(daemon.pid)


def reload(systemd: Systemd, unit: str) -> None:
    """Have the sshd of a unit read its files again; OversshError where nothing listens afterwards.

    An sshd with its port from a socket unit ends at a reload, because it can't bind the port anew. A socket unit that
    was stopped since does not show that beforehand. In that case sshd is started again, with a port of its own.
    """
    before = _listens()
    try:
        systemd.reload(unit)
    except CommandError:
        if systemd.observe(unit).active in ALIVE:
            raise
    # It is the same process after a reload, and holds its port by other sockets.
    with contextlib.suppress(WaitError):
        wait_until(lambda: _listens() not in (None, before) or not _lives(systemd, unit), SETTLE_SECONDS, "", 0.05)
    if not _lives(systemd, unit):
        systemd.start(unit)
    wait_until(_listens, SETTLE_SECONDS, f"the return of sshd after {unit} was reloaded")


def _lives(systemd: Systemd, unit: str) -> bool:
    return systemd.observe(unit).active in ALIVE


def _listens() -> tuple[int, frozenset[str]] | None:
    """The sshd that listens, with the numbers of its sockets; None where none does."""
    daemon = _daemon()
    return None if daemon is None else (daemon.pid, proc.held(daemon.pid).listening)


def _daemon() -> proc.Process | None:
    """The sshd that listens, None where none does."""
    daemons = [each for each in proc.processes() if each.name == "sshd" and each.parent == 1]
    return next((each for each in daemons if proc.held(each.pid).listening), None)


def _unserved(daemon: proc.Process | None) -> Iterator[str]:
    """Why the links would not be served by the sshd whose configuration was looked at."""
    if daemon is None:
        if not proc.held(1).listening:
            yield "no sshd listens on this host; start it with 'systemctl enable --now ssh' (sshd on Red Hat)."
        return
    # It writes its own words into one, with what it does after them.
    other = OTHER_FILE.search(" ".join(proc.command_line(daemon.pid)))
    if other and other[1] != MAIN and not any(line.path.startswith(DROP_INS) for line in sshd_config.lines(other[1])):
        yield (
            f"the sshd that listens was started with {other[1]} instead of {MAIN}, so nothing of the tunnels' would "
            f"hold there; let that file begin with 'Include {DROP_INS}/*.conf', or start it without -f."
        )


def _decided(
    run: Runner, main: str, user: str, addresses: Sequence[str], lines: Sequence[sshd_config.Line]
) -> list[dict[str, str]]:
    """Settings for the account in Match blocks of others that precede ours, with their places.

    Each has the first address that it is about, empty where it is about all.
    """
    block = "".join([f"Match User {user}\n", *(f"    {keyword} {value}\n" for keyword, value in PROBED.items())])
    found: dict[str, dict[str, str]] = {}
    for address in addresses:
        try:
            held = parse("\n".join(probe_block(run, main, block, user, address)))
        except CommandError:  # sshd's message about its own configuration is reported above
            return []
        for keyword, wanted in PROBED.items():
            for value in held.get(keyword.lower(), [])[:1]:
                if value != wanted and keyword not in found:
                    found[keyword] = {
                        "keyword": keyword,
                        "value": value,
                        "file": _where(keyword, lines),
                        "address": "" if address == ANYWHERE else address,
                    }
    return list(found.values())


def _where(keyword: str, lines: Sequence[sshd_config.Line]) -> str:
    """The first place in a Match block of somebody else that has the keyword; sshd's own file where none is found."""
    small = keyword.lower()
    theirs = (line for line in lines if line.match and line.keyword == small and line.path != OUR_DROP_IN)
    return next((line.place for line in theirs), MAIN)


def among_drop_ins(main: str, ours: str, drop_ins: Sequence[str]) -> str:
    """sshd's own file, with an include of the file ours in the place that ours would have by its name."""
    others = [path for path in drop_ins if path != OUR_DROP_IN]
    named = [*(path for path in others if path < OUR_DROP_IN), ours, *(path for path in others if path > OUR_DROP_IN)]
    return "".join(
        f"Include {' '.join(named)}\n" if INCLUDE.match(line) and "sshd_config.d/*.conf" in line else f"{line}\n"
        for line in main.splitlines()
    )


def with_block(main: str, text: str) -> str:
    """sshd's own file with our block at its end; an Include would belong to the Match block before it."""
    others = OUR_BLOCK.sub("", main)
    gap = "" if not others or others.endswith("\n") else "\n"
    return f"{others}{gap}{BEGIN}\n{text.strip()}\n{END}\n"


def inside(block: str) -> str:
    """The text between the marks of our block."""
    return "\n".join(block.splitlines()[1:-1])


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as opened:
        opened.write(text)
