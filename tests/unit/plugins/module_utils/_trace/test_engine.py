# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel tells of traced packets (recorded on Linux 6.18), and what is made and said of it."""

from __future__ import annotations

import inspect
import ipaddress
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._linux import packet as linux_packet
from ansible_collections.overssh.swarm.plugins.module_utils._linux.devices import Address, Device
from ansible_collections.overssh.swarm.plugins.module_utils._linux.icmp import checksum
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.ruleset import ChainKey, parse
from ansible_collections.overssh.swarm.plugins.module_utils._trace import engine, inject, sender
from ansible_collections.overssh.swarm.plugins.module_utils._trace.engine import described_from, probe_from
from ansible_collections.overssh.swarm.plugins.module_utils._trace.netlink import (
    Header,
    Message,
    OverrunError,
    messages,
)
from ansible_collections.overssh.swarm.plugins.module_utils._trace.path import TracePaths, trace_path_of
from ansible_collections.overssh.swarm.plugins.module_utils._trace.table import table_text
from ansible_collections.overssh.swarm.plugins.module_utils._trace.verdict import Observed, answer
from hypothesis import given
from hypothesis import strategies as st

RECORDED = json.loads(
    (Path(__file__).resolve().parents[4] / "recorded" / "nft" / "trace.json").read_text(encoding="utf-8")
)
RULESET = parse(RECORDED["listing"], RECORDED["text"])
TABLE = "overssh-trace-7"
C, D = ChainKey("inet", "f", "c"), ChainKey("inet", "f", "d")
OWN = ChainKey("inet", TABLE, "prerouting_in")
HEADER = Header("172.30.2.2", "172.30.2.1", 6, 50000, 2377, iif=3)
ASKED = {"path": "input", "protocol": "tcp", "port": 2377, "timeout": 10, "in_interface": "tun1002"}


def told(name: str) -> list[Message]:
    return [message for read in RECORDED[name] for message in messages(bytes.fromhex(read))]


def answered(name: str, ruleset=RULESET, **options):
    described = described_from({**ASKED, **options})
    return answer(Observed(described, trace_path_of(told(name), TABLE), ruleset, {3: "tun1002"}))


def without(handle: int):
    """The ruleset after somebody has removed a rule."""
    kept = {key: [rule for rule in chain.rules if rule.handle != handle] for key, chain in RULESET.chains.items()}
    return RULESET.with_rules(kept)


class TestMessages:
    def test_of_a_rejected_packet(self):
        found = [message for message in told("reject") if message.key.table == "f"]
        assert [(message.key, message.kind, message.verdict, bool(message.handle)) for message in found] == [
            (C, "rule", "continue", True),
            (C, "rule", "jump", True),
            (D, "rule", "drop", True),
        ]
        header = found[0].header
        assert header is not None
        assert (header.source, header.destination, header.source_port, header.port) == (
            "172.30.2.2",
            "172.30.2.1",
            50000,
            2377,
        )
        assert header.protocol == socket.IPPROTO_TCP
        assert [message.header for message in found[1:]] == [None, None]
        assert len({message.packet for message in told("reject")}) == 1

    def test_of_a_policy_and_of_ipv6(self):
        last = told("policy")[-1]
        assert (last.key, last.kind, last.verdict, last.handle) == (C, "policy", "drop", 0)
        header = next(message.header for message in told("policy") if message.header)
        assert (header.source, header.destination, header.port) == ("fd00:30:2::2", "fd00:30:2::1", 4789)

    def test_of_something_else_are_none(self):
        other = struct.pack("=IHHII", 20, 10 << 8 | 3, 0, 0, 0) + bytes(4)
        assert list(messages(other)) == []
        assert list(messages(other + bytes.fromhex(RECORDED["reject"][0])))

    @given(st.data())
    def test_that_are_broken_off_or_garbled_are_no_error(self, data):
        read = bytearray.fromhex(data.draw(st.sampled_from(RECORDED["reject"])))
        for place in data.draw(st.lists(st.integers(0, len(read) - 1), max_size=4)):
            read[place] = data.draw(st.integers(0, 255))
        list(messages(bytes(read[: data.draw(st.integers(0, len(read)))])))


