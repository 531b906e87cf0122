# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A link over ssh as the user asks for it, and the three texts that make it: ssh's configuration, keys, a unit."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._errors import OversshError

FOLDER = "/etc/overssh/links"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
DEVICE = re.compile(r"tun(0|[1-9][0-9]{0,9})")
TUNNEL_MAX = 2147483645  # OpenSSH's SSH_TUNID_MAX
ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?")
HOST = re.compile(r"[A-Za-z0-9_.:%-]+")
CIPHER = re.compile(r"[a-z0-9.@-]+")
KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
REMOTE_ADDRESS = "# Its address in the underlay: "

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

# Where ssh says why a tunnel was refused, and by whom, it says so to its debug log only (LogVerbose: from 8.5).
TELLING = (
    "port-net.c:*",
    "packet.c:ssh_packet_read_poll_seqnr():*",
    "kex.c:kex_exchange_identification():*",
    "sshconnect.c:verify_host_key():*",
)

UNIT = """\
# Written by overssh.swarm.
[Unit]
Description=overssh link to {name} over {device}
Documentation=man:ssh(1)
Wants=network-online.target overssh-{device}.service
After=network-online.target overssh-{device}.service
StartLimitIntervalSec=0

[Service]
Type=exec
User={run_as}
ExecStart=/usr/bin/ssh -F {conf} -N -T {name}
# ssh runs a ProxyCommand with this shell; the account's own is /bin/false.
Environment=SHELL=/bin/sh
Restart=always
RestartSec=1s
# ssh ends with 255 whatever ended it, a stop included.
SuccessExitStatus=255
TimeoutStopSec=5s

UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
DevicePolicy=closed
DeviceAllow=/dev/net/tun rw
ProtectSystem=strict
ProtectHome={protect_home}
PrivateTmp=yes
ProtectProc=invisible
ProcSubset=pid
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Link:
    """A link to a peer, everything that ssh has to know included. ciphers: in order of preference."""

    name: str
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


@dataclass(frozen=True)
class Texts:
    """The files of a link, None where there is none."""

    conf: str | None
    known_hosts: str | None
    unit: str | None


@dataclass(frozen=True)
class ConfFacts:
    """What a link's configuration says, as far as it can be read back."""

    host: str | None = None
    port: int | None = None
    device: str | None = None
    remote_device: str | None = None
    remote_address: str | None = None
    connect_timeout: int = 0


def unit_of(name: str) -> str:
    """The unit that keeps the link to this peer."""
    return f"overssh-link-{name}.service"


def conf_path(name: str) -> str:
    """ssh's configuration for the link."""
    return f"{FOLDER}/{name}.conf"


def known_hosts_path(name: str) -> str:
    """The peer's host keys."""
    return f"{FOLDER}/{name}.known_hosts"


def checked_name(name: str) -> str:
    """The name, where it can be part of a unit's and a file's name."""
    if not NAME.fullmatch(name):
        raise OversshError(
            f"name is {name!r}; it becomes part of file names, so letters, digits, '.', '_' and '-' are allowed, "
            "with a letter or a digit first"
        )
    return name


def link_of(params: Mapping[str, Any], known_ciphers: Sequence[str], has_aes: bool) -> Link:
    """The link that the module's options describe, or OversshError with what can't be."""
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
    )


def texts_of(link: Link) -> Texts:
    """The files that make the link."""
    return Texts(conf=conf_text(link), known_hosts=known_hosts_text(link), unit=unit_text(link))


def conf_text(link: Link) -> str:
    """ssh's configuration: one host, one tunnel, one key, and nothing from any other file."""
    options: dict[str, tuple[str, ...]] = {
        "HostName": (link.host.replace("%", "%%"),),
        "Port": (str(link.port),),
        "User": (link.user,),
        "Tunnel": ("point-to-point",),
        "TunnelDevice": (f"{link.device[3:]}:{link.remote_device[3:]}",),
        "ExitOnForwardFailure": ("yes",),
        "IdentityFile": (_quoted(link.identity_file.replace("%", "%%")),),
        "IdentitiesOnly": ("yes",),
        "IdentityAgent": ("none",),
        "PreferredAuthentications": ("publickey",),
        "BatchMode": ("yes",),
        "HostKeyAlias": (link.name,),
        "UserKnownHostsFile": (known_hosts_path(link.name),),
        "GlobalKnownHostsFile": ("none",),
        "StrictHostKeyChecking": ("yes",),
        "CheckHostIP": ("no",),
        "UpdateHostKeys": ("no",),
        "Ciphers": (",".join(link.ciphers),),
        "ConnectTimeout": (str(link.connect_timeout),),
        "ServerAliveInterval": (str(link.keepalive_interval),),
        "ServerAliveCountMax": (str(link.keepalive_count),),
        "TCPKeepAlive": ("yes",),
        "IPQoS": ("none",),
        "ControlMaster": ("no",),
        "ControlPath": ("none",),
        "ForwardAgent": ("no",),
        "ForwardX11": ("no",),
        "RequestTTY": ("no",),
        "LogLevel": ("VERBOSE",),
        "IgnoreUnknown": ("LogVerbose",),
        "LogVerbose": (",".join(TELLING),),
    }
    spelled = {name.lower(): name for name in options}
    for name, values in link.extra_options.items():
        options[spelled.get(name.lower(), name)] = values
    lines = [f"    {name} {value}" for name, values in options.items() for value in values]
    return "\n".join(
        [
            f"# Written by overssh.swarm: the link to {link.name}, kept by {unit_of(link.name)}.",
            f"{REMOTE_ADDRESS}{link.remote_address}",
            f"Host {link.name}",
            *lines,
            "",
        ]
    )


def known_hosts_text(link: Link) -> str:
    """The peer's host keys under the name that the configuration gives it."""
    return "".join(f"{link.name} {key}\n" for key in link.host_keys)


def unit_text(link: Link) -> str:
    """The unit. A key below a home stays readable; homes are hidden otherwise."""
    at_home = link.identity_file.startswith(("/home/", "/root/", "/run/user/"))
    return UNIT.format(
        name=link.name,
        device=link.device,
        run_as=link.run_as,
        conf=conf_path(link.name),
        protect_home="read-only" if at_home else "yes",
    )


def conf_facts(text: str | None) -> ConfFacts:
    """Read a configuration of ours back."""
    values: dict[str, str] = {}
    remote_address = None
    for line in (text or "").splitlines():
        if line.startswith(REMOTE_ADDRESS):
            remote_address = line[len(REMOTE_ADDRESS) :].strip()
        elif not line.startswith("#"):
            keyword, _space, value = line.strip().partition(" ")
            values.setdefault(keyword.lower(), value.strip())
    local, _colon, remote = values.get("tunneldevice", "").partition(":")
    port, patience = values.get("port", ""), values.get("connecttimeout", "")
    return ConfFacts(
        host=values["hostname"].replace("%%", "%") if "hostname" in values else None,
        port=int(port) if port.isdigit() else None,
        device=f"tun{local}" if local.isdigit() else None,
        remote_device=f"tun{remote}" if remote.isdigit() else None,
        remote_address=remote_address,
        connect_timeout=int(patience) if patience.isdigit() else 0,
    )


def fingerprint(key: str) -> str:
    """A public key's fingerprint as ssh prints it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def default_ciphers(known: Sequence[str], has_aes: bool) -> tuple[str, ...]:
    """The fastest first: AES where the processor has instructions for it."""
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


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
