# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of one link that go by several lanes: their numbers, their order, and who leaves by which lane."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.roles.tunnel.stream_helper import Device, Pipe, load

stream = load()

TARGET, INTERVAL = 0.005, 0.1


def packet(flow: int, number: int, size: int = 100) -> bytes:
    """One of a flow, behind its virtio-net header, with a number in it."""
    header = (
        bytes([0x45, 0]) + size.to_bytes(2, "big") + bytes(5) + bytes([17, 0, 0]) + bytes([10, 0, 0, 1, 10, 0, 0, 2])
    )
    ports = flow.to_bytes(2, "big") + (80).to_bytes(2, "big")
    whole = bytes(10) + header + ports + number.to_bytes(4, "big")
    return whole + bytes(max(0, size - len(whole)))


class Way:
    """A lane as numbers see it: what is on its way, how much has left, and up to where it is known to have arrived."""

    def __init__(self) -> None:
        self.on_its_way: deque[tuple[int, int, bytes, int]] = deque()
        self.sent = self.read = self.arrived = 0


# Each step: which of these is done, by which lane, and for which flow.
STEPS = st.lists(
    st.tuples(st.sampled_from(["send", "send", "read", "learn", "forget"]), st.integers(0, 2), st.integers(1, 3))
)


@given(STEPS)
def test_whichever_lanes_packets_take_each_flow_arrives_in_order_and_whole(steps):
    numbering, arrivals, ways = stream.Numbering(), stream.Arrivals(), [Way(), Way(), Way()]
    sent: dict[int, list[bytes]] = {1: [], 2: [], 3: []}
    got: list[bytes] = []

    def read(way: Way) -> None:
        if way.on_its_way:
            number, distance, content, way.read = way.on_its_way.popleft()
            got.extend(map(bytes, arrivals.take(number, distance, memoryview(content), 0.0)))

    for count, (what, lane, flow) in enumerate(steps):
        way = ways[lane]
        if what == "send":
            content = packet(flow, count)
            way.sent += len(content)
            sent[flow].append(content)
            number, distance = numbering.number(content, way, way.sent)
            way.on_its_way.append((number, distance, content, way.sent))
        elif what == "read":
            read(way)
        elif what == "learn":
            way.arrived = way.read
        else:
            numbering.forget()
    for way in ways:
        while way.on_its_way:
            read(way)
    for flow, packets in sent.items():
        assert [each for each in got if stream.flow_of(each) == stream.flow_of(packet(flow, 0))] == packets
    for way in ways:
        way.arrived = way.read
    numbering.forget()
    assert (numbering._last, arrivals._waiting, arrivals._above) == ({}, {}, set()), "nothing is kept for good"


def test_packets_of_one_lane_wait_for_nothing():
    numbering, way = stream.Numbering(), Way()
    assert [numbering.number(packet(1, count), way, 100 * count)[1] for count in range(5)] == [0] * 5


def test_a_packet_follows_one_by_another_lane_until_that_has_arrived():
    numbering, one, other = stream.Numbering(), Way(), Way()
    assert numbering.number(packet(1, 0), one, 100) == (1, 0)
    assert numbering.number(packet(2, 0), one, 200) == (2, 0)
    assert numbering.number(packet(1, 1), other, 100) == (3, 2)
    assert numbering.number(packet(1, 2), other, 200) == (4, 1), "the one before it may be waiting there"
    other.arrived = 200
    assert numbering.number(packet(1, 3), one, 300) == (5, 1), "it has come, and may be waiting still"
    one.arrived = 300
    assert numbering.number(packet(1, 4), other, 300) == (6, 0)


def taken(arrivals, number: int, distance: int, now: float = 0.0) -> list[bytes]:
    return list(map(bytes, arrivals.take(number, distance, memoryview(b"%d" % number), now)))


def test_a_packet_waits_for_the_one_before_it():
    arrivals = stream.Arrivals()
    assert taken(arrivals, 3, 1) == []
    assert taken(arrivals, 4, 0) == [b"4"], "that of another flow does not"
    assert taken(arrivals, 2, 1) == []
    assert taken(arrivals, 1, 0) == [b"1", b"2", b"3"]


