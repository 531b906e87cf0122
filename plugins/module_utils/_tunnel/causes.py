# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts behind a sentence about a link, and the sentences that several faults share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .journal import Attempt
from .lanes import Lanes


@dataclass(frozen=True)
class Context:
    """The facts about the link.

    fingerprints: of the expected host keys; device_owner: the account that owns the local device, "" for nobody, None
    for no device; several_queues: whether the device was made for several queues, None where it is no tun device;
    device_up: whether it is up; carrier: whether a process holds it.
    """

    name: str
    transport: str
    lanes: Lanes
    host: str
    port: int
    user: str
    run_as: str
    identity_file: str
    helper: str
    device: str
    remote_device: str
    remote_address: str
    fingerprints: tuple[str, ...]
    device_owner: str | None
    several_queues: bool | None
    device_up: bool
    carrier: bool

    @property
    def peer(self) -> str:
        """The peer, with the address and port that are dialled."""
        return f"{self.name} ({self.host} port {self.port})"


@dataclass(frozen=True)
class Cause:
    """A cause; kind: its name, so that repetitions can be counted; certain: another attempt fails the same way."""

    kind: str
    sentence: str
    certain: bool


Reason = Callable[[Attempt, Context], "Cause | None"]


def silent(context: Context) -> str:
    """The sentence for a connected link over which nothing comes back."""
    if context.device_owner is None:
        return no_device(context)
    if not context.device_up:
        return f"the device {context.device} on this host is down; set it up"
    return (
        f"ssh is connected to {context.peer}, but {context.remote_address} does not answer through {context.device}: "
        f"the device {context.remote_device} there may be down or have no such address, or a firewall there may drop "
        "ICMP from it"
    )


def may_drop(context: Context) -> str:
    """The sentence for a peer that does not answer at all."""
    return (
        f"a firewall there, on the way or on this host may drop it, and overssh.swarm.nft_trace here (path: output, "
        f"protocol: tcp, port: {context.port}, destination: {context.host}, inject: true) tells whether this host does"
    )


def no_device(context: Context) -> str:
    """The sentence for a missing local device."""
    return f"there is no device {context.device} on this host; make it first"


def not_plain(context: Context) -> str:
    """The sentence for a local device of the wrong kind."""
    return f"the device {context.device} is no plain tun device (a tap)"


def no_control(context: Context, why: str) -> str:
    """The sentence for an unusable /dev/net/tun on this host."""
    return f"{context.run_as} can't open /dev/net/tun ({why}); it has to be there, with mode 0666 as udev makes it"


def not_ours(context: Context) -> str:
    """The sentence for a local device with another owner."""
    owner = context.device_owner or "no account"
    return (
        f"{context.run_as} may not open the device {context.device} on this host, which belongs to {owner}; give it "
        "that owner"
    )


def busy(context: Context) -> str:
    """The sentence for a local device in use."""
    return f"another process holds the device {context.device} on this host"
