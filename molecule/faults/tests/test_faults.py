# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished fleet in trouble: verify names what is broken, and site mends what is ours."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterator

import pytest

from tests.support import lab

# Seconds that each check of a broken pair may take.
PATIENCE = ("--extra-vars", '{"verify_timeout": 5}')


@contextlib.contextmanager
def rule(node: str, text: str) -> Iterator[None]:
    """The node has this rule meanwhile, ahead of all others, in a table of its own."""
    lab.inside(
        node,
        "nft 'add table inet mishap; add chain inet mishap first { type filter hook prerouting priority -400; };"
        f" add rule inet mishap first {text}'",
    )
    try:
        yield
    finally:
        lab.inside(node, "nft delete table inet mishap")


def report() -> dict:
    return json.loads(lab.REPORT.read_text(encoding="utf-8"))


def broken(check: str) -> set[tuple[str, str]]:
    """The pairs that a check failed for."""
    return {(pair["from"], pair["to"]) for pair in report()["pairs"] if not pair["checks"][check]["ok"]}


def left_behind() -> dict[str, str]:
    """What a verification left on the nodes."""
    script = (
        "docker ps -aq --filter label=overssh.verify; docker images -q overssh-verify; ls -d /run/overssh 2>&- || true"
    )
    return {node: found for node in lab.hosts() if (found := lab.inside(node, script))}


def test_nodes_that_lose_vxlan_or_large_packets_are_named():
    # The outer packet is 50 bytes larger; 1200 and less still pass.
    large = rule("edge1", "iifname tun1001 udp dport 4789 meta length > 1300 drop")
    with rule("edge2", "iifname tun1001 udp dport 4789 drop"), large:
        done = lab.play("overssh.swarm.verify", *PATIENCE)
    assert done.status != 0
    said = " ".join(done.output.split())
    assert "edge1 does not reach edge2 on overssh by icmp, tcp, udp" in said
    assert "edge1 does not reach cloud1 on overssh by icmp" not in said
    with_edge2 = {
        (one, other) for one in lab.hosts() for other in lab.hosts() if one != other and "edge2" in (one, other)
    }
    assert broken("icmp") == broken("tcp") == broken("udp") == with_edge2
    assert ("cloud1", "edge1") in broken("mtu")
    assert "by mtu: packets over 1250 bytes are lost, the interface's MTU is 64950." in said
    assert (
        "on edge2, 'iifname \"tun1001\" udp dport 4789 drop' in inet mishap first drops packets of fleet-swarm-udp. "
        "Run next: ansible-playbook overssh.swarm.firewall" in said
    )
    assert report()["ok"] is False
    assert left_behind() == {}


def test_a_node_whose_probe_can_not_start_is_named_and_the_others_are_measured():
    lab.inside(
        "edge1",
        "docker run --detach --name overssh-verify-edge1 --network none $(printf '' | docker import -) x || true",
    )
    try:
        done = lab.play("overssh.swarm.verify", *PATIENCE)
    finally:
        lab.inside("edge1", "docker rm --force overssh-verify-edge1; docker image prune --force --all >/dev/null")
    assert done.status != 0
    assert "a container named overssh-verify-edge1 exists that overssh.swarm did not make" in " ".join(
        done.output.split()
    )
    assert ("cloud1", "edge2") not in broken("icmp")
    assert ("edge1", "cloud1") in broken("icmp")
    assert left_behind() == {}


def test_hosts_that_are_asked_one_after_the_other_prove_the_same():
    done = lab.play("overssh.swarm.verify", "--forks", "1")
    assert done.status == 0
    assert "6 of 6 pairs pass" in done.output
    assert left_behind() == {}


def test_nodes_that_take_no_containers_are_left_out_and_named():
    lab.inside(lab.hub(), "docker node update --availability drain edge1 >/dev/null")
    try:
        done = lab.play("overssh.swarm.verify")
        assert done.status == 0
        assert "2 of 2 pairs pass" in done.output
        assert "left out, as they take no containers: edge1 (drain)" in done.output
        assert report()["left_out"] == {"edge1": "drain"}
        lab.inside(lab.hub(), "docker node update --availability pause edge2 >/dev/null")
        done = lab.play("overssh.swarm.verify")
        assert done.status != 0
        assert "nothing was proved of overssh, as fewer than two nodes take containers" in done.output
        assert left_behind() == {}
    finally:
        for node in ("edge1", "edge2"):
            lab.inside(lab.hub(), f"docker node update --availability active {node} >/dev/null")