def test_what_is_waited_for_too_long_is_done_without():
    arrivals = stream.Arrivals()
    assert taken(arrivals, 3, 1, now=10.0) == []
    assert taken(arrivals, 5, 1, now=11.0) == []
    assert arrivals.late(12.0, 2.5) == []
    assert list(map(bytes, arrivals.late(12.6, 2.5))) == [b"3", b"5"]
    assert arrivals.late(99.0, 2.5) == []
    assert taken(arrivals, 6, 2) == [b"6"]
    assert taken(arrivals, 2, 0) == [b"2"], "late is better than never"


def test_no_more_waits_than_fits_the_memory(monkeypatch):
    monkeypatch.setattr(stream, "ARRIVALS_MOST", 3)
    arrivals = stream.Arrivals()
    for number in (2, 4, 6):
        assert taken(arrivals, number, 1) == []
    assert taken(arrivals, 8, 1) == [b"2", b"4", b"6", b"8"]


def test_numbers_that_never_come_are_not_remembered_without_end(monkeypatch):
    monkeypatch.setattr(stream, "MISSING_MOST", 100)
    arrivals = stream.Arrivals()
    for number in range(2, 1000):
        assert taken(arrivals, number, 0) == [b"%d" % number]
    assert len(arrivals._above) <= 100


def test_two_packets_that_follow_the_same_one_end_the_session():
    arrivals = stream.Arrivals()
    taken(arrivals, 3, 2)
    with pytest.raises(stream.EndedError, match="two packets that follow the same one"):
        taken(arrivals, 4, 3)


def leaving(waiting, first: bool) -> list[bytes]:
    found = []
    while (each := waiting.take(first, 0.0, TARGET, INTERVAL)) is not None:
        found.append(each)
    return found


def test_with_one_lane_everything_leaves_by_it():
    waiting = stream.Waiting()
    packets = [packet(1 + count % 2, count, 30000) for count in range(20)]
    for each in packets:
        waiting.put(each, 0.0)
    assert waiting.size_for(True) == waiting.size == sum(map(len, packets))
    assert sorted(leaving(waiting, True)) == sorted(packets)


def test_with_several_lanes_what_sends_much_keeps_off_the_first():
    waiting = stream.Waiting()
    waiting.tick(True)
    for count in range(10):
        waiting.put(packet(1, count, 30000), 0.0)
    ping = packet(2, 0)
    assert len(leaving(waiting, True)) == 10, "in the order of its flow, those that came when it had sent little"
    waiting.put(packet(1, 10, 30000), 0.0)
    waiting.put(ping, 0.0)
    assert (waiting.size_for(True), waiting.size_for(False)) == (len(ping), len(ping) + 30000)
    assert leaving(waiting, True) == [ping]
    assert leaving(waiting, False) == [packet(1, 10, 30000)]


def test_other_lanes_take_what_the_first_has_no_room_for():
    waiting = stream.Waiting()
    waiting.tick(True)
    waiting.put(packet(1, 0), 0.0)
    assert leaving(waiting, False) == [packet(1, 0)]


def test_a_flow_that_has_become_quiet_goes_by_the_first_lane_again():
    waiting = stream.Waiting()
    waiting.tick(True)
    waiting.put(packet(1, 0, stream.LITTLE), 0.0)
    assert leaving(waiting, True) == [packet(1, 0, stream.LITTLE)]
    waiting.put(packet(1, 1), 0.0)
    assert leaving(waiting, True) == []
    assert leaving(waiting, False) == [packet(1, 1)]
    for _tenth in range(10):
        waiting.tick(True)
    waiting.put(packet(1, 2), 0.0)
    assert leaving(waiting, True) == [packet(1, 2)]
    for _tenth in range(20):
        waiting.tick(True)
    assert waiting._sent == {}, "and is forgotten"


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "first", "other", "several", "one"]),
        st.integers(1, 3),
        st.integers(40, 60000),
    )
)


