# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit that makes a tun device again at boot: the same settings as ip commands, safe to run twice."""

from __future__ import annotations

from collections.abc import Iterator

from .model import Desired
from .routing import (
    FORWARDING,
    FORWARDING_6,
    LOOKUP_PRIORITY,
    REFUSE_PRIORITY,
    SOURCE_CHECK,
    failover_values,
    proc_path,
)


def unit_name(device: str) -> str:
    """The name of a device's unit."""
    return f"overssh-{device}.service"


def unit_text(desired: Desired, ip: str) -> str:
    """The text of the unit's file; ip: the path of the program ip."""
    lines = "\n".join(f"ExecStart={command}" for command in _commands(desired, ip))
    return f"""\
# Written by overssh.swarm; a change here is undone by its next run.
[Unit]
Description=overssh tunnel device {desired.name} ({desired.description or desired.name})
After=systemd-modules-load.service systemd-sysctl.service systemd-udevd.service
# It takes away the routing rules of others when it starts, also when it is restarted.
After=systemd-networkd.service
PartOf=systemd-networkd.service
Before=network.target docker.service
# Whoever undoes its work again and again is dealt with by overssh-watch.service.
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
{lines}

[Install]
# Docker looks for the address when it starts, and starts without it all the same.
WantedBy=multi-user.target docker.service
"""


def _commands(desired: Desired, ip: str) -> Iterator[str]:
    name = desired.name
    owner = f" user {desired.owner}" if desired.owner else ""
    group = f" group {desired.group}" if desired.group else ""
    queues = " multi_queue" if desired.multi_queue else ""
    # It exists already where the unit is started again.
    add = f"exec {ip} tuntap add dev {name} mode tun{owner}{group}{queues}"
    yield f"/bin/sh -c 'test -e /sys/class/net/{name} || {add}'"
    yield f'{ip} link set dev {name} alias "{desired.alias}" mtu {desired.mtu} txqueuelen {desired.txqueuelen}'
    for setting, wanted in ((FORWARDING, desired.forwarding), (FORWARDING_6, desired.forwarding6)):
        if wanted is not None:
            yield _echo(str(int(wanted)), proc_path(setting, name))
    if desired.failover is not None:
        for setting, value in failover_values(desired.failover, f"$(cat {proc_path(SOURCE_CHECK, 'default')})").items():
            yield _echo(value, proc_path(setting, name))
    if desired.incoming_table is not None:
        yield from _rules(name, desired.incoming_table, ip)
    # Before its addresses: the kernel forgets the route to an IPv6 address's peer when a device comes up.
    yield f"{ip} link set dev {name} {'up' if desired.up else 'down'}"
    for address in desired.addresses:
        yield f"{ip} address replace {address} dev {name}{' nodad' if ':' in address.address else ''}"
    if desired.up:
        for route in desired.routes:
            yield f"{ip} route replace {route} dev {name} proto static"


def _echo(value: str, path: str) -> str:
    return f"/bin/sh -c 'test ! -e {path} || echo {value} >{path}'".replace("$", "$$")


def _rules(name: str, table: int, ip: str) -> Iterator[str]:
    for family in ("-4", "-6"):
        for priority, what in ((LOOKUP_PRIORITY, f"lookup {table}"), (REFUSE_PRIORITY, "unreachable")):
            rule = f"iif {name} priority {priority}"
            # They stay when the device goes, and some kernels take a second one of the same kind.
            add = f"exec {ip} {family} rule add {rule} {what}"
            yield f"/bin/sh -c '{ip} {family} rule list {rule} | grep -q . || {add}'"
