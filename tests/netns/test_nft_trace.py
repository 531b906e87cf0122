# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""nft_trace against the kernel, with real packets: what it says is what becomes of them, and nothing of it stays."""

from __future__ import annotations

import contextlib
import fcntl
import inspect
import json
import os
import signal
import socket
import struct
import subprocess
import sys

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.wait import wait_until
from ansible_collections.overssh.swarm.plugins.module_utils._linux import tun_ioctl
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import record as nftables_record
from ansible_collections.overssh.swarm.plugins.module_utils._trace import netlink as trace_netlink
from ansible_collections.overssh.swarm.plugins.module_utils._trace import sender as trace_sender

from tests.netns.firewall import RULESETS, load, task

ALL = sorted(path.name for path in RULESETS.iterdir())
MODULE = "ansible_collections.overssh.swarm.plugins.modules.nft_trace"
# The module with another file than the host's for the record of what was placed.
PROGRAM = f"""
import runpy, sys
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import record
record.PLACED_FILE = sys.argv.pop()
runpy.run_module("{MODULE}", run_name="__main__")
"""
HOST, SPOKE, WAN = "172.30.2.1", "172.30.3.2", "198.51.100.1"
MANAGER = {"protocol": "tcp", "port": 2377, "in_interface": "tun1002", "destination": HOST}
TRANSIT = {"protocol": "tcp", "port": 5000, "path": "forward", "in_interface": "tun1002", "destination": SPOKE}


def begun(net, wrapper=(), **options):
    """The module at its work, on the host."""
    words = ["ip", "netns", "exec", net.namespace("host"), *wrapper, sys.executable, "-c", PROGRAM]
    words.append(nftables_record.PLACED_FILE)
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
    process.stdin.close()
    return process


def ended(process):
    """What it says in the end."""
    with process:
        answer = json.loads(process.stdout.read())
    answer.pop("invocation")
    return answer


def traced(net, **options):
    return ended(begun(net, **options))


def injected(net, **options):
    return traced(net, inject=True, **options)


@contextlib.contextmanager
def sending(net, node, **probe):
    """The program that peers run, at its work on a node."""
    program = [sys.executable, "-c", inspect.getsource(trace_sender)]
    sender = net.run([*program, json.dumps({"seconds": 60, **probe})], node=node).stdout
    try:
        yield
    finally:
        net.run([*program, json.dumps({"stop": int(sender)})], node=node)
        wait_until(lambda: not os.path.exists(f"/proc/{int(sender)}/fd/0"), 5, "the end of the sender")


def sent(net, node="peer", **options):
    """The answer about a packet that a neighbour sends."""
    probe = {name: options[name] for name in ("protocol", "port", "destination") if name in options}
    with sending(net, node, **probe):
        return traced(net, **options)


def decider(answer):
    found = answer["decided_by"]
    return found and (" ".join(found[name] for name in ("family", "table", "chain")), found["rule"])


def unlimited(answer):
    """The rules that were met but those with a limit, which don't match any more after some packets."""
    return [hop["handle"] for hop in answer["hops"] if "limit rate" not in hop["rule"]]


def left(net):
    """What is on the host of a trace."""
    tables = net.run(["nft", "list", "tables"]).stdout
    links = net.run(["ip", "-brief", "link"]).stdout
    return "overssh-trace" in tables, "ovtrace" in links


@pytest.mark.parametrize("ruleset", ALL)
def test_what_it_suggests_lets_the_packet_pass(net, ruleset):
    load(net, ruleset)
    before = net.listing()
    answer = sent(net, **MANAGER)
    assert (answer["passes"], answer["path"], answer["changed"]) == (False, "input", False)
    assert answer["verdict"] in ("drop", "reject")
    assert answer["decided_by"]["rule"]
    assert net.listing() == before
    foreseen = injected(net, **MANAGER)
    assert unlimited(foreseen) == unlimited(answer)
    assert foreseen["suggestion"] == answer["suggestion"]

    while not answer["passes"]:
        placed = task(net, **answer["suggestion"])["placements"]
        assert answer["placements"]
        assert {(found["chain"], found["before"]) for found in answer["placements"]} <= {
            (found["chain"], found["before"]) for found in placed
        }
        answer = sent(net, **MANAGER)

    assert (answer["verdict"], answer["decided_by"], answer["fix"], answer["suggestion"]) == (
        "accept",
        None,
        None,
        None,
    )
    assert net.tcp_passes("peer", HOST, 2377)


