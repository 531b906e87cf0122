# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits in the stream helper on a long path: whose packet leaves next, which are dropped, how many may leave."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.roles.tunnel.stream_helper import Device, Pipe, load, packets_in

stream = load()

TARGET, INTERVAL = 0.005, 0.1
TCP, UDP, ICMP, ESP = 6, 17, 1, 50
MORE_FRAGMENTS = 0x2000


def ipv4(
    source: str = "10.0.0.1",
    target: str = "10.0.0.2",
    protocol: int = TCP,
    ports: tuple[int, int] = (1000, 80),
    size: int = 100,
    fragment: int = 0,
) -> bytes:
    """A packet of so many bytes behind its virtio-net header."""
    header = bytes([0x45, 0]) + size.to_bytes(2, "big") + bytes(2) + fragment.to_bytes(2, "big")
    header += bytes([64, protocol, 0, 0]) + ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    whole = bytes(10) + header + ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big")
    return whole + bytes(max(0, 10 + size - len(whole)))


def ipv6(protocol: int = TCP, ports: tuple[int, int] = (1000, 80), label: int = 0) -> bytes:
    header = (0x60000000 | label).to_bytes(4, "big") + bytes([0, 60, protocol, 64])
    header += ipaddress.ip_address("fd00::1").packed + ipaddress.ip_address("fd00::2").packed
    return bytes(10) + header + ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big") + bytes(56)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ipv4(), ipv4(size=1400)),
        (ipv4(protocol=ESP, ports=(1, 2)), ipv4(protocol=ESP, ports=(3, 4))),
        (ipv4(protocol=ICMP, ports=(0x0800, 1)), ipv4(protocol=ICMP, ports=(0x0800, 2))),
        # Only the first fragment has ports, and one flow must not overtake itself.
        (ipv4(protocol=UDP, fragment=MORE_FRAGMENTS), ipv4(protocol=UDP, ports=(9, 9), fragment=185)),
        (ipv6(), ipv6(label=5)),
        (b"", b"\0" * 12),
        (bytes(10) + b"\x45", bytes(10) + b"\x60"),
    ],
)
def test_packets_of_one_flow(one: bytes, other: bytes) -> None:
    assert stream.flow_of(one) == stream.flow_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ipv4(), ipv4(ports=(1001, 80))),
        (ipv4(), ipv4(ports=(1000, 81))),
        (ipv4(), ipv4(source="10.0.0.3")),
        (ipv4(), ipv4(target="10.0.0.3")),
        (ipv4(), ipv4(protocol=UDP)),
        # A VXLAN of two flows inside.
        (ipv4(protocol=UDP, ports=(40000, 4789)), ipv4(protocol=UDP, ports=(40001, 4789))),
        (ipv6(), ipv6(ports=(1001, 80))),
        (ipv6(), ipv6(protocol=UDP)),
        (ipv4(), ipv6()),
    ],
)
def test_packets_of_two_flows(one: bytes, other: bytes) -> None:
    assert stream.flow_of(one) != stream.flow_of(other)


def taken(flows, count: int = 10_000, now: float = 0.0) -> list[bytes]:
    """So many packets that leave, or all."""
    found: list[bytes] = []
    while len(found) < count and (packet := flows.take(now, TARGET, INTERVAL)) is not None:
        found.append(packet)
    return found


def put(flows, packet: bytes, now: float) -> None:
    flows.put(stream.flow_of(packet), packet, now)


def numbered(flow: int, number: int, size: int = 1400) -> bytes:
    return ipv4(ports=(flow, 80), size=size)[:-2] + number.to_bytes(2, "big")


def test_a_flow_that_was_idle_passes_one_that_sends_much():
    flows = stream.Flows()
    for number in range(100):
        put(flows, numbered(1, number), 0.0)
    taken(flows, 30)
    ping = ipv4(protocol=ICMP, size=84)
    put(flows, ping, 0.001)
    assert ping in taken(flows, 2)