@given(MOVES)
def test_a_flow_never_passes_itself_while_it_waits(moves):
    waiting = stream.Waiting()
    put: dict[int, list[bytes]] = {1: [], 2: [], 3: []}
    got: list[bytes | None] = []
    for count, (what, flow, size) in enumerate(moves):
        if what == "put":
            put[flow].append(packet(flow, count, size))
            waiting.put(put[flow][-1], 0.0)
        elif what in ("first", "other"):
            got.append(waiting.take(what == "first", 0.0, TARGET, INTERVAL))
        else:
            waiting.tick(what == "several")
    waiting.tick(False)
    got += leaving(waiting, True)
    for flow, packets in put.items():
        key = stream.flow_of(packet(flow, 0))
        assert [each for each in got if each and stream.flow_of(each) == key] == packets
    assert (waiting.size, waiting.dropped) == (0, 0)


def test_memory_is_bounded_whoever_fills_it():
    waiting = stream.Waiting()
    waiting.tick(True)
    for count in range(200):
        waiting.put(packet(1 + count % 5, count, 60000), 0.0)
        assert waiting.size <= stream.QUEUE_MOST
    assert waiting.dropped > 0


@pytest.fixture
def link():
    """One of two lanes, whose far ends are pipes that nobody reads."""
    device, pipes = Device(), [Pipe() for _end in range(4)]
    ends: list[str] = []
    made = stream.Link(device.descriptor, pipes[0].out, pipes[1].into, "cloud1", 2.5, 65000)
    made.add(pipes[2].out, pipes[3].into, None, lambda: ends.append("second")).begin()
    yield SimpleNamespace(link=made, ends=ends, pipes=pipes)
    device.close()
    for pipe in pipes:
        pipe.close()


@pytest.mark.parametrize("carries_on", [True, False])
def test_lanes_that_have_more_under_way_than_a_slow_line_bears_are_given_up(link, capsys, carries_on):
    first, second = link.link.lanes
    link.link._barrier = None
    second.outbound.sent = 2 << 20
    begun = link.link._spread_at
    for tenth in range(1, 30):
        if carries_on:
            second.outbound.arrived += 100_000
            second.outbound.sent += 100_000
        link.link._spread(begun + tenth / 10)
    assert (second in link.link.lanes) is carries_on
    assert link.ends == ([] if carries_on else ["second"])
    assert (bytes([stream.CUT, 0, 0, 0]) in first.outbound._control) is not carries_on
    said = "the line to cloud1 has become much slower; the link goes on with 1 lane"
    assert (said in capsys.readouterr().err) is not carries_on


def test_what_the_far_end_has_cut_is_given_up_here(link):
    link.link.lanes[0].inbound.messages.add(stream.CUT)
    link.link._see_to(link.link._spread_at + 1, 0.5, lambda: None)
    assert (len(link.link.lanes), link.ends) == (1, ["second"])


def test_a_lane_that_falls_silent_is_done_without_and_the_first_is_waited_for_longer(link, capsys):
    first, second = link.link.lanes
    now = first.heard
    second.heard = now + 5
    link.link._see_to(now + 7, 0.5, lambda: None)
    assert link.link.lanes == [first, second], "somebody is there"
    first.heard = now + 9
    link.link._see_to(now + 9, 0.5, lambda: None)
    assert link.link.lanes == [first]
    assert "a lane to cloud1 has ended (cloud1 has been silent for 2.5 s); the link goes on with 1" in (
        capsys.readouterr().err
    )
    with pytest.raises(stream.EndedError, match=r"cloud1 has been silent for 2\.5 s"):
        link.link._see_to(now + 12, 0.5, lambda: None)


class Lane:
    """One of which only this is asked."""

    def __init__(self) -> None:
        self.inbound = SimpleNamespace(left=False, came_anew=lambda _kind: False)

    def begin(self) -> None:
        """Nothing leaves."""


class Link:
    def __init__(self) -> None:
        self.lanes, self.starved, self.first_carrier = [Lane()], False, None
        self.carried, self.round_trip = (0, 0), 0.1

    def add(self, *_session: object) -> Lane:
        self.lanes.append(Lane())
        return self.lanes[-1]

    def forget(self, descriptor: int) -> None:
        """Nothing is polled."""


