# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A link over ssh as the user describes it; checked as far as possible without the host."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._core.errors import OversshError
from .lanes import TAKES, Lanes, lanes_at_start, lanes_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
DEVICE = re.compile(r"tun(0|[1-9][0-9]{0,9})")
TUNNEL_MAX = 2147483645  # OpenSSH's SSH_TUNID_MAX
ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?")
HOST = re.compile(r"[A-Za-z0-9_.:%-]+")
CIPHER = re.compile(r"[a-z0-9.@-]+")
KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./+@-]+")

# It lies beside the helper.
WATCHDOG = "watch.py"
# OpenSSH's channel buffer (CHAN_RBUF - 4): a larger packet is dropped in silence, and everything after it.
TUN_MTU_MAX = 16380
# What the helper takes; beyond it a dead link would stand for days.
SILENCE_MAX = 86400

AES = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
CHACHA = ("chacha20-poly1305@openssh.com",)
CTR = ("aes128-ctr", "aes192-ctr", "aes256-ctr")

# What the module's own options say; extra_options must not say it as well.
OWN_OPTIONS = {
    "ciphers": "ciphers",
    "connecttimeout": "connect_timeout",
    "globalknownhostsfile": "host_keys",
    "hostkeyalias": "name",
    "hostname": "host",
    "identityfile": "identity_file",
    "port": "port",
    "serveralivecountmax": "keepalive_count",
    "serveraliveinterval": "keepalive_interval",
    "stricthostkeychecking": "host_keys",
    "tunneldevice": "device and remote_device",
    "user": "user",
    "userknownhostsfile": "host_keys",
}
# These would let something other than this one host and this one tunnel through.
REFUSED = ("clearallforwardings", "host", "include", "match", "tunnel")


@dataclass(frozen=True)
class Jump:
    """A jump host on the way to a peer; it has the peer's account and key."""

    name: str
    host: str
    port: int
    host_keys: tuple[str, ...]


@dataclass(frozen=True)
class Link:
    """A link to a peer, with all that ssh has to know.

    transport: "tun" (ssh -w) or "stream" (a helper at each end of an ordinary session); lanes: a stream's, 1 for a
    tunnel; python and helper: the interpreter and program of this host's end; watchdog: whether a tunnel without
    traffic is ended; ciphers: in order of preference.
    """

    name: str
    transport: str
    lanes: Lanes
    python: str
    helper: str
    host: str
    port: int
    user: str
    run_as: str
    identity_file: str
    host_keys: tuple[str, ...]
    device: str
    remote_device: str
    remote_address: str
    keepalive_interval: int
    keepalive_count: int
    connect_timeout: int
    ciphers: tuple[str, ...]
    extra_options: Mapping[str, tuple[str, ...]]
    jumps: tuple[Jump, ...] = ()
    watchdog: bool = False

    @property
    def program(self) -> str:
        """The path of our program at this host's end; empty for none."""
        if self.transport == "stream":
            return self.helper
        return f"{self.helper.rpartition('/')[0]}/{WATCHDOG}" if self.watchdog else ""

    @property
    def silence(self) -> float:
        """Seconds of silence after which a stream's peer counts as lost; fewer than ssh's, so the helper reports it."""
        return self.keepalive_interval * max(self.keepalive_count - 1, 0.5)


def checked_name(name: str) -> str:
    """The name, where a unit's and a file's name can contain it."""
    if not NAME.fullmatch(name):
        raise OversshError(
            f"name is {name!r}; it becomes part of file names, so letters, digits, '.', '_' and '-' are allowed, "
            "with a letter or a digit first"
        )
    return name


def link_of(params: Mapping[str, Any], known_ciphers: Sequence[str], has_aes: bool) -> Link:
    """The link that the module's options describe; OversshError names the wrong option."""
    for option, pattern in (("host", HOST), ("user", ACCOUNT), ("run_as", ACCOUNT)):
        if not pattern.fullmatch(params[option]) or params[option].startswith("-"):
            raise OversshError(
                f"{option} is {params[option]!r}, which is no {option.replace('run_as', 'account')} name"
            )
    for option in ("device", "remote_device"):
        _require_tun(option, params[option])
    for option in ("port", "keepalive_interval", "keepalive_count", "connect_timeout"):
        if not 1 <= params[option] <= 65535:
            raise OversshError(f"{option} is {params[option]}; it has to be between 1 and 65535")
    _check_stream(params)
    try:
        remote_address = str(ipaddress.IPv4Address(params["remote_address"]))
    except ValueError as error:
        raise OversshError(f"remote_address is {params['remote_address']!r}, which is no IPv4 address") from error
    identity_file = params["identity_file"]
    if not identity_file.startswith("/") or re.search(r'[\x00-\x1f"\\$]', identity_file):
        raise OversshError(f"identity_file is {identity_file!r}; give an absolute path without quotes, $ and \\")
    if not params["host_keys"]:
        raise OversshError("host_keys is empty, and a peer whose host key is not known is never dialled")
    return Link(
        name=checked_name(params["name"]),
        transport=params["transport"],
        lanes=_lanes(params["lanes"], params["transport"]),
        python=params["python"],
        helper=params["helper"],
        host=params["host"],
        port=params["port"],
        user=params["user"],
        run_as=params["run_as"],
        identity_file=identity_file,
        host_keys=tuple(dict.fromkeys(_host_key(line) for line in params["host_keys"])),
        device=params["device"],
        remote_device=params["remote_device"],
        remote_address=remote_address,
        keepalive_interval=params["keepalive_interval"],
        keepalive_count=params["keepalive_count"],
        connect_timeout=params["connect_timeout"],
        ciphers=_ciphers(params["ciphers"], known_ciphers, has_aes),
        extra_options=_extra_options(params["extra_options"] or {}),
        jumps=_jumps(params["jumps"], params["name"]),
        watchdog=params["watchdog"] and params["transport"] == "tun",
    )