def test_flows_that_send_much_take_turns_by_bytes():
    flows = stream.Flows()
    for number in range(40):
        put(flows, numbered(1, number, 60000), 0.0)
        for _packet in range(40):
            put(flows, numbered(2, number, 1500), 0.0)
    sent = {1: 0, 2: 0}
    for packet in taken(flows, 400):
        sent[1 if len(packet) > 50000 else 2] += len(packet)
    assert abs(sent[1] - sent[2]) <= 60000 + 2 * stream.QUANTUM


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(40, 60000), st.booleans()), max_size=80))
def test_whatever_comes_each_flow_keeps_its_order_and_nothing_is_lost_in_time(steps):
    flows, given, got = stream.Flows(), [], []
    for number, (flow, size, leave) in enumerate(steps):
        packet = numbered(flow, number, size)
        given.append(packet)
        put(flows, packet, 0.0)
        if leave:
            got += taken(flows, 2)
    assert flows.size == sum(map(len, given)) - sum(map(len, got))
    got += taken(flows)
    for flow in range(1, 5):
        key = stream.flow_of(numbered(flow, 0))
        assert [each for each in got if stream.flow_of(each) == key] == [
            each for each in given if stream.flow_of(each) == key
        ]
    assert (flows.size, flows.dropped, len(got)) == (0, 0, len(given))


def test_a_burst_is_kept_and_a_queue_that_stands_is_dropped_from():
    flows = stream.Flows()
    now, number, worst = 0.0, 0, 0.0
    for _packet in range(100):
        put(flows, numbered(1, number), now)
        number += 1
    for _turn in range(100):
        now += 0.0009
        flows.take(now, TARGET, INTERVAL)
    assert flows.dropped == 0, "within the interval"
    for _turn in range(4000):
        # A sender that sends 1.1 times what leaves, and never slower.
        now += 0.001
        for _packet in range(2 if number % 10 == 0 else 1):
            put(flows, numbered(1, number), now)
            number += 1
        flows.take(now, TARGET, INTERVAL)
        worst = max(worst, flows.size)
    assert flows.dropped > 100
    assert worst < 400 * 1400


def test_the_last_packets_of_a_flow_are_not_dropped():
    """So many connections send when they have become as slow as they can; dropped, they are sent again."""
    flows = stream.Flows()
    for number in range(4):
        put(flows, numbered(1, number), 0.0)
    flows.take(10.0, TARGET, INTERVAL)
    assert len(taken(flows, now=20.0)) == 3
    assert flows.dropped == 0


def test_memory_is_bounded_at_the_cost_of_the_longest_flow():
    flows = stream.Flows()
    ping = ipv4(protocol=ICMP, size=84)
    put(flows, ping, 0.0)
    for number in range(1000):
        put(flows, numbered(1, number), 0.0)
        put(flows, numbered(2, number, 200), 0.0)
        flows.shorten(200_000)
        assert flows.size <= 200_000
    left = taken(flows)
    assert ping in left
    sizes = [
        sum(len(packet) for packet in left if stream.flow_of(packet)[-4:-2] == bytes([0, flow])) for flow in (1, 2)
    ]
    assert min(sizes) > 40_000, "neither loses all that waited"


class Below:
    """A TCP connection of 12.5 MB/s and 50 ms, told by what it was handed."""

    def __init__(self) -> None:
        self.unsent = self.in_flight = 0
        self.least = self.round_trip = 50_000
        self.gone = False

    def look(self):
        if self.gone:
            return None
        return SimpleNamespace(**{**vars(self), "rate": 12_500_000})


def test_a_little_more_is_handed_over_than_tcp_sends_until_the_next_look():
    below = Below()
    pace = stream.Pace(below)
    assert pace.round_trip(51_000) == 50_000
    assert pace.knows
    room = pace.room(1.0, 0.0, 1 << 24)
    assert room == 125_000, "what leaves in 10 ms"
    pace.wrote(room)
    assert pace.room(1.0, 0.0, 1 << 24) == 0
    assert pace.room(1.002, 0.0, 1 << 24) == 25_000
    below.unsent = 200_000
    assert pace.room(1.1, 0.0, 1 << 24) < 0
    assert not pace.limited


def test_where_tcp_had_nothing_to_send_more_is_handed_over_for_a_while():
    below = Below()
    pace = stream.Pace(below)
    rooms, now = [], 1.0
    for _turn in range(6):
        room = pace.room(now, 0.0, 1 << 24)
        rooms.append(room)
        pace.wrote(room)
        assert pace.room(now, 0.0, 1 << 24) == 0, "more waits than that"
        now += 1.0
    assert rooms == [125_000, 250_000, 500_000, 1_000_000, 1_000_000, 1_000_000]
    for _turn in range(400):
        now += 1.0
        pace.wrote(1000)
        room = pace.room(now, 0.0, 1 << 24)
    assert room == 125_000, "nothing more waits, so nothing is missed"


def test_no_more_than_the_window_is_on_its_way():
    below = Below()
    below.in_flight, below.unsent = 600_000, 10_000
    pace = stream.Pace(below)
    assert pace.room(1.0, 0.0, 650_000) == 40_000
    assert not pace.limited
    pace.wrote(40_000)
    assert pace.room(1.0, 0.0, 650_000) == 0
    assert pace.limited
    assert pace.under_way == 650_000


