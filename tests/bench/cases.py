# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is compared."""

from __future__ import annotations

from dataclasses import dataclass

# The collection's own ciphers for machines with AES instructions: what its links and the pipe negotiate.
CIPHER = "aes128-gcm@openssh.com"
TUN_MTU, STREAM_MTU = 9000, 65000


@dataclass(frozen=True)
class Case:
    """One way from node to node.

    number: of its device and its network; unit: what keeps it up on the dialling end; mtu: of its device, and the MTU
    that its overlay network is told; settings: everything that a reader has to know to do the same.
    """

    name: str
    label: str
    number: int
    mtu: int
    settings: str
    unit: str = ""
    lanes: int | str = 1

    @property
    def device(self) -> str:
        """Its device, the same on both ends."""
        return f"{'wg' if self.name == 'wireguard-go' else 'tun'}{self.number}"

    @property
    def ends(self) -> tuple[str, str]:
        """The addresses of its device, on the node that is dialled and on the one that dials."""
        return (f"172.31.{self.number}.1", f"172.31.{self.number}.2")


RAW = Case("raw", "no tunnel", 0, 1500, "the lab's veth pair and bridge, MTU 1500, segmentation offload on")
PIPE = Case("pipe", "ssh cat", 0, 0, f"dd bs=64k | ssh -c {CIPHER} HOST 'cat >/dev/null'; one session")
RECIPE = Case(
    "recipe",
    "ssh -w, MTU 1500",
    11,
    1500,
    "ssh -N -w, everything else at OpenSSH's defaults: MTU 1500, chacha20-poly1305",
    "bench-recipe",
)
TUN = Case(
    "tun", "transport tun", 12, TUN_MTU, f"ssh_tunnel transport: tun, MTU {TUN_MTU}, aes128-gcm", "overssh-link-tun"
)
STREAM = Case(
    "stream",
    "transport stream",
    13,
    STREAM_MTU,
    f"ssh_tunnel transport: stream, lanes: 1, MTU {STREAM_MTU}, aes128-gcm",
    "overssh-link-stream",
)
STREAM2 = Case(
    "stream-2-lanes",
    "stream, 2 lanes",
    14,
    STREAM_MTU,
    f"ssh_tunnel transport: stream, lanes: 2, MTU {STREAM_MTU}, aes128-gcm",
    "overssh-link-stream2",
    2,
)
STREAM_AUTO = Case(
    "stream-auto",
    "stream, lanes auto",
    17,
    STREAM_MTU,
    f"ssh_tunnel transport: stream, lanes: auto, MTU {STREAM_MTU}, aes128-gcm",
    "overssh-link-auto",
    "auto",
)
OPENVPN = Case(
    "openvpn-tcp",
    "OpenVPN over TCP",
    15,
    1500,
    "openvpn --proto tcp, TLS with certificates, AES-128-GCM, everything else at its defaults (tun-mtu 1500)",
    "bench-openvpn",
)
WIREGUARD = Case("wireguard-go", "wireguard-go", 16, 1420, "wireguard-go over UDP, its default MTU 1420", "bench-wg")

# The pipe is last: it is asked to carry as much as stream just did.
CASES = (RAW, RECIPE, TUN, STREAM, STREAM2, OPENVPN, WIREGUARD, PIPE)
STREAMS = (1, 8)