class TestWay:
    def test_ends_with_a_drop(self):
        way = trace_path_of(told("reject"), TABLE)
        assert [(hop.key.chain, hop.verdict) for hop in way.hops] == [("c", "continue"), ("c", "jump"), ("d", "drop")]
        assert (way.passed, way.dropped, way.ended, way.path, way.entered, way.left) == (
            False,
            True,
            True,
            "input",
            "input",
            "prerouting",
        )

    def test_ends_behind_the_last_hook(self):
        way = trace_path_of(told("accept"), TABLE)
        assert (way.passed, way.dropped, way.path, way.left) == (True, False, "input", "input")
        assert [(hop.kind, hop.verdict) for hop in way.hops] == [("rule", "accept")]

    def test_has_no_hops_of_another_trace(self):
        other = [replace(message, key=message.key._replace(table="overssh-trace-8")) for message in told("accept")]
        assert trace_path_of([*told("accept")[:3], *other], TABLE).hops == ()

    def test_of_a_packet_that_others_trace_is_none_of_ours(self):
        ways = TracePaths("overssh-trace-8")
        ways.add(told("reject"))
        assert not ways
        assert ways.best().first is None

    def test_a_packet_that_others_trace_is_none_of_ours_in_our_chains_either(self):
        """They tell of whatever is traced and comes through; the rule that marks tells of ours alone."""
        ways = TracePaths(TABLE)
        ways.add(message for message in told("reject") if message.key.table != TABLE or not message.handle)
        assert not ways

    def test_a_later_packet_with_the_same_number_is_another_one(self):
        ways = TracePaths(TABLE)
        ways.add(told("reject"))
        ways.add(told("reject"))
        assert ways.best() == trace_path_of(told("reject"), TABLE)

    def test_the_first_packet_that_has_ended_counts(self):
        ways = TracePaths(TABLE)
        ways.add([replace(message, packet=1) for message in told("accept")[:3]])
        assert not ways.best().ended
        ways.add(told("reject"))
        assert ways.best().dropped
        ways.forget()
        assert not ways


class Script:
    """A monitor that tells what it is given, one after the other, and after that nothing."""

    def __init__(self, *reads):
        self.reads = list(reads)

    def read(self, timeout):
        found = self.reads.pop(0) if self.reads else []
        if isinstance(found, Exception):
            raise found
        if not found:
            time.sleep(timeout)
        return found


class TestWatch:
    def watched(self, *reads, timeout=0.2):
        ways = TracePaths(TABLE)
        engine._watch(Script(*reads), ways, None, timeout)
        return ways.best()

    def test_begins_anew_after_an_overrun(self):
        whole = told("reject")
        assert self.watched(whole[:4], OverrunError("some are lost"), whole) == trace_path_of(whole, TABLE)

    def test_the_task_s_time_counts_again_after_an_overrun(self, monkeypatch):
        monkeypatch.setattr(engine, "PATIENCE", 0.05)
        monkeypatch.setattr(engine, "PAUSE", 0.1)
        whole = told("reject")
        found = self.watched(whole[:4], OverrunError("some are lost"), [], [], whole, timeout=20)
        assert found == trace_path_of(whole, TABLE)

    def test_no_packet_after_an_overrun_is_no_answer(self):
        with pytest.raises(OverrunError, match="some are lost"):
            self.watched(told("reject")[:4], OverrunError("some are lost"))

    def test_no_packet_at_all_is_one(self):
        assert self.watched().first is None


