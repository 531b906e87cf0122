# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services on nodes with kernels of their own, which have IPVS, ESP and netem.

Verify proves them, and names what is broken.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.support import lab

NODES = list(lab.hosts())
HUB, SPOKE = lab.hub(), NODES[-1]
GLOBAL, REPLICATED = "overssh-verify-global", "overssh-verify-replicated"
PLAIN = {"dns", "tasks", "each"}
BY_ADDRESS = {"vip", "vip_udp", "bulk"}
LEFT = "docker ps --all --quiet; docker images --quiet; ls /run/overssh/verify 2>/dev/null || :"
# The sandbox that has a network's IPVS on a node, and what comes to a service's address in it.
BALANCER = "nsenter --net=/run/docker/netns/lb_$(docker network inspect overssh --format '{{slice .ID 0 9}}')"
DEAD_TO_TCP = f"{BALANCER} iptables -t mangle %s PREROUTING -p tcp --dport 7337 -j DROP"


def verify(*arguments: str, proving: Sequence[str] = ("services",)) -> tuple[lab.Play, dict[str, Any]]:
    """A verification and its report."""
    chosen = json.dumps({"overssh_verify": list(proving)})
    played = lab.play("overssh.swarm.verify", "--extra-vars", chosen, *arguments)
    return played, json.loads(lab.REPORT.read_text(encoding="utf-8"))


def broken(report: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    """By service and node, the checks that failed."""
    return {
        (service["name"], node): failed
        for service in report["services"]
        for node, checks in service["checks"].items()
        if (failed := {name for name, check in checks.items() if not check["ok"]})
    }


def pairs_are_whole(report: dict[str, Any]) -> bool:
    return all(check["ok"] for pair in report["pairs"] for check in pair["checks"].values())


def test_every_node_has_a_kernel_of_its_own() -> None:
    boots = {lab.inside(node, "cat /proc/sys/kernel/random/boot_id") for node in NODES}
    assert len(boots) == len(NODES)
    for node in NODES:
        assert lab.inside(node, "uname -r").strip() != os.uname().release
        assert lab.inside(node, "cat /proc/net/ip_vs")


@pytest.fixture
def slow_line() -> Iterator[None]:
    """The spoke behind 40 ms each way, and one packet of a hundred lost."""
    lab.inside(SPOKE, "tc qdisc add dev eth0 root netem delay 40ms loss 1%")
    yield
    lab.inside(SPOKE, "tc qdisc del dev eth0 root")


@pytest.mark.usefixtures("slow_line")
def test_services_are_reached_from_every_node_by_name_by_address_and_by_turns() -> None:
    played, report = verify(proving=("services", "ports"))
    assert played.status == 0, played.output
    assert report["remarks"] == []
    by_name = {service["name"]: service for service in report["services"]}
    assert {task["node"] for task in by_name[GLOBAL]["tasks"]} == set(NODES)
    assert len(by_name[REPLICATED]["tasks"]) == 1
    for node in NODES:
        assert set(by_name[GLOBAL]["checks"][node]) == PLAIN | BY_ADDRESS | {"ports"}
        assert set(by_name[REPLICATED]["checks"][node]) == PLAIN | {"ports"}
        assert by_name[GLOBAL]["checks"][node]["vip"]["tasks"] == len(NODES)
    assert broken(report) == {}
    assert by_name[GLOBAL]["checks"][SPOKE]["vip"]["rtt_ms"] > 80


def test_a_verification_leaves_nothing_behind() -> None:
    assert {node: lab.inside(node, LEFT).strip() for node in NODES} == dict.fromkeys(NODES, "")
    assert lab.inside(HUB, "docker service ls --quiet").strip() == ""


@contextlib.contextmanager
def address_dead_to_tcp(node: str) -> Iterator[None]:
    """On one node, connections to services' addresses are lost; a container of its own keeps the network there."""
    probe = {"name": "overssh-keep", "network": "overssh"}
    assert not lab.task(node, "overssh.swarm.overlay_probe", **probe)["failed"]
    try:
        lab.inside(node, DEAD_TO_TCP % "-I")
        yield
        lab.inside(node, DEAD_TO_TCP % "-D")
    finally:
        lab.task(node, "overssh.swarm.overlay_probe", name="overssh-keep", state="absent")


def test_a_service_address_that_is_dead_on_one_node_is_named_and_no_other() -> None:
    with address_dead_to_tcp(SPOKE):
        played, report = verify("--extra-vars", "verify_timeout=20")
    assert played.status != 0
    assert pairs_are_whole(report)
    assert broken(report) == {(GLOBAL, SPOKE): {"vip", "bulk"}}
    assert (
        f"{SPOKE} does not reach the service {GLOBAL} on overssh: vip: 0 of {len(NODES)} tasks answered"
        in played.output
    )


def test_a_manager_that_is_drained_gets_no_task_and_is_named() -> None:
    lab.inside(HUB, f"docker node update --availability drain {HUB}")
    try:
        played, report = verify()
    finally:
        lab.inside(HUB, f"docker node update --availability active {HUB}")
    assert played.status == 0, played.output
    assert report["left_out"] == {HUB: "drain"}
    assert [len(service["checks"]) for service in report["services"]] == [len(NODES) - 1] * 2


SNIFF = """
filter='ip proto 50 or udp port 4789'
timeout 120 tcpdump --immediate-mode -U -n -i any -w /run/overssh-lab.pcap "$filter" \
    </dev/null >/dev/null 2>/run/overssh-lab.err &
for try in $(seq 100); do grep -q listening /run/overssh-lab.err && break; sleep 0.1; done
grep -q listening /run/overssh-lab.err
"""
SNIFFED = """
pkill -INT -x tcpdump
while pgrep -x tcpdump >/dev/null; do sleep 0.1; done
count() { tcpdump -n -r /run/overssh-lab.pcap "$1" 2>/dev/null | wc -l; }
echo "$(count 'ip proto 50') $(count 'udp port 4789')"
rm /run/overssh-lab.pcap /run/overssh-lab.err
"""


def test_an_encrypted_network_carries_services_and_nothing_of_it_in_clear() -> None:
    overlays = [
        {"name": "overssh", "subnet": "10.200.0.0/24"},
        {"name": "secret", "subnet": "10.202.0.0/24", "encrypted": True},
    ]
    only = ("--extra-vars", json.dumps({"overssh_overlays": overlays, "verify_networks": ["secret"]}))
    assert lab.play("overssh.swarm.overlay", *only).status == 0
    lab.inside(SPOKE, SNIFF)
    try:
        played, report = verify(*only)
    finally:
        esp, clear = map(int, lab.inside(SPOKE, SNIFFED).split())
    assert played.status == 0, played.output
    assert report["network"] == "secret"
    assert broken(report) == {}
    assert esp > 100
    assert clear == 0


def test_a_node_that_reboots_serves_again() -> None:
    # The connection that asks for it may end with it.
    lab.inside(SPOKE, "systemd-run --on-active=1 systemctl reboot")
    before = lab.inside(SPOKE, "cat /proc/sys/kernel/random/boot_id").strip()
    lab.wait_for_boot(SPOKE, before)
    lab.all_take_part(HUB)
    played, report = verify()
    assert played.status == 0, played.output
    assert broken(report) == {}