@pytest.mark.parametrize("ruleset", [name for name in ALL if name != "iptables_vendor.v4"])
def test_what_it_suggests_lets_the_packet_cross(net, ruleset):
    load(net, ruleset)
    packet = {**TRANSIT, "protocol": "udp"}
    answer = sent(net, **packet)
    assert (answer["passes"], answer["path"]) == (False, "forward")
    task(net, **answer["suggestion"])
    again = sent(net, **packet)
    assert (again["passes"], again["verdict"], again["path"]) == (True, "accept", "forward")
    assert net.udp_passes("peer", SPOKE, 5000, target="spoke")


@pytest.mark.parametrize(
    ("ruleset", "packet", "verdict", "chain", "rule"),
    [
        ("two_base_chains.nft", MANAGER, "drop", "inet first input", "tcp dport != 22 drop"),
        ("policy_drop.nft", MANAGER, "drop", "inet filter input", "policy drop"),
        ("shared_logdrop.nft", MANAGER, "drop", "inet filter logdrop", "counter drop"),
        ("jump_goto_tree.nft", MANAGER, "reject", "inet fw tunnel_tcp", None),
        ("maps_and_sets.nft", MANAGER, "reject", "inet edge closed", None),
        ("raw_prerouting.nft", MANAGER, "drop", "inet early prerouting", None),
        ("iptables_vendor.v4", MANAGER, "reject", "ip filter INPUT", None),
        ("iptables_ufw.v4", MANAGER, "drop", "ip filter INPUT", "policy drop"),
        ("iptables_docker.v4", TRANSIT, "drop", "ip filter FORWARD", "policy drop"),
        ("policy_by_return.nft", TRANSIT, "drop", "ip guard postrouting", 'oifname "tun1003" drop'),
    ],
)
def test_names_the_rule_that_decides(net, ruleset, packet, verdict, chain, rule):
    load(net, ruleset)
    answer = sent(net, **packet)
    assert answer["verdict"] == verdict
    assert decider(answer)[0] == chain
    assert rule in (None, decider(answer)[1])
    last = answer["hops"][-1]
    assert (last["handle"], last["rule"], last["verdict"]) == (
        answer["decided_by"]["handle"],
        answer["decided_by"]["rule"],
        "drop",
    )
    assert answer["fix"].startswith(repr(last["rule"]))


def test_tells_the_way_of_a_packet_that_passes(net):
    load(net, "jump_goto_tree.nft")
    answer = sent(net, **{**MANAGER, "port": 22})
    assert (answer["passes"], answer["verdict"]) == (True, "accept")
    assert [(hop["chain"], hop["hook"], hop["verdict"]) for hop in answer["hops"]] == [
        ("input", "input", "jump"),
        ("from_tunnels", "input", "jump"),
        ("tunnel_tcp", "input", "accept"),
    ]
    assert {name: answer["packet"][name] for name in ("source", "destination", "port", "in_interface")} == {
        "source": "172.30.2.2",
        "destination": HOST,
        "port": 22,
        "in_interface": "tun1002",
    }


@pytest.mark.parametrize(
    "packet",
    [
        {"protocol": "udp", "port": 4789, "destination": HOST},
        {"protocol": "icmp", "destination": HOST},
        {"protocol": "tcp", "port": 2377, "destination": "fd00:30:2::1"},
        {"protocol": "udp", "port": 4789, "destination": "fd00:30:2::1"},
        {"protocol": "icmpv6", "destination": "fd00:30:2::1"},
        {"protocol": "udp", "port": 5000, "destination": "fd00:30:3::2", "path": "forward"},
    ],
    ids=lambda packet: "-".join(str(value) for value in packet.values()),
)
def test_packets_of_every_kind_sent_and_injected(net, packet):
    hook = packet.get("path", "input")
    rules = "policy drop; icmpv6 type 133-137 accept"
    net.run(["nft", f"table inet f {{ chain c {{ type filter hook {hook} priority 0; {rules}; }}; }}"])
    for answer in (sent(net, **packet), injected(net, in_interface="tun1002", **packet)):
        assert (answer["verdict"], answer["packet"]["destination"]) == ("drop", packet["destination"]), answer
        assert decider(answer) == ("inet f c", "policy drop")
        assert answer["path"] == hook