@pytest.mark.parametrize("tag", ["firewall", "tunnel", "swarm", "overlay", "verify"])
def test_a_part_of_site_can_be_run_by_its_tag(tag):
    done = lab.play("overssh.swarm.site", "--tags", tag)
    assert (done.status, done.total("changed")) == (0, 0)
    tasks = {line.split(" : ")[0] for line in done.output.splitlines() if line.startswith("TASK [overssh.swarm.")}
    assert {f"TASK [overssh.swarm.{role}" for role in ("preflight", tag)} <= tasks
    assert ("pairs pass" in done.output) == (tag == "verify")


def test_what_is_ours_is_mended_and_nothing_else_is_touched():
    lab.inside("edge1", "systemctl stop overssh-link-cloud1; ip address flush dev tun1001")
    lab.inside("cloud1", "ip link set tun1003 down")
    done = lab.play("overssh.swarm.site")
    assert done.status == 0
    assert done.recap["edge2"]["changed"] == 0
    again = lab.play("overssh.swarm.site")
    assert (again.status, again.total("changed")) == (0, 0)


DEVICE = """
ip -br address show tun1001 | awk '{print $3, $4, $5}'
ip route show dev tun1001 | sed 's/ linkdown//; s/ *$//' | sort
cat /sys/class/net/tun1001/mtu /proc/sys/net/ipv4/conf/tun1001/forwarding
"""
NETWORKD = """
address=$(ip -4 -br address show eth0 | awk '{print $3}')
gateway=$(ip -4 route show default | awk '{print $3}')
cd /etc/systemd/network
printf '[Match]\\nName=eth0\\n[Network]\\nAddress=%s\\nGateway=%s\\n' $address $gateway >10-eth0.network
printf '[Match]\\nName=docker* veth*\\n[Link]\\nUnmanaged=yes\\n' >11-docker.network
printf '[Match]\\nName=*\\n[Network]\\nDHCP=yes\\nLinkLocalAddressing=ipv6\\n' >99-default.network
systemctl restart systemd-networkd
"""
NO_NETWORKD = """
cd /etc/systemd/network
rm -f 10-eth0.network 11-docker.network 99-default.network
systemctl stop systemd-networkd.socket systemd-networkd-varlink.socket systemd-networkd.service 2>/dev/null || true
systemctl start overssh-tun1001.service overssh-tun1002.service
"""


@pytest.mark.turns
@pytest.mark.parametrize(
    ("node", "device", "deed"),
    [
        ("edge1", "tun1001", "ip address flush dev tun1001"),
        ("edge1", "tun1001", "ip link set tun1001 mtu 1400 down"),
        # Only a hub passes packets on from one device of ours to another.
        (lab.hub(), "tun1002", "sysctl -qw net.ipv4.ip_forward=0"),
    ],
)
def test_what_others_undo_is_back_within_four_seconds(node, device, deed):
    picture = DEVICE.replace("tun1001", device)
    before = lab.inside(node, picture)
    forwarding = lab.inside(node, "sysctl -n net.ipv4.ip_forward").strip()
    try:
        lab.inside(node, deed)
        lab.wait_for(node, f"test \"$({picture})\" = '{before.strip()}'", 4)
    finally:
        lab.inside(node, f"sysctl -qw net.ipv4.ip_forward={forwarding}")


def put_back(since: str) -> str:
    """A script: whether the watcher has put the address back since then."""
    return f"journalctl --quiet -u overssh-watch --since @{since} | grep 'put back on tun1001: .*the address'"


def test_networkd_leaves_our_devices_alone_and_what_it_takes_all_the_same_is_back():
    before = lab.inside("edge1", DEVICE)
    same = f"test \"$({DEVICE})\" = '{before.strip()}'"
    try:
        lab.inside("edge1", NETWORKD)
        state = "networkctl --no-legend --no-pager list tun1001 | awk '{print $NF}'"
        lab.wait_for("edge1", f'test "$({state})" = unmanaged', 30)
        lab.inside("edge1", "networkctl reload; networkctl reconfigure tun1001 2>/dev/null || true")
        lab.wait_for("edge1", same, 4)
        since = lab.inside("edge1", "date +%s").strip()
        told = lab.inside("edge1", "cd /etc/systemd/network; cat 00-overssh-tun1001.network; rm 00-overssh-*.network")
        assert "Unmanaged=yes" in told
        lab.inside("edge1", "networkctl reload")
        said = put_back(since)
        # On a busy host it may not take the device yet when it is told for the first time.
        lab.wait_for("edge1", f"{said} || {{ ! {same} || networkctl reconfigure tun1001; sleep 2; {said}; }}", 30)
        lab.wait_for("edge1", same, 4)
    finally:
        lab.inside("edge1", NO_NETWORKD)
    done = lab.play("overssh.swarm.site", "--tags", "tunnel")
    assert (done.status, done.recap["edge1"]["changed"]) == (0, 1)
    assert lab.inside("edge1", DEVICE) == before