def test_a_fixed_number_that_is_too_small_is_told_of_once(capsys):
    link, growth = SimpleNamespace(starved=False, round_trip=0.1, who="cloud1"), stream.Growth()
    growth.see_to(link, 1.0)
    assert capsys.readouterr().err == ""
    link.starved = True
    for now in (2.0, 3.0):
        growth.see_to(link, now)
    (said,) = capsys.readouterr().err.splitlines()
    assert "a lane to cloud1 carries 168 Mbit/s at most" in said


def test_after_a_failure_a_lane_is_tried_again_ever_later(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(stream.time, "monotonic", lambda: now[0])
    opener = stream.Opener(lambda _number: session(), lambda _session: None, "cloud1")
    link = Link()
    link.starved = True
    tries = []
    while now[0] < 20000:
        now[0] += 1
        opener.see_to(link, now[0])
        if opener.descriptor is not None:
            tries.append(now[0])
            opener.turn(link)
    waits = [round(later - earlier) for earlier, later in zip(tries, tries[1:], strict=False)]
    assert waits[:6] == [60, 120, 240, 480, 960, 1920]
    assert max(waits) <= stream.RETRY_LONGEST + 1
    assert capsys.readouterr().err.count("can't be opened") == 1


def test_lanes_beyond_a_few_open_one_by_one(monkeypatch):
    """As a firewall may let in but a few connections in a while, and an administrator needs one, too."""
    now = [1000.0]
    monkeypatch.setattr(stream.time, "monotonic", lambda: now[0])
    link, pipes = Link(), []

    def begin(_number: int) -> SimpleNamespace:
        pipes.append(Pipe())
        stream.say_hello(pipes[-1].into, lanes="auto")
        return SimpleNamespace(source=pipes[-1].out, sink=pipes[-1].into)

    opener = stream.Opener(begin, lambda _session: None, "cloud1")
    link.starved = True
    opened = []
    while now[0] < 1200:
        now[0] += 0.1
        link.carried = (link.carried[0] + 10_000_000, 0)
        opener.see_to(link, now[0])
        if opener.descriptor is not None:
            opened.append(now[0])
            opener.turn(link)
    for pipe in pipes:
        pipe.close()
    assert len(link.lanes) == stream.LANES_MOST
    waits = [later - earlier for earlier, later in zip(opened, opened[1:], strict=False)]
    assert waits[0] < 1
    assert min(waits[1:]) >= 10
    assert max(waits[1:]) < 11


def test_a_host_that_can_start_no_more_keeps_the_link(capsys):
    def begin(_number: int) -> None:
        raise stream.RefusedError("ssh can't be started (Resource temporarily unavailable)")

    opener, link = stream.Opener(begin, lambda _session: None, "cloud1"), Link()
    link.starved = True
    opener.see_to(link, 1.0)
    assert opener.descriptor is None
    said = "a further lane to cloud1 can't be opened (ssh can't be started (Resource temporarily unavailable)); "
    assert f"{said}the link goes on with 1\n" in capsys.readouterr().err


def test_a_far_end_that_says_nothing_is_not_waited_for_without_end(capsys):
    far = Pipe()
    opener = stream.Opener(
        lambda _number: SimpleNamespace(source=far.out, sink=far.into), lambda _session: None, "cloud1"
    )
    link = Link()
    link.starved = True
    opener.see_to(link, 1.0)
    assert opener.descriptor == far.out
    opener.see_to(link, 1.0 + stream.HELLO_SECONDS)
    assert "can't be opened" not in capsys.readouterr().err
    opener.see_to(link, 1.1 + stream.HELLO_SECONDS)
    assert opener.descriptor is None
    assert "can't be opened (nothing was said for 60 s); the link goes on with 1" in capsys.readouterr().err


def session() -> SimpleNamespace:
    """One whose ssh has ended already."""
    source, into = stream.os.pipe()
    stream.os.close(into)
    return SimpleNamespace(source=source, sink=stream.os.dup(source))