def test_what_a_chain_of_the_device_drops(net):
    base = "type filter hook ingress device tun1002 priority 0"
    net.run(["nft", f"table netdev early {{ chain c {{ {base}; tcp dport 2377 drop; }}; }}"])
    answer = sent(net, **MANAGER)
    assert decider(answer) == ("netdev early c", "tcp dport 2377 drop")
    assert (answer["hops"][0]["hook"], answer["suggestion"]) == ("ingress", None)
    assert "leaves the chains of single devices (hook ingress) alone" in answer["fix"]


def test_what_the_host_itself_sends(net):
    net.run(["nft", "table inet f { chain c { type filter hook output priority 0; tcp dport 9 reject; }; }"])
    packet = {"protocol": "tcp", "path": "output", "destination": SPOKE}
    answer = injected(net, **packet, port=9)
    assert (answer["verdict"], decider(answer)) == ("reject", ("inet f c", "tcp dport 9 reject"))
    task(net, **answer["suggestion"])
    assert injected(net, **packet, port=9)["passes"]
    other = injected(net, **packet, port=10)
    assert (other["passes"], other["packet"]["out_interface"]) == (True, "tun1003")


def test_follows_a_packet_whose_address_is_translated(net):
    net.run(
        ["nft", "-f", "-"],
        """
        table ip t {
            chain pre { type nat hook prerouting priority -100; tcp dport 8080 dnat to 172.30.3.2:80; }
            chain forth { type filter hook forward priority 0; tcp dport 80 drop; }
        }
    """,
    )
    packet = {"protocol": "tcp", "port": 8080, "destination": HOST}
    answer = sent(net, **packet)
    assert (answer["path"], decider(answer)) == ("forward", ("ip t forth", "tcp dport 80 drop"))
    assert (answer["suggestion"]["ports"], answer["suggestion"]["destination"]) == (["80"], [SPOKE])
    task(net, **answer["suggestion"])
    assert sent(net, **packet)["passes"]


def test_a_rule_of_ours_is_called_by_its_name(net):
    task(net, name="closed", chain="inet overssh early", hook="input", verdict="drop", protocol="tcp", ports=["2377"])
    answer = sent(net, **MANAGER)
    assert "it is the rule closed of ours" in answer["fix"]


@pytest.fixture
def held(net):
    """A tun device of the host that another process has open, as ssh has."""
    with net.inside("host"):
        device = os.open(tun_ioctl.CLONE_DEVICE, os.O_RDWR)
    try:
        with net.inside("host"):
            fcntl.ioctl(device, tun_ioctl.TUNSETIFF, struct.pack("16sH22x", b"tun1009", 0x1001))
        net.run(["ip", "address", "add", "172.30.9.1", "peer", "172.30.9.2", "dev", "tun1009"])
        net.run(["ip", "link", "set", "tun1009", "up"])
        yield "tun1009"
    finally:
        os.close(device)


def test_injects_into_a_device_that_another_process_has(net, held):
    load(net, "policy_drop.nft")
    answer = injected(net, protocol="tcp", port=2377, in_interface=held)
    assert decider(answer) == ("inet filter input", "policy drop")
    assert (answer["packet"]["source"], answer["packet"]["in_interface"]) == ("172.30.9.2", held)
    assert answer["suggestion"]["in_interfaces"] == [held]
    assert left(net) == (False, False)


@contextlib.contextmanager
def setting(net, **values):
    """Settings of the host's kernel, put back afterwards."""
    before = {key: net.run(["sysctl", "-n", key]).stdout.strip() for key in values}
    try:
        for key, value in values.items():
            net.run(["sysctl", "-qw", f"{key}={value}"])
        yield
    finally:
        for key, value in before.items():
            net.run(["sysctl", "-qw", f"{key}={value}"])


