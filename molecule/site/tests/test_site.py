# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a finished site is."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from tests.support import lab, snapshot

UNDERLAY = {name: f"172.30.0.{place}" for place, name in enumerate(lab.hosts(), start=1)}
HUB = lab.hub()
SPOKES = [name for name in UNDERLAY if name != HUB]


def own_device(node: str) -> str:
    """The device that holds a node's address, whatever becomes of its links."""
    return f"tun{1000 + int(UNDERLAY[node].rpartition('.')[2])}"


def devices(node: str) -> dict[str, str]:
    """The other end's underlay address for each device of a link of a node."""
    return {own_device(peer): UNDERLAY[peer] for peer in (SPOKES if node == HUB else [HUB])}


def test_the_swarm_has_every_node_ready_at_its_underlay_address(hub):
    nodes = json.loads(hub.check_output("docker node inspect $(docker node ls --quiet)"))
    assert {
        entry["Description"]["Hostname"]: (entry["Status"]["State"], entry["Spec"]["Role"], entry["Status"]["Addr"])
        for entry in nodes
    } == {
        node: ("ready", "manager" if node == HUB else "worker", address) for node, address in UNDERLAY.items()
    }  # fmt: skip


def test_the_tunnel_devices_are_up_with_the_underlay_address(host, node):
    found = {}
    for link in json.loads(host.check_output("ip -json address show")):
        if link["ifname"].startswith("tun"):
            assert ("LOWER_UP" in link["flags"]) == (link["ifname"] != own_device(node)), link["ifname"]
            ours = [entry for entry in link["addr_info"] if entry["family"] == "inet"]
            assert [entry["local"] for entry in ours] == [UNDERLAY[node]]
            found[link["ifname"]] = ours[0].get("address")
    assert found == {**devices(node), own_device(node): None}


def test_its_units_are_active_and_start_at_boot(host, node):
    wanted = {f"overssh-{device}.service" for device in (own_device(node), *devices(node))} | {"overssh-watch.service"}
    if "overssh:" in host.check_output("nft list ruleset"):  # a host that lets everything in needs no rule
        wanted |= {"overssh-nft.service", "overssh-nft-early.service"}
    if node != HUB:
        wanted.add(f"overssh-link-{HUB}.service")
    listed = host.check_output("systemctl list-unit-files --no-legend --plain 'overssh-*'").splitlines()
    assert {line.split()[0] for line in listed if ".service" in line} == wanted
    for unit in wanted:
        service = host.service(unit)
        assert (service.is_running, service.is_enabled) == (True, True), unit
    assert host.check_output("systemctl --failed --no-legend --plain") == ""


def test_packets_cross_to_every_node(host, node):
    for other, address in UNDERLAY.items():
        if other != node:
            host.run_expect([0], f"ping -q -c 1 -W 2 {address}")


def test_the_report_has_every_ordered_pair():
    report = json.loads(lab.REPORT.read_text(encoding="utf-8"))
    assert (report["schema"], report["ok"]) == (1, True)
    assert {entry["name"]: entry["underlay"] for entry in report["nodes"]} == UNDERLAY
    assert {(pair["from"], pair["to"]) for pair in report["pairs"]} == set(itertools.permutations(UNDERLAY, 2))
    for pair in report["pairs"]:
        assert set(pair["checks"]) == {"icmp", "tcp", "udp", "dns", "mtu"}
        assert [name for name, check in pair["checks"].items() if not check["ok"]] == []


def test_the_report_has_services_and_what_kernels_lack_for_them(hub):
    report = json.loads(lab.REPORT.read_text(encoding="utf-8"))
    has_ipvs = hub.file("/proc/net/ip_vs").exists
    several, one = report["services"]
    assert {task["node"] for task in several["tasks"]} == set(UNDERLAY)
    for service, by_address in ((several, has_ipvs), (one, False)):
        assert service["ok"], service
        for node in UNDERLAY:
            assert ("vip" in service["checks"][node]) == by_address
            assert {"dns", "tasks", "each"} <= set(service["checks"][node])
    lacking = f"on {', '.join(UNDERLAY)}, the kernel has no IPVS"
    assert any(words.startswith(lacking) for words in report["remarks"]) == (not has_ipvs)


def test_verify_left_no_container_and_no_service(host, hub):
    assert host.check_output("docker ps --all --quiet") == ""
    assert hub.check_output("docker service ls --quiet") == ""


def own(lines: list[str]) -> list[str]:
    """The lines of a ruleset that are neither ours nor in one of Docker's tables, which iptables writes."""
    dockers = re.compile(r"table ip6? (filter|nat|raw)[ :]")
    return [line for line in lines if "overssh:" not in line and not dockers.match(line)]


def test_the_hosts_own_rules_stand_as_they_stood(node):
    assert own(snapshot.take(node, snapshot.RULESET)) == own(snapshot.fresh(node, snapshot.RULESET))


@pytest.mark.parametrize(
    "attempt",
    [
        "%s id",
        "%s -s sftp",
        "%s -W 127.0.0.1:22",
        "%s -N -R 127.0.0.1:2222:127.0.0.1:22",
        "%s -N -w 77:1003",
        "%s -N -w 77:any",
    ],
)
def test_the_key_of_a_link_opens_nothing_else(attempt):
    hub = lab.hosts()[HUB]
    ssh = (
        "timeout 10 ssh -v -F none -i /etc/overssh/keys/id_ed25519 -o BatchMode=yes -o ExitOnForwardFailure=yes"
        " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        f" -p {hub['overssh_dial_port']} -l overssh {hub['overssh_dial_host']}"
    )
    command = attempt % ssh
    said = lab.inside(SPOKES[0], f"{command} 2>&1 </dev/null && echo let in || echo refused $?")
    assert "Authenticated to" in said
    assert "let in" not in said
    assert "refused 124" not in said  # it ended at the time limit, and not at a refusal
    assert "uid=" not in said
    assert "SSH-2.0-OpenSSH" not in said.partition("Authenticated to")[2]


def test_check_mode_finds_nothing_left_to_do():
    done = lab.play("overssh.swarm.site", "--check", "--diff")
    assert done.status == 0
    assert set(lab.hosts()) <= set(done.recap)
    assert done.total("changed") == 0
