# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three files of a link: ssh's configuration, the peer's keys and a unit; and the values read back from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .._linux.systemd import program_word
from . import dial_sh, pause_sh
from .lanes import Lanes, lanes_of
from .model import Jump, Link

FOLDER = "/etc/overssh/links"
# What a stream's configuration says to us and not to ssh.
REMOTE_ADDRESS = "# Its address in the underlay: "
TRANSPORT = "# The transport: "
DEVICES = "# The device of this host and of the peer: "
LANES = "# The lanes: "

# Where ssh says why a tunnel was refused, and by whom, it says so to its debug log only (LogVerbose: from 8.5).
TELLING = (
    "port-net.c:*",
    "packet.c:ssh_packet_read_poll_seqnr():*",
    "kex.c:kex_exchange_identification():*",
    "sshconnect.c:verify_host_key():*",
)

# How a unit starts ssh by itself, and how it starts the helper that runs ssh.
START_TUN = """\
/usr/bin/ssh -F {conf} -N -T {name}
# ssh ends with 255 whatever ended it, a stop included.
SuccessExitStatus=255
"""
START_WATCHED = """\
{python} -I {program} --device {device} --address {address} --silence {patience} -- \
/usr/bin/ssh -F {conf} -N -T {name}
# With another watchdog the link is started anew. This one's SHA-256: {digest}
SuccessExitStatus=255
"""
START_STREAM = """\
{python} -I -B {program} dial --device {device} --lanes {lanes} --silence {silence:g} --peer {name} -- \
/usr/bin/ssh -F {conf} -T {name}
# With another helper the link is started anew. This one's SHA-256: {digest}
"""

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
# A peer that refuses this host is dialled ever more seldom; a stop ends the pause and forgets the refusals.
RuntimeDirectory=overssh-link-{name}
RuntimeDirectoryPreserve=restart
TimeoutStartSec=10min
ExecStartPre=/bin/sh -c {pause} sh {name}
SyslogIdentifier=overssh-link
ExecStart=/bin/sh -c {dial} sh \\
{start}\
# ssh runs a ProxyCommand with this shell; the account's own may be /bin/false.
Environment=SHELL=/bin/sh
Restart=always
RestartSec=1s
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
class Texts:
    """The texts of a link's files, None for a missing file."""

    conf: str | None
    known_hosts: str | None
    unit: str | None


@dataclass(frozen=True)
class ConfFacts:
    """The values in a link's configuration, as far as it has them."""

    host: str | None = None
    port: int | None = None
    transport: str | None = None
    lanes: Lanes | None = None
    device: str | None = None
    remote_device: str | None = None
    remote_address: str | None = None
    connect_timeout: int = 0


def unit_of(name: str) -> str:
    """The name of the unit that keeps up the link to this peer."""
    return f"overssh-link-{name}.service"


def conf_path(name: str) -> str:
    """The path of ssh's configuration for the link."""
    return f"{FOLDER}/{name}.conf"


def refused_path(name: str) -> str:
    """The path of the file with a line for each refusal in a row.

    The file is gone after an attempt without a refusal, and after a stop of the unit.
    """
    return f"/run/overssh-link-{name}/refused"


def known_hosts_path(name: str) -> str:
    """The path of the file with the peer's host keys."""
    return f"{FOLDER}/{name}.known_hosts"


def texts_of(link: Link, digest: str) -> Texts:
    """The texts of the link's files; digest: the helper's, unused by the transport tun."""
    return Texts(conf=conf_text(link), known_hosts=known_hosts_text(link), unit=unit_text(link, digest))


def conf_text(link: Link) -> str:
    """ssh's configuration: one host, one tunnel or session, one key, and no other file."""
    shared = _shared(link)
    options = {**_place(link), **_way(link), **_tunnel(link), **shared}
    spelled = {name.lower(): name for name in options}
    for name, values in link.extra_options.items():
        options[spelled.get(name.lower(), name)] = values
    blocks = [_block(link.name, options)]
    blocks += [_block(jump.name, {**_place(jump), **shared}) for jump in link.jumps]
    return "\n".join(
        [
            f"# Written by overssh.swarm: the link to {link.name}, kept by {unit_of(link.name)}.",
            f"{REMOTE_ADDRESS}{link.remote_address}",
            *_remarks(link),
            *blocks,
            "",
        ]
    )