class TestAnswer:
    def test_names_the_rule_and_what_lets_the_packet_pass(self):
        found = answered("reject")
        assert (found["passes"], found["verdict"], found["path"]) == (False, "reject", "input")
        handle = found["decided_by"]["handle"]
        assert found["decided_by"] == {"family": "inet", "table": "f", "chain": "d", "handle": handle, "rule": "reject"}
        assert [hop["hook"] for hop in found["hops"]] == ["input"] * 3
        assert found["suggestion"] == {
            "name": "tcp-2377-input-tun1002",
            "path": "input",
            "protocol": "tcp",
            "ports": ["2377"],
            "in_interfaces": ["tun1002"],
        }
        assert [(place["chain"], place["handle"]) for place in found["placements"]] == [("d", None)]
        assert found["fix"].startswith("'reject' in inet f d (handle ")

    def test_a_policy_has_no_handle(self):
        found = answered("policy", protocol="udp", port=4789)
        assert (found["verdict"], found["decided_by"]["handle"], found["decided_by"]["rule"]) == (
            "drop",
            None,
            "policy drop",
        )
        assert found["placements"][0]["before"] is None

    def test_what_was_asked_for_narrows_the_suggestion(self):
        suggestion = answered("reject", source="172.30.2.0/24", destination="172.30.2.1")["suggestion"]
        assert (suggestion["source"], suggestion["destination"]) == (["172.30.2.0/24"], ["172.30.2.1"])

    def test_a_rule_that_has_gone_meanwhile(self):
        handle = answered("reject")["decided_by"]["handle"]
        found = answered("reject", ruleset=without(handle))
        assert (found["verdict"], found["decided_by"]["rule"]) == ("drop", "")
        assert found["fix"].startswith(f"a rule that has been removed since in inet f d (handle {handle}) decides")

    @pytest.mark.parametrize("verdict", ["queue", "stolen"])
    def test_a_rule_that_gives_the_packet_away(self, verdict):
        way = trace_path_of([Message(1, OWN, "rule", "continue", 9, HEADER), Message(1, C, "rule", verdict, 4)], TABLE)
        found = answer(Observed(described_from(ASKED), way, RULESET, {}))
        assert (found["passes"], found["verdict"], found["suggestion"]) == (False, verdict, None)
        assert "in inet f c (handle 4)" in found["fix"]

    @pytest.mark.parametrize(
        ("path", "interfaces", "chain"),
        [("input", ["tun1002"], "input"), ("forward", ["tun1002", "tun1003"], "forward")],
    )
    def test_where_firewalld_drops_it_the_suggestion_is_one_for_firewalld(self, path, interfaces, chain):
        key = ChainKey("inet", "firewalld", "filter")
        base = {"family": "inet", "table": "firewalld", "name": "filter", "type": "filter", "hook": path, "prio": 10}
        rule = {"family": "inet", "table": "firewalld", "chain": "filter", "handle": 5, "expr": [{"drop": None}]}
        ruleset = parse(json.dumps({"nftables": [{"chain": {**base, "policy": "accept"}}, {"rule": rule}]}))
        header = replace(HEADER, oif=4 if path == "forward" else 0)
        own = OWN._replace(chain=f"{path}_in")
        way = trace_path_of(
            [Message(1, own, "policy", "accept", 0, header), Message(1, key, "rule", "drop", 5, header)], TABLE
        )
        described = described_from({**ASKED, "path": path})
        found = answer(Observed(described, way, ruleset, {3: "tun1002", 4: "tun1003"}))
        assert found["suggestion"]["in_interfaces"] == interfaces
        assert "out_interfaces" not in found["suggestion"]
        assert [(place["family"], place["chain"]) for place in found["placements"]] == [("firewalld", chain)]

    def test_a_packet_that_never_came(self):
        found = answer(Observed(described_from(ASKED), trace_path_of([], TABLE), RULESET, {}, waited=10))
        assert (found["passes"], found["verdict"], found["packet"], found["hops"]) == (False, "none", None, [])
        assert found["fix"].startswith("no such packet (tcp 2377 by tun1002) came within 10 s")

    def test_a_packet_that_passes_needs_nothing(self):
        found = answered("accept", port=22)
        assert (found["passes"], found["verdict"], found["decided_by"], found["fix"], found["suggestion"]) == (
            True,
            "accept",
            None,
            None,
            None,
        )


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"port": None}, "port is missing"),
            ({"port": 70000}, "port is 70000; it takes 1 to 65535"),
            ({"protocol": "icmp"}, "belong to the protocols tcp and udp, not to icmp"),
            ({"source": "172.30.2"}, "source is '172.30.2', which is no address or network"),
            ({"source": "172.30.2.2", "destination": "fd00::1"}, "no address family in common"),
            ({"protocol": "icmpv6", "port": None, "source": "172.30.2.2"}, "no address family in common"),
            ({"in_interface": 'tun"1'}, "is no interface's name"),
            ({"path": "output"}, "it has no in_interface, and no peer sends it"),
            ({"peer": "edge1"}, "destination is missing"),
            ({"peer": "edge1", "destination": "172.30.2.0/24"}, "can't send this packet to 172.30.2.0/24"),
            ({"peer": "edge1", "destination": "fd00::1", "peer_destination": "192.0.2.1"}, "of the packet's family"),
            ({"peer": "edge1", "peer_destination": "hub"}, "peer_destination is 'hub', which is no address or network"),
            ({"peer": "edge1", "peer_destination": "192.0.2.1", "peer_port": 0}, "peer_port is 0; it takes 1 to 65535"),
            ({"protocol": "icmp", "port": None, "peer_port": 7}, "belong to the protocols tcp and udp, not to icmp"),
            ({"path": "output", "in_interface": None, "inject": True}, "destination is missing"),
            ({"inject": True, "in_interface": None, "destination": "172.30.2.1"}, "in_interface is missing"),
            ({"inject": True, "source": "172.30.2.0/24"}, "with inject it takes one address"),
            ({"timeout": 0}, "timeout takes 1 to 600 seconds"),
        ],
    )
    def test_what_can_not_be_is_told(self, options, words):
        with pytest.raises(OversshError, match=words.replace("(", r"\(")):
            described_from({**ASKED, **options})

    def test_a_peer_sends_what_is_traced_unless_it_is_told_another_place(self):
        direct = {**ASKED, "destination": "172.30.2.1", "source": "172.30.2.2", "source_port": 99}
        assert probe_from(direct) == {
            "protocol": "tcp",
            "destination": "172.30.2.1",
            "port": 2377,
            "source": "172.30.2.2",
            "source_port": 99,
        }
        through = probe_from({**ASKED, "peer": "edge1", "peer_destination": "192.0.2.1", "peer_port": 2222})
        assert (through["destination"], through["port"], through["source"]) == ("192.0.2.1", 2222, None)

    def test_the_table_marks_such_packets_and_no_others(self):
        text = table_text(TABLE, described_from({**ASKED, "source": "172.30.0.0/16", "destination": "fd00::1"[:0]}))
        match = (
            'iifname "tun1002" ip saddr 172.30.0.0/16 tcp flags & (fin | syn | rst | ack) == syn tcp dport 2377 limit'
        )
        assert text.count(match) == 2, "where the device is, and in prerouting"
        assert text.count("nftrace set 1") == 2
        assert 'hook ingress device "tun1002"' in text
        assert "flags owner" in text