def _jumps(given: Sequence[Mapping[str, Any]], peer: str) -> tuple[Jump, ...]:
    """The hosts on the way; each has a name of its own, by which ssh finds where it is and what its keys are."""
    names = [peer, *(jump["name"] for jump in given)]
    for jump in given:
        if not NAME.fullmatch(jump["name"]) or names.count(jump["name"]) > 1:
            raise OversshError(
                f"jumps has the name {jump['name']!r}; each takes one of its own, other than the peer's, of letters, "
                "digits, '.', '_' and '-', with a letter or a digit first"
            )
        if not HOST.fullmatch(jump["host"]) or jump["host"].startswith("-"):
            raise OversshError(f"jumps: host of {jump['name']} is {jump['host']!r}, which is no host name")
        if not 1 <= jump["port"] <= 65535:
            raise OversshError(f"jumps: port of {jump['name']} is {jump['port']}; it has to be between 1 and 65535")
        if not jump["host_keys"]:
            raise OversshError(
                f"jumps: host_keys of {jump['name']} is empty, and a host whose key is not known is never dialled"
            )
    return tuple(
        Jump(jump["name"], jump["host"], jump["port"], tuple(dict.fromkeys(map(_host_key, jump["host_keys"]))))
        for jump in given
    )


def fingerprint(key: str) -> str:
    """A public key's fingerprint as ssh prints it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def default_ciphers(known: Sequence[str], has_aes: bool) -> tuple[str, ...]:
    """The ciphers, fastest first: AES where the processor has instructions for it."""
    order = (*AES, *CHACHA, *CTR) if has_aes else (*CHACHA, *AES, *CTR)
    return tuple(cipher for cipher in order if cipher in known)


def _ciphers(asked: Sequence[str] | None, known: Sequence[str], has_aes: bool) -> tuple[str, ...]:
    if not asked:
        return default_ciphers(known, has_aes)
    strange = [cipher for cipher in asked if not CIPHER.fullmatch(cipher) or cipher not in known]
    if strange:
        raise OversshError(
            f"ciphers has {', '.join(strange)}, which this host's ssh does not know; "
            "'ssh -Q cipher' lists what it knows"
        )
    return tuple(asked)


def _lanes(word: str, transport: str) -> Lanes:
    lanes = lanes_of(word)
    if lanes is None:
        raise OversshError(f"lanes is {word!r}; it takes {TAKES}")
    if transport != "tun":
        return lanes
    if lanes_at_start(lanes) > 1:
        raise OversshError(f"lanes is {lanes}, and the transport tun has one lane; take transport: stream for more")
    return 1


def _check_stream(params: Mapping[str, Any]) -> None:
    """The checks of a stream's own options."""
    for option in ("python", "helper"):
        if not PLAIN_PATH.fullmatch(params[option]):
            raise OversshError(
                f"{option} is {params[option]!r}; give an absolute path of plain letters, without blanks"
            )
    if params["keepalive_interval"] * params["keepalive_count"] > SILENCE_MAX:
        raise OversshError(
            f"keepalive_interval times keepalive_count is more than a day ({SILENCE_MAX} s); a link that is gone has "
            "to be noticed earlier"
        )


def _require_tun(option: str, device: str) -> None:
    if not DEVICE.fullmatch(device) or int(device[3:]) > TUNNEL_MAX:
        raise OversshError(
            f"{option} is {device!r}; ssh opens devices by number only, so it has to be tun and a number"
        )


def _host_key(line: str) -> str:
    """A public key line without its comment."""
    words = line.split()
    try:
        kind, blob = words[0].encode(), base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error, ValueError):
        kind, blob = b"", b""
    if not kind or blob[: 4 + len(kind)] != len(kind).to_bytes(4, "big") + kind:
        raise OversshError(
            f"host_keys has {line[:40]!r}, which is no public key line (such as 'ssh-ed25519 AAAA...', without a host)"
        )
    return f"{words[0]} {words[1]}"


def _extra_options(given: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    options = {}
    for name, value in given.items():
        keyword = name.lower()
        if not KEYWORD.fullmatch(name) or keyword in REFUSED:
            raise OversshError(f"extra_options has {name!r}, which a link can't do with")
        if keyword in OWN_OPTIONS:
            raise OversshError(f"extra_options has {name}; that is told by {OWN_OPTIONS[keyword]}")
        values = [_word(item) for item in (value if isinstance(value, list) else [value])]
        if any(re.search(r"[\x00-\x1f]", item) or not item for item in values):
            raise OversshError(f"extra_options has an empty value, or one of several lines, for {name}")
        options[name] = tuple(values)
    return options


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).strip()
