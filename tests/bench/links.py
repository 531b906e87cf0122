# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All links that are compared, side by side between the same two nodes; those that carry nothing cost nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .cases import OPENVPN, RAW, RECIPE, STREAM, STREAM2, STREAM_AUTO, TUN, WIREGUARD, Case
from .nodes import Pair, route
from .process import PLAYBOOK, ROOT, BenchError, run

KEYS = "/etc/bench"
SERVER = "bench-iperf3"


def build(pair: Pair, cases: Sequence[Case]) -> None:
    """Make every link of these cases, and wait until packets cross."""
    if RECIPE in cases:
        plain_tunnel(pair, RECIPE)
    if OPENVPN in cases:
        _openvpn(pair)
    if WIREGUARD in cases:
        _wireguard(pair)
    ours = [case for case in cases if case in (TUN, STREAM, STREAM2, STREAM_AUTO)]
    if ours:
        _collection(pair, ours)
    for case in cases:
        if case.unit:
            wait_for(pair, case)


def prepare(pair: Pair) -> None:
    """Who answers at the far end, and what an administrator has: a key, and a name for that end."""
    pair.cloud.sh(running("iperf3 --server --rcv-timeout 10000", unit=SERVER))
    pair.edge.sh(f"""
        install -d -m 700 /root/.ssh {KEYS}
        ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
        printf 'Host cloud\\n  HostName {pair.cloud.address}\\n  BatchMode yes\\n' >/root/.ssh/config
    """)
    key = pair.edge.sh("cat /root/.ssh/id_ed25519.pub")
    host_key = pair.cloud.sh(f"""
        install -d -m 700 /root/.ssh {KEYS}
        echo '{key}' >/root/.ssh/authorized_keys
        echo '{let_in(pair.edge.address)}' >/etc/ssh/sshd_config.d/00-bench.conf
        sshd -t
        systemctl reload ssh
        cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub
    """)
    pair.edge.sh(f"echo '{pair.cloud.address} {host_key}' >/root/.ssh/known_hosts")
    pair.edge.until("ssh cloud true", 30, "a login as root")


def let_in(address: str) -> str:
    """What an administrator adds on a hardened sshd for the recipe: root with a key and a tunnel, from one address.

    It is a Match block, as that wins over what a drop-in forbids everybody.
    """
    return f"""\
Match User root Address {address}
    PermitRootLogin prohibit-password
    DisableForwarding no
    PermitTunnel yes
"""


def wait_for(pair: Pair, case: Case) -> None:
    """Until a packet comes back through a link."""
    pair.edge.until(f"ping -q -c 1 -W 1 {case.ends[0]}", 60, f"{case.label}: a packet's way across")


def choose(pair: Pair, case: Case, control: str | None = None) -> None:
    """Have this case's link carry what goes between the two underlay addresses; control: of what has no link."""
    direct = f" congctl {control}" if control else ""
    for node, other in (pair.both, pair.both[::-1]):
        route(node, other, f"via {other.address}{direct}" if case == RAW else f"dev {case.device}")


def restarts(pair: Pair, case: Case) -> int:
    """How often systemd has started the link again."""
    if not case.unit:
        return 0
    return int(pair.edge.sh(f"systemctl show --value --property=NRestarts {case.unit}"))


def running(*words: str, unit: str) -> str:
    """The shell command that has systemd keep a program up."""
    settings = "--property=Restart=always --property=RestartSec=1 --property=StartLimitIntervalSec=0"
    return f"systemd-run --quiet --collect --unit={unit} {settings} {' '.join(words)}"


def ssh_words(*options: str) -> list[str]:
    """An ssh from edge to cloud, as root."""
    return ["ssh", *options, "cloud"]


def plain_tunnel(pair: Pair, case: Case, *options: str) -> None:
    """`ssh -w`; with nothing but its own defaults unless options are given."""
    for node, here, there in zip(pair.both, case.ends, case.ends[::-1], strict=True):
        node.sh(f"""
            ip tuntap add dev {case.device} mode tun
            ip link set {case.device} mtu {case.mtu} up
            ip address add {here} peer {there} dev {case.device}
        """)
    number = case.device.removeprefix("tun")
    words = ["ssh", "-N", "-o", "ExitOnForwardFailure=yes", *options, "-w", f"{number}:{number}", "cloud"]
    pair.edge.sh(running(*words, unit=case.unit))


def _collection(pair: Pair, cases: list[Case]) -> None:
    """Made by the collection's own modules, in the sandboxed unit that users run."""
    links = [
        {
            "name": case.unit.removeprefix("overssh-link-"),
            "transport": "tun" if case is TUN else "stream",
            "lanes": case.lanes,
            "device": case.device,
            "mtu": case.mtu,
            "cloud": case.ends[0],
            "edge": case.ends[1],
        }
        for case in cases
    ]
    variables = json.dumps({"links": links, "dial": pair.cloud.address})
    inventory = str(ROOT / ".lab" / pair.name / "inventory.yml")
    playbook = str(ROOT / "tests/bench/links.yml")
    words = [PLAYBOOK, "--inventory", inventory, "--extra-vars", variables, playbook]
    done = run(words, 300, environment={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")})
    if done.returncode:
        raise BenchError(f"the collection's links could not be made:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")


def _openvpn(pair: Pair) -> None:
    """Point to point with certificates that know each other by their fingerprints."""
    case = OPENVPN
    prints = [node.sh(_CERTIFICATE) for node in pair.both]
    roles = (
        ("--proto tcp-server --tls-server --dh none", prints[1]),
        (f"--proto tcp-client --tls-client --remote {pair.cloud.address} 1194", prints[0]),
    )
    for node, here, there, (role, fingerprint) in zip(pair.both, case.ends, case.ends[::-1], roles, strict=True):
        node.sh(
            running(
                f"openvpn --dev {case.device} --dev-type tun {role} --ifconfig {here} {there}",
                f"--cert {KEYS}/openvpn.crt --key {KEYS}/openvpn.key --peer-fingerprint {fingerprint}",
                "--data-ciphers AES-128-GCM --keepalive 10 60 --verb 2",
                unit=case.unit,
            )
        )


_CERTIFICATE = f"""
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bench \\
        -keyout {KEYS}/openvpn.key -out {KEYS}/openvpn.crt 2>/dev/null
    openssl x509 -in {KEYS}/openvpn.crt -noout -fingerprint -sha256 | cut -d= -f2
"""


def _wireguard(pair: Pair) -> None:
    case = WIREGUARD
    public = [
        node.sh(f"umask 077; wg genkey >{KEYS}/wg.key; wg pubkey <{KEYS}/wg.key; {_daemon(case)}") for node in pair.both
    ]
    for node, other, key, here, there in zip(
        pair.both, pair.both[::-1], public[::-1], case.ends, case.ends[::-1], strict=True
    ):
        node.until(f"test -S /run/wireguard/{case.device}.sock", 30, "wireguard-go's start")
        node.sh(f"""
            wg set {case.device} listen-port 51820 private-key {KEYS}/wg.key \\
                peer {key} allowed-ips 172.31.0.0/16 endpoint {other.address}:51820
            ip address add {here} peer {there} dev {case.device}
            ip link set {case.device} mtu {case.mtu} up
        """)


def _daemon(case: Case) -> str:
    return running("wireguard-go", "--foreground", case.device, unit=case.unit)