@pytest.mark.parametrize(("least", "knows"), [(52_000, True), (62_000, True), (80_000, False)])
def test_a_connection_to_a_host_between_is_no_measure(least, knows):
    pace = stream.Pace(Below())
    assert (pace.round_trip(least) is not None, pace.knows) == (knows, knows)


def test_a_connection_that_has_gone_is_asked_no_more():
    below = Below()
    pace = stream.Pace(below)
    pace.round_trip(50_000)
    below.gone = True
    assert pace.room(1.0, 0.0, 1 << 24) == 0
    assert not pace.knows


@pytest.fixture
def link():
    """An outbound over a path of 50 ms, what the kernel gives it, and what it hands to ssh."""
    device, pipe = Device(), Pipe()
    outbound = stream.Outbound(device.descriptor, pipe.into, 131072, Below())
    outbound.ask()
    outbound.flush()
    pipe.read()
    place, left = outbound._asked[0]
    outbound._asked[0] = (place, left - 51_000)
    outbound.learn(1000)
    outbound.tune(12.5e6)
    yield SimpleNamespace(kernel=device.kernel, outbound=outbound, pipe=pipe)
    device.close()
    pipe.close()


def handed(link) -> bytes:
    """What ssh is given now, which takes all."""
    found = b""
    while True:
        link.outbound.full = False
        link.outbound.flush()
        got = link.pipe.read()
        if not got:
            return found
        found += got


def test_on_a_long_path_a_ping_passes_what_waits_for_tcp(link):
    outbound = link.outbound
    for number in range(200):
        link.kernel.send(numbered(1, number))
        outbound.gather()
    handed_over = handed(link)
    assert 125_000 <= len(handed_over) <= 135_000, "what leaves in 10 ms"
    assert outbound.blocked
    assert outbound.patience == stream.LOOK_SECONDS, "time alone brings more room"
    ping = ipv4(protocol=ICMP, size=84)
    link.kernel.send(ping)
    outbound.gather()
    outbound._pace._looked = 0.0
    assert handed(link)[4:].startswith(ping)


def test_everything_leaves_at_last_and_whole(link):
    outbound, data = link.outbound, b""
    sent = [numbered(1 + number % 3, number, 400) for number in range(300)]
    for packet in sent:
        link.kernel.send(packet)
        outbound.gather()
    while outbound.blocked:
        outbound._pace._looked = 0.0
        data += handed(link)
    assert sorted(packets_in(data)) == sorted(sent)
    assert outbound.patience is None


def answered(link, microseconds: int) -> None:
    """Ask, and have the answer come after so long."""
    link.outbound.ask()
    handed(link)
    place, left = link.outbound._asked[-1]
    link.outbound._asked.clear()
    link.outbound._asked.append((place, left - microseconds))
    link.outbound.learn(microseconds // 2)


def test_a_path_is_long_once_tcp_has_not_seen_a_short_one_for_minutes(link):
    """As where a host has moved: what a question took in the beginning is no measure any more."""
    below = link.outbound._pace._carrier
    below.least = 500
    answered(link, 500)
    assert link.outbound.round_trip == 0, "that is a short path"
    answered(link, 50_000)
    link.outbound.tune(1e6)
    answered(link, 50_000)
    assert link.outbound.round_trip == 0, "it may be a queue"
    below.least = 50_000
    link.outbound.tune(1e6)
    answered(link, 52_000)
    assert link.outbound.round_trip == pytest.approx(0.05, abs=0.003)


@pytest.mark.parametrize(
    ("under_way", "unsent", "rate", "starves"),
    [
        (2_000_000, 20_000, 25e6, True),
        # The line is what limits it, or the processor, or whoever sends.
        (2_000_000, 1_000_000, 25e6, False),
        (1_000_000, 0, 25e6, False),
        (2_000_000, 0, 5e6, False),
    ],
)
def test_a_session_whose_window_is_too_small_is_recognized(link, under_way, unsent, rate, starves):
    outbound = link.outbound
    outbound.sent = outbound.arrived + under_way
    outbound._pace._carrier.unsent, outbound._pace._carrier.in_flight = unsent, under_way - unsent
    for _tenth in range(20):
        outbound.full = True
        outbound.tune(rate)
    assert outbound.starved is starves
    for _tenth in range(10):
        outbound.full = False
        outbound.tune(rate)
    assert not outbound.starved, "it has room now"