def link(*addresses: Address, **more) -> inject.Inlet:
    return inject.inlet(Device("tun1", up=True, carrier=True, addresses=addresses, **more))


NET4 = Address("172.30.2.1", 24)
NET6 = Address("fd00::1", 64)
PAIR = Address("172.30.9.1", 32, "172.30.9.2")
ALONE = Address("172.30.0.1", 32)
LOCAL = Address("fe80::1", 64, scope="link")


class TestInjected:
    @pytest.mark.parametrize(
        ("here", "family", "source", "destination", "expected"),
        [
            (link(NET4, NET6), None, None, None, ("172.30.2.2", "172.30.2.1")),
            (link(NET4, NET6), 6, None, None, ("fd00::2", "fd00::1")),
            (link(NET4, PAIR), None, "172.30.9.2", None, ("172.30.9.2", "172.30.9.1")),
            (link(PAIR), None, None, None, ("172.30.9.2", "172.30.9.1")),
            (link(PAIR), None, None, "203.0.113.1", ("172.30.9.2", "203.0.113.1")),
            (link(), None, "192.0.2.1", "203.0.113.1", ("192.0.2.1", "203.0.113.1")),
        ],
    )
    def test_whom_a_packet_comes_from_and_goes_to(self, here, family, source, destination, expected):
        given = [address and ipaddress.ip_address(address) for address in (source, destination)]
        assert tuple(map(str, inject.ends(here, family, *given))) == expected

    @pytest.mark.parametrize(
        ("here", "words"),
        [
            (link(LOCAL), "has no address of that family"),
            (link(NET6), "has no address of that family"),
            (link(ALONE), "say the source"),
        ],
    )
    def test_what_the_device_does_not_tell_has_to_be_said(self, here, words):
        with pytest.raises(OversshError, match=words):
            inject.ends(here, 4, None, None)

    def test_a_port_of_a_bridge_is_told(self):
        assert link(port_of="br0", port_kind="bridge").port_of == "br0"
        assert link(port_of="vrf0", port_kind="vrf").port_of == ""

    @pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp", "icmpv6"])
    @pytest.mark.parametrize("addresses", [("192.0.2.1", "192.0.2.2"), ("fd00::1", "fd00::2")])
    def test_its_checksums_are_right(self, protocol, addresses):
        source, destination = map(ipaddress.ip_address, addresses)
        if source.version != {"icmp": 4, "icmpv6": 6}.get(protocol, source.version):
            return
        packet = linux_packet.first_packet(protocol, source, destination, 50000, 2377)
        header = 20 if source.version == 4 else 40
        body = packet[header:]
        if source.version == 4:
            assert checksum(packet[:header]) == 0
            assert struct.unpack_from("!H", packet, 2)[0] == len(packet)
        else:
            assert struct.unpack_from("!H", packet, 4)[0] == len(body)
        pseudo = source.packed + destination.packed + struct.pack("!II", len(body), linux_packet.PROTOCOLS[protocol])
        assert checksum(body if protocol == "icmp" else pseudo + body) == 0


class TestSender:
    def test_ends_where_who_asked_for_it_has_gone(self):
        """It could tell nobody its process, so nobody could stop it."""
        gone, answer = os.pipe()
        os.close(gone)
        # Its end is seen when no process holds this any more.
        alive, held = os.pipe()
        order = {"seconds": 60, "protocol": "udp", "port": 4788, "destination": "127.0.0.1"}
        command = [sys.executable, "-c", inspect.getsource(sender), json.dumps(order)]
        with subprocess.Popen(command, stdout=answer, pass_fds=[held]) as started:
            os.close(answer)
            os.close(held)
            assert started.wait(20) == 1
        assert select.select([alive], [], [], 20)[0] == [alive]
        os.close(alive)