def _block(name: str, options: Mapping[str, tuple[str, ...]]) -> str:
    lines = [f"    {option} {value}" for option, values in options.items() for value in values]
    return "\n".join([f"Host {name}", *lines])


def _place(where: Link | Jump) -> dict[str, tuple[str, ...]]:
    """A host's address, and the name of its key among the known hosts."""
    return {
        "HostName": (where.host.replace("%", "%%"),),
        "Port": (str(where.port),),
        "HostKeyAlias": (where.name,),
    }


def _way(link: Link) -> dict[str, tuple[str, ...]]:
    return {"ProxyJump": (",".join(jump.name for jump in link.jumps),)} if link.jumps else {}


def _shared(link: Link) -> dict[str, tuple[str, ...]]:
    """How ssh connects to the peer and to every host on the way."""
    return {
        "User": (link.user,),
        "IdentityFile": (_quoted(link.identity_file.replace("%", "%%")),),
        "IdentitiesOnly": ("yes",),
        "IdentityAgent": ("none",),
        "PreferredAuthentications": ("publickey",),
        "BatchMode": ("yes",),
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


def _tunnel(link: Link) -> dict[str, tuple[str, ...]]:
    if link.transport != "tun":
        return {}
    return {
        "Tunnel": ("point-to-point",),
        "TunnelDevice": (f"{link.device[3:]}:{link.remote_device[3:]}",),
        "ExitOnForwardFailure": ("yes",),
    }


def _remarks(link: Link) -> list[str]:
    """The comments of a stream's configuration, which this collection reads back; a tunnel's has the same for ssh."""
    if link.transport == "tun":
        return []
    return [
        f"{TRANSPORT}{link.transport}",
        f"{LANES}{link.lanes}",
        f"{DEVICES}{link.device}:{link.remote_device}",
    ]


def known_hosts_text(link: Link) -> str:
    """The host keys of the peer and of the jump hosts, by their names in the configuration."""
    places: tuple[Link | Jump, ...] = (link, *link.jumps)
    return "".join(f"{where.name} {key}\n" for where in places for key in where.host_keys)


def unit_text(link: Link, digest: str) -> str:
    """The unit; home folders are hidden from it, unless the key lies in one."""
    at_home = link.identity_file.startswith(("/home/", "/root/", "/run/user/"))
    start = START_STREAM if link.transport == "stream" else START_WATCHED if link.watchdog else START_TUN
    return UNIT.format(
        name=link.name,
        device=link.device,
        run_as=link.run_as,
        start=start.format(
            name=link.name,
            conf=conf_path(link.name),
            device=link.device,
            lanes=link.lanes,
            silence=link.silence,
            python=link.python,
            program=link.program,
            address=link.remote_address,
            patience=link.keepalive_interval * link.keepalive_count,
            digest=digest,
        ),
        pause=program_word(pause_sh.PROGRAM),
        dial=program_word(dial_sh.PROGRAM),
        protect_home="read-only" if at_home else "yes",
    )


def conf_facts(text: str | None) -> ConfFacts:
    """Read a configuration of ours; one without a transport is a tunnel's."""
    if text is None:
        return ConfFacts()
    remarks: dict[str, str] = {}
    values: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            label, _colon, value = line.partition(": ")
            remarks[f"{label}: "] = value.strip()
        else:
            keyword, _space, value = line.strip().partition(" ")
            values.setdefault(keyword.lower(), value.strip())
    if TRANSPORT in remarks:
        device, _colon, remote_device = remarks.get(DEVICES, "").partition(":")
    else:
        device, remote_device = _tunnel_devices(values.get("tunneldevice", ""))
    return ConfFacts(
        host=values["hostname"].replace("%%", "%") if "hostname" in values else None,
        port=_number(values.get("port")),
        transport=remarks.get(TRANSPORT, "tun"),
        lanes=lanes_of(remarks.get(LANES, "1")),
        device=device or None,
        remote_device=remote_device or None,
        remote_address=remarks.get(REMOTE_ADDRESS),
        connect_timeout=_number(values.get("connecttimeout")) or 0,
    )


def _tunnel_devices(value: str) -> tuple[str, str]:
    local, _colon, remote = value.partition(":")
    return f"tun{local}" if local.isdigit() else "", f"tun{remote}" if remote.isdigit() else ""


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