@pytest.mark.parametrize(
    ("packet", "settings", "words"),
    [
        ({**MANAGER, "source": SPOKE}, {"net.ipv4.conf.tun1002.rp_filter": 1}, "the reverse path filter drops it"),
        ({**MANAGER, "source": "172.30.3.1"}, {}, "is an address of this host itself"),
        ({**MANAGER, "source": "127.0.0.9"}, {}, "no packet on the wire may have"),
        (TRANSIT, {"net.ipv4.conf.tun1002.forwarding": 0}, "forwarding is 0"),
        ({**TRANSIT, "destination": "203.0.113.9"}, {}, "it has no route to 203.0.113.9"),
    ],
    ids=["reverse_path", "own_source", "loopback", "no_forwarding", "no_route"],
)
def test_says_why_the_kernel_itself_drops_a_packet(net, packet, settings, words):
    with setting(net, **settings):
        answer = injected(net, **packet)
    assert (answer["passes"], answer["verdict"], answer["decided_by"]) == (False, "lost", None)
    assert words in answer["fix"]
    assert answer["suggestion"] is None


def test_says_that_the_host_has_no_route(net):
    answer = injected(net, protocol="udp", port=9, path="output", destination="203.0.113.9", timeout=1)
    assert (answer["verdict"], answer["decided_by"]) == ("none", None)
    assert "this host has no route to 203.0.113.9" in answer["fix"]


def test_says_that_nft_does_not_see_what_iptables_legacy_drops(net):
    """In a namespace of its own: its tables would stay in the host's, and iptables-nft would speak of them."""
    setup = [
        "ip link add tun1002 type veth peer name up0",
        "ip link set tun1002 up",
        "ip link set up0 up",
        f"ip address add {HOST}/24 dev tun1002",
        "iptables-legacy -A INPUT -p tcp --dport 2377 -j DROP",
        'exec "$@"',
    ]
    answer = ended(begun(net, ["unshare", "--net", "sh", "-c", " && ".join(setup), "sh"], **MANAGER, inject=True))
    assert (answer["verdict"], answer["path"], answer["suggestion"]) == ("lost", "input", None)
    assert (
        "it is lost at the hook input; iptables-legacy drops it, by '-A INPUT -p tcp -m tcp --dport 2377 -j DROP' in "
        "the table filter" in answer["fix"]
    )


def test_names_a_rule_that_takes_the_packet_away(net):
    base = "type filter hook ingress device tun1002 priority 0"
    net.run(["nft", f"table netdev early {{ chain c {{ {base}; tcp dport 2377 fwd to wan0; }}; }}"])
    answer = sent(net, **MANAGER)
    assert (answer["passes"], answer["verdict"], answer["suggestion"]) == (False, "stolen", None)
    assert decider(answer)[0] == "netdev early c"
    assert "takes the packet out of its way" in answer["fix"]


def test_nobody_sends(net):
    answer = traced(net, **MANAGER, timeout=1)
    assert (answer["passes"], answer["verdict"], answer["hops"], answer["packet"]) == (False, "none", [], None)
    assert "tcp 2377 to 172.30.2.1 by tun1002" in answer["fix"]
    assert left(net) == (False, False)


def test_waits_for_a_packet_that_comes_by_itself(net):
    load(net, "policy_drop.nft")
    process = begun(net, protocol="udp", port=4789, source="172.30.2.0/24", timeout=60)
    wait_until(lambda: left(net)[0], 20, "the trace")
    assert net.udp_blocked("world", WAN, 4789)
    assert net.udp_blocked("peer", HOST, 4788)
    assert net.udp_blocked("peer", HOST, 4789)
    answer = ended(process)
    assert (answer["verdict"], answer["packet"]["source"]) == ("drop", "172.30.2.2")


def test_two_at_once_do_not_disturb_each_other(net):
    load(net, "policy_drop.nft")
    first = begun(net, protocol="udp", port=4789, timeout=60)
    second = begun(net, protocol="udp", port=4790, timeout=60)
    wait_until(lambda: net.run(["nft", "list", "tables"]).stdout.count("overssh-trace") == 2, 20, "both traces")
    assert net.udp_blocked("peer", HOST, 4790)
    assert net.udp_blocked("peer", HOST, 4789)
    answers = [ended(process) for process in (first, second)]
    assert [answer["packet"]["port"] for answer in answers] == [4789, 4790]
    assert answers[0]["hops"] == answers[1]["hops"]


def test_packets_that_others_trace_are_not_taken_for_it(net):
    load(net, "policy_drop.nft")
    base = "type filter hook prerouting priority -300"
    net.run(["nft", f"table inet other {{ chain c {{ {base}; udp dport 9 meta nftrace set 1; }}; }}"])
    process = begun(net, protocol="udp", port=4789, timeout=3)
    wait_until(lambda: left(net)[0], 20, "the trace")
    assert net.udp_blocked("peer", HOST, 9)
    assert ended(process)["verdict"] == "none"