# A profile that would have it make this very device, and take it over from whoever does.
NETWORK_MANAGER = """
cd /etc/NetworkManager/system-connections
printf '[connection]\\nid=vpn\\ntype=tun\\ninterface-name=tun1001\\n[tun]\\nmode=1\\n' >vpn.nmconnection
printf '[ipv4]\\nmethod=disabled\\n[ipv6]\\nmethod=disabled\\n' >>vpn.nmconnection
chmod 600 vpn.nmconnection
systemctl start NetworkManager
"""
NO_NETWORK_MANAGER = """
rm -f /etc/NetworkManager/system-connections/vpn.nmconnection
systemctl stop NetworkManager
systemctl start overssh-tun1001.service overssh-tun1002.service
"""


def test_networkmanager_leaves_our_devices_alone_and_what_it_takes_all_the_same_is_back():
    before = lab.inside("edge1", DEVICE)
    same = f"test \"$({DEVICE})\" = '{before.strip()}'"
    state = "nmcli --terse --fields DEVICE,STATE device"
    try:
        lab.inside("edge1", NETWORK_MANAGER)
        # It has seen all devices, and takes others.
        lab.wait_for("edge1", f"{state} | grep -q '^eth0:connected' && {state} | grep -qx tun1001:unmanaged", 30)
        lab.inside("edge1", "nmcli device reapply tun1001 || nmcli connection up vpn || true")
        assert lab.inside("edge1", DEVICE) == before
        lab.inside("edge1", "ip link del tun1001")
        lab.wait_for("edge1", same, 4)
        lab.wait_for("edge1", f"{state} | grep -qx tun1001:unmanaged", 30)

        lab.inside("edge1", "rm /etc/NetworkManager/conf.d/zz-overssh-*.conf; nmcli general reload conf")
        lab.wait_for("edge1", f"{state} | grep -q '^tun1001:connected'", 30)
        since = lab.inside("edge1", "date +%s").strip()
        lab.inside("edge1", "nmcli device reapply tun1001")
        said = put_back(since)
        lab.wait_for("edge1", said, 30)
        done = lab.play("overssh.swarm.site", "--tags", "tunnel")
        assert (done.status, done.recap["edge1"]["changed"]) == (0, 1)
        lab.wait_for("edge1", f"{state} | grep -qx tun1001:unmanaged && {same}", 4)
    finally:
        lab.inside("edge1", NO_NETWORK_MANAGER)
    assert lab.play("overssh.swarm.site", "--tags", "tunnel").total("changed") == 0


def test_an_engine_that_answers_nothing_is_named_before_anything_is_changed():
    """It takes connections and is silent, as one does that waits for something itself."""
    lab.inside("edge1", "systemctl kill --kill-whom=main --signal=STOP docker")
    try:
        done = lab.play("overssh.swarm.site")
    finally:
        lab.inside("edge1", "systemctl kill --kill-whom=main --signal=CONT docker")
    assert (done.status, done.total("changed")) == (2, 0)
    said = "edge1: the Docker engine on this host takes connections and answers none; see 'journalctl -u docker'"
    assert said in " ".join(done.output.split())
    lab.all_ready(lab.hub())


def test_what_somebody_undoes_again_and_again_is_named_by_verify():
    address = json.loads(lab.inside("edge1", "ip -json -4 address show dev tun1001"))[0]["addr_info"][0]
    words = f"{address['local']} peer {address['address']}/32"
    there = f"ip address show dev tun1001 | grep -q '{words}'"
    # Each time once it is back, as a program does that wants it away. The route is another thing: where another device
    # has the address, too, it stays, and packets go on crossing.
    route = "ip route show dev tun1001 | grep -q '^172.30.0.0/16'"
    away = f"! {there} || ip address del {words} dev tun1001; ! {route} || ip route del 172.30.0.0/16 dev tun1001"
    fight = f"while :; do {away}; sleep 0.2; done"
    try:
        # Without what tests before this one have undone.
        lab.inside(
            "edge1", f"systemctl restart overssh-watch; systemd-run --quiet --unit fight sh -c {shlex.quote(fight)}"
        )
        left = "/run/overssh-watch/left_alone.json"
        lab.wait_for("edge1", f"grep -qs 'the address' {left} && grep -qs 'the route' {left} && ! {there} && ! {route}")
        done = lab.play("overssh.swarm.verify", *PATIENCE)
        assert done.status == 2, lab.inside(
            "edge1",
            "cat /run/overssh-watch/left_alone.json; ip address show dev tun1001; ip route; systemctl status fight;"
            " journalctl --quiet --since -90s --unit overssh-watch --unit fight --unit 'overssh-tun*'"
            " --unit 'overssh-link*' || true",
        )
        who = r"(a process that has ended|ip \(process \d+\))"
        said = rf"The cause: on edge1, {who} undoes the (address {words}|route [^(]*) of tun1001 again"
        assert re.search(said, " ".join(done.output.split())), done.output
    finally:
        lab.inside("edge1", "systemctl stop fight; systemctl restart overssh-watch")
        lab.wait_for("edge1", there, 10)
    assert lab.play("overssh.swarm.verify").status == 0