def test_what_was_told_before_an_overrun_is_passed_over(net):
    """The kernel speaks of an overrun first, and only then gives what it told before: ways without an end."""
    base = "type filter hook prerouting priority 0"
    net.run(["nft", f"table inet other {{ chain c {{ {base}; udp dport 9 meta nftrace set 1; }}; }}"])
    with net.inside("host"):
        monitor = trace_netlink.Monitor()
    with net.inside("peer"):
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with monitor, peer:
        monitor._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(100):
            peer.sendto(b"", (HOST, 9))
        with pytest.raises(trace_netlink.OverrunError):
            monitor.read(5)
        assert monitor.read(0.2) == []
        peer.sendto(b"", (HOST, 9))
        assert [(message.kind, bool(message.header)) for message in monitor.read(5)] == [("rule", True)]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_nothing_is_left_of_one_that_is_killed(net, end):
    load(net, "policy_drop.nft")
    before = net.listing()
    # What comes in by the device goes elsewhere before the firewall sees it, so the module keeps on sending.
    net.run(["tc", "qdisc", "add", "dev", "tun1002", "clsact"])
    every = ["protocol", "all", "u32", "match", "u32", "0", "0"]
    net.run(
        [
            "tc",
            "filter",
            "add",
            "dev",
            "tun1002",
            "ingress",
            *every,
            "action",
            "mirred",
            "egress",
            "redirect",
            "dev",
            "wan0",
        ]
    )
    try:
        process = begun(net, **MANAGER, inject=True, timeout=60)
        wait_until(lambda: left(net) == (True, True), 20, "the trace and the device")
        process.send_signal(end)
        process.wait()
        process.stdout.close()
        wait_until(lambda: left(net) == (False, False), 5, "their end")
    finally:
        net.run(["tc", "qdisc", "delete", "dev", "tun1002", "clsact"])
    assert net.listing() == before


def test_a_host_that_can_not_inject_says_so_and_names_the_other_way(net):
    without = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh"]
    answer = ended(begun(net, without, **MANAGER, inject=True))
    assert answer["failed"]
    assert "with peer instead of inject" in answer["msg"]
    assert left(net) == (False, False)


def test_a_process_without_the_right_to_is_told(net):
    weak = ["setpriv", "--bounding-set", "-net_admin"]
    answer = ended(begun(net, weak, **MANAGER))
    assert answer["failed"]
    assert "root's rights" in answer["msg"]


def test_a_host_without_nfts_library_is_told(net):
    hide = 'mount --bind /dev/null "$(ldconfig -p | awk \'/libnftables.so.1 /{print $NF; exit}\')" && exec "$@"'
    answer = ended(begun(net, ["unshare", "--mount", "sh", "-c", hide, "sh"], **MANAGER))
    assert answer["failed"]
    assert "libnftables.so.1 is not on this host; install the package libnftables1" in answer["msg"]


def test_answers_in_check_mode_as_well(net):
    load(net, "policy_drop.nft")
    packet = {**MANAGER, "source_port": 50000}
    assert injected(net, **packet, _ansible_check_mode=True) == injected(net, **packet)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"in_interface": "eth77"}, "this host has no interface eth77"),
        ({"in_interface": "tun1002", "path": "forward"}, "destination is missing"),
    ],
)
def test_what_can_not_be_asked_is_one_sentence(net, options, words):
    answer = injected(net, protocol="tcp", port=1, **options)
    assert answer["failed"]
    assert words in answer["msg"]
    assert left(net) == (False, False)


def test_a_device_that_is_down_takes_nothing_in(net):
    net.run(["ip", "tuntap", "add", "tun1008", "mode", "tun"])
    try:
        net.run(["ip", "address", "add", "172.30.8.1/24", "dev", "tun1008"])
        packet = {"protocol": "tcp", "port": 1, "in_interface": "tun1008"}
        assert "tun1008 is down" in injected(net, **packet)["msg"]
        net.run(["ip", "link", "set", "tun1008", "up"])
        assert "tun1008 has no carrier" in injected(net, **packet)["msg"]
    finally:
        net.run(["ip", "link", "delete", "tun1008"])