def test_a_refused_key_shuts_nobody_out_and_is_tried_at_once_by_site():
    keys = "/etc/overssh/authorized_keys"
    lab.inside(lab.hub(), f"cp -a {keys} /root/keys; sed -i '/overssh:edge1$/d' {keys}; systemctl restart ssh")
    try:
        lab.inside("edge1", "systemctl restart overssh-link-cloud1")
        lab.wait_for("edge1", "test $(wc -l </run/overssh-link-cloud1/refused) -ge 2", 30)
        # Dialled every second it would have been shut out by now, with everybody who has its address.
        since = lab.inside(lab.hub(), "systemctl show -P ActiveEnterTimestamp ssh").strip()
        said = lab.inside(lab.hub(), f"journalctl --quiet -u ssh --since '{since}' --grep penalty || true")
        assert said == ""
        # As after more of them: the next pause is longer than the play takes.
        lab.inside("edge1", "printf '\\n\\n\\n\\n' >>/run/overssh-link-cloud1/refused")
        lab.wait_for(
            "edge1", "journalctl -u overssh-link-cloud1 -n 1 -o cat | grep -q 'refused this host [67] times'", 30
        )
        (link,) = lab.task("edge1", "overssh.swarm.ssh_tunnel_info")["links"]
        assert (link["active"], link["state"], link["refusals"] > 5) == (False, "activating", True)
    finally:
        lab.inside(lab.hub(), f"mv /root/keys {keys}")
    done = lab.play("overssh.swarm.site", "--tags", "tunnel")
    assert (done.status, done.recap["edge1"]["changed"]) == (0, 1)
    again = lab.play("overssh.swarm.site", "--tags", "tunnel")
    assert (again.status, again.total("changed")) == (0, 0)


def test_restarts_one_after_the_other_leave_no_unit_that_looks_failed():
    since = lab.inside("cloud1", "date +%s").strip()
    restarts = (
        "for _ in 1 2 3; do systemctl restart --no-block overssh-nft; sleep 0.03; done; systemctl restart overssh-nft"
    )
    lab.inside("cloud1", restarts)
    said = lab.inside("cloud1", f"journalctl --unit overssh-nft --since @{since} --output cat")
    assert said.count("Starting overssh-nft.service") > 1
    assert "Failed with result" not in said


def test_a_reboot_brings_the_tunnel_back_with_no_play():
    lab.inside("edge1", "systemctl reboot")
    lab.wait_for("edge1", "systemctl is-system-running --wait && ping -c 1 -W 1 172.30.0.1")
    lab.all_take_part(lab.hub())
    # It verifies every pair, and finds nothing to do before.
    done = lab.play("overssh.swarm.site", "--diff")
    assert (done.status, done.total("changed")) == (0, 0)


def test_nodes_that_left_or_were_removed_come_back_and_their_token_is_nowhere_to_be_read():
    # Its own engine is not told, and goes on calling itself active.
    lab.inside(lab.hub(), "docker node rm --force edge2")
    lab.inside("edge1", "docker swarm leave")
    lab.wait_for("edge1", "! ss -Hlnt 'sport = :7946' | grep -q .")
    done = lab.play("overssh.swarm.swarm", "-vvvv")
    assert done.status == 0
    assert [done.recap[node]["changed"] for node in ("cloud1", "edge1", "edge2")] == [1, 1, 1]
    assert "SWMTKN" not in done.output
    # Nothing of its former self gets tasks, from the first second on.
    names = lab.inside(lab.hub(), "docker node ls --format '{{.Hostname}} {{.Status}}'").splitlines()
    assert sorted(names) == [f"{name} Ready" for name in sorted(lab.hosts())]
    assert lab.play("overssh.swarm.verify").status == 0
