# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream helper: frames, queue, first words. A socket that keeps messages apart stands for the device."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from graphlib import TopologicalSorter
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.roles.tunnel.stream_helper import (
    BEAT,
    HELPER,
    MAIN,
    QUESTION,
    ROOMS,
    UNASKED,
    Device,
    Pipe,
    frame,
    load,
    packets_in,
    reference,
)

stream = load()


@pytest.fixture
def device():
    made = Device()
    yield made
    made.close()


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close()


def feed(pieces: list[bytes]) -> tuple[list[bytes], str]:
    """What the helper makes of bytes that arrive in these pieces, after which the session is closed."""
    device, pipe = Device(), Pipe()
    outbound = stream.Outbound(device.descriptor, pipe.into, 65536)
    inbound = stream.Inbound(pipe.out, device.descriptor, outbound, "cloud1")
    packets: list[bytes] = []
    try:
        for piece in pieces:
            rest = piece
            while rest:
                rest = rest[os.write(pipe.into, rest[: 1 << 15]) :]
                inbound.turn()
                packets += device.given()
        os.close(pipe.into)
        while True:
            inbound.turn()
            packets += device.given()
    except stream.ClosedError as reason:
        return packets, "inside" if "inside a frame" in str(reason) else "well"
    except stream.EndedError as reason:
        assert re.match("cloud1 sent |the far end a", str(reason))
        return packets + device.given(), "wrong"
    finally:
        device.close()
        pipe.close()


lengths = st.one_of(st.integers(11, 100), st.sampled_from([1510, 9010, 65545, 65544]))
frames = st.one_of(
    lengths.flatmap(lambda length: st.binary(min_size=1, max_size=8).map(lambda b: frame((b * length)[:length]))),
    st.just(BEAT),
    st.just(QUESTION),
)
garbage = st.one_of(
    st.binary(min_size=1, max_size=64),
    st.just((0x50000000 | 65546).to_bytes(4, "big") + bytes(70000)),  # one byte more than there can be
    st.just(frame(bytes(10))),  # a header without a packet
    st.just(b"\x42\x00\x00\x01x"),  # a beat that carries something
    st.just(UNASKED),
    st.just(QUESTION[:4] + b"\xff" * 8),
    lengths.map(lambda length: frame(bytes(length))[:-1]),
)


@given(st.lists(frames, max_size=12), st.lists(st.integers(1, 70000), max_size=12))
def test_whatever_the_pieces_every_packet_arrives_whole_and_in_order(parts, cuts):
    data = b"".join(parts)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(data[at : at + cut])
        at += cut
    pieces.append(data[at:])
    assert feed(pieces) == reference(data)
    assert reference(data) == ([part[4:] for part in parts if part not in (BEAT, QUESTION)], "well")


@given(st.lists(st.one_of(frames, garbage), max_size=8))
def test_garbage_ends_the_session_and_delivers_nothing_that_was_no_frame(parts):
    data = b"".join(parts)
    assert feed([data]) == reference(data)


def test_a_session_that_ends_inside_a_frame_says_so():
    assert feed([frame(bytes(100))[:50]]) == ([], "inside")
    assert feed([frame(bytes(100))]) == ([bytes(100)], "well")


def test_a_packet_that_the_device_refuses_costs_that_packet_only(pipe):
    down = os.open("/dev/full", os.O_RDWR)
    inbound = stream.Inbound(pipe.out, down, stream.Outbound(down, pipe.into, 65536), "cloud1")
    os.write(pipe.into, frame(bytes(40)) + frame(bytes(50)))
    assert inbound.turn()
    assert inbound.unfit == 2
    os.close(down)


def outbound_of(device: Device, pipe: Pipe, least: int = 128 * 1024):
    return stream.Outbound(device.descriptor, pipe.into, least)


def answered(outbound, data: bytes, delay: int = 1000) -> None:
    """Answer every question in what was written, as a far end does to which it took so many microseconds."""
    for _question in range(min(data.count(QUESTION[:4]), len(outbound._asked))):
        outbound.learn(delay)


def drain(outbound, pipe: Pipe) -> bytes:
    """All that is left, from a session that takes it and answers."""
    taken = b""
    while outbound.blocked:
        got = pipe.read()
        taken += got
        answered(outbound, got)
        outbound.full = False
        outbound.flush()
    return taken + pipe.read()


def test_packets_leave_in_batches_and_in_order(device, pipe):
    outbound = outbound_of(device, pipe)
    sent = [bytes([number]) * (20 + number) for number in range(100)]
    for packet in sent:
        device.kernel.send(packet)
    outbound.gather()
    outbound.flush()
    assert not outbound.blocked
    assert packets_in(pipe.read()) == sent


def test_a_session_that_takes_nothing_costs_large_packets_first_and_bounded_memory(device, pipe):
    outbound = outbound_of(device, pipe)
    large, small = bytes(60000), bytes(200)
    for _turn in range(200):
        device.kernel.send(large)
        outbound.gather()
        outbound.flush()
    assert outbound.blocked
    assert outbound.dropped > 150
    dropped = outbound.dropped
    for _turn in range(50):
        device.kernel.send(small)
        outbound.gather()
    assert outbound.dropped == dropped, "small packets still find room"
    for _turn in range(5000):
        device.kernel.send(small)
        outbound.gather()
    assert outbound.dropped > dropped, "but not without end"
    taken = drain(outbound, pipe)
    packets = packets_in(taken)
    assert [len(packet) for packet in packets] == sorted((len(packet) for packet in packets), reverse=True)
    assert packets.count(large) + packets.count(small) == len(packets) == 5250 - outbound.dropped
    assert len(taken) < 600_000


@given(st.lists(st.tuples(st.integers(11, 60000), st.integers(0, 200_000)), max_size=40))
def test_whatever_the_session_takes_packets_stay_whole_and_in_order(steps):
    device, pipe = Device(), Pipe()
    outbound = outbound_of(device, pipe)
    taken = b""
    for number, (length, takes) in enumerate(steps):
        device.kernel.send(number.to_bytes(11, "big") + bytes(length - 11))
        outbound.gather()
        if not outbound.blocked:
            outbound.flush()
        if takes:
            with contextlib.suppress(BlockingIOError):
                taken += os.read(pipe.out, takes)
            outbound.full = False
            outbound.flush()
    taken += drain(outbound, pipe)
    device.close()
    pipe.close()
    numbers = [int.from_bytes(packet[:11], "big") for packet in packets_in(taken)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + outbound.dropped == len(steps)
    lengths_of = {number: length for number, (length, _takes) in enumerate(steps)}
    assert [len(packet) for packet in packets_in(taken)] == [lengths_of[number] for number in numbers]


def test_the_queue_and_the_pipe_follow_the_rate_within_bounds(device, pipe):
    outbound = outbound_of(device, pipe, least=40_000)
    sizes = []
    for rate in (0, 50e6, 500e6, 5e9):
        outbound.tune(rate)
        sizes.append((outbound._limit, outbound._pipe))
    assert sizes == [(40_000, 65536), (100_000, 65536), (1_000_000, 262144), (2097152, 1048576)]
    for _turn in range(60):
        outbound.tune(0)
    assert (outbound._limit, outbound._pipe) == (40_000, 65536)


def test_an_end_that_has_nothing_to_say_says_that_it_is_alive(device, pipe):
    outbound = outbound_of(device, pipe)
    outbound.beat()
    outbound.flush()
    assert pipe.read() == BEAT


def test_questions_leave_with_the_time_at_which_they_leave(device, pipe):
    outbound = outbound_of(device, pipe)
    before = time.monotonic_ns() // 1000
    data = push(device, outbound, pipe, 5)
    assert data[:-8] == frame(bytes(60000)) * 5 + QUESTION[:4]
    assert before <= int.from_bytes(data[-8:], "big") <= time.monotonic_ns() // 1000
    assert packets_in(data) == [bytes(60000)] * 5


def push(device: Device, outbound, pipe: Pipe, packets: int) -> bytes:
    """Offer packets of 60000 bytes to a session that takes everything; what left."""
    data = b""
    for _packet in range(packets):
        device.kernel.send(bytes(60000))
        outbound.gather()
        outbound.flush()
        while outbound.full:
            data += pipe.read()
            outbound.full = False
            outbound.flush()
    return data + pipe.read()


def test_the_window_holds_back_what_makes_others_wait(device, pipe):
    """Questions that take longer and longer shrink the window, until the packets under way are few."""
    outbound = outbound_of(device, pipe)
    answered(outbound, push(device, outbound, pipe, 5), 5_000)
    for _turn in range(40):
        answered(outbound, push(device, outbound, pipe, 8), 505_000)
        if outbound._window.size == 131072:
            break
    assert outbound._window.size == 131072, "the least that it may be"
    data = push(device, outbound, pipe, 40)
    assert outbound.blocked
    assert not outbound.full
    assert outbound.sent - outbound.arrived <= 131072 + 60004 * 2
    answered(outbound, data, 5_000)
    outbound.flush()
    assert pipe.read() != b"", "an answer lets the next ones go"


def test_answers_and_beats_pass_a_closed_window(device, pipe):
    """If both ends of a full link waited for answers that wait themselves, nothing would ever move again."""
    outbound = outbound_of(device, pipe)
    push(device, outbound, pipe, 60)
    assert outbound.blocked
    assert not outbound.full
    outbound.beat()
    outbound.flush()
    assert pipe.read() == BEAT
    outbound.answer(1)
    outbound.beat()
    outbound.flush()
    data = pipe.read()
    assert (data[:4], data[12:]) == (UNASKED[:4], b""), "an answer says that this end is alive"


def test_answers_leave_with_the_packets(device, pipe):
    outbound = outbound_of(device, pipe)
    device.kernel.send(bytes(60000))
    outbound.answer(1)
    outbound.gather()
    outbound.flush()
    data = pipe.read()
    assert data[:60004] == frame(bytes(60000))
    assert data[60004:60008] == UNASKED[:4]
    assert len(data) == 60016


def test_an_empty_path_opens_the_window_to_its_most(device, pipe):
    outbound = outbound_of(device, pipe)
    for _turn in range(60):
        answered(outbound, push(device, outbound, pipe, 300), 5_000)
        if outbound._window.size == 16 << 20:
            break
    assert outbound._window.size == 16 << 20


def path(window, start: float, round_trip: float, rate: float, seconds: float = 120) -> tuple[float, float]:
    """A path of this round trip and rate that is kept full: the mean queue in seconds and rate over its second half."""
    now, queues, rates = start, [], []
    offset = -1e9  # the clocks differ
    while now < start + seconds:
        under_way = window.size
        queue = max(0.0, under_way / rate - round_trip)
        took = round_trip + queue
        now += took
        window.learn(offset + (round_trip / 2 + queue) * 1e6, took * 1e6, under_way, not under_way, True, now)
        if now > start + seconds / 2:
            queues.append(queue)
            rates.append(min(rate, under_way / took))
    return sum(queues) / len(queues), sum(rates) / len(rates)


@pytest.mark.parametrize("rate", [2.5e6, 12.5e6, 125e6])
@pytest.mark.parametrize("round_trip", [0.001, 0.02, 0.1])
def test_a_full_path_is_filled_and_its_queue_stays_short(round_trip, rate):
    queue, reached = path(stream.Window(131072), 0, round_trip, rate)
    assert reached > 0.85 * rate
    assert queue < max(0.02, round_trip * 0.3) + 131072 / rate


def test_a_path_that_becomes_longer_is_not_taken_for_a_full_one_for_long():
    window = stream.Window(131072)
    path(window, 0, 0.02, 12.5e6)
    queue, reached = path(window, 120, 0.12, 12.5e6)
    assert reached > 0.8 * 12.5e6
    assert queue < 0.05


def follow(window, start: float, round_trip: float, rate: float, seconds: float) -> list[tuple[float, float, float]]:
    """The same with several questions in a window: per answer when it came, its queue, and the rate."""
    now, found = start, []
    while now < start + seconds:
        under_way = window.size
        queue = max(0.0, under_way / rate - round_trip)
        now += (round_trip + queue) / 4
        delay, took = (round_trip / 2 + queue) * 1e6, (round_trip + queue) * 1e6
        window.learn(delay, took, under_way, not under_way, True, now)
        found.append((now - start, queue, under_way / (round_trip + queue)))
    return found


@pytest.mark.parametrize("before", [(0.05, 12.5e6), (0.1, 125e6), (0.15, 125e6)])
def test_a_path_that_changes_is_followed_within_two_seconds(before: tuple[float, float]) -> None:
    window = stream.Window(131072)
    follow(window, 0, before[0], before[1], 30)
    later = [(queue, reached) for at, queue, reached in follow(window, 30, 0.1, 12.5e6, 4) if at > 2]
    reached = sum(min(12.5e6, each) for _queue, each in later) / len(later)
    assert reached > 0.8 * 12.5e6
    assert later[-1][0] < 0.05, "what was under way has arrived"


def test_what_waits_for_a_lost_packet_is_no_queue_where_tcp_is_asked():
    """Every second question waits for a retransmission, which takes a round trip more; TCP's own way stays as short."""
    window = stream.Window(131072)
    now, round_trip, rate = 0.0, 0.05, 12.5e6
    for number in range(2000):
        now += round_trip / 4
        lost = round_trip * (number % 2)
        under_way = min(window.size, int(2 * rate * round_trip))
        delay, took = (round_trip / 2 + lost) * 1e6, (round_trip + lost) * 1e6
        window.learn(delay, took, under_way, False, under_way == window.size, now, round_trip * 1e6)
    assert window.size >= 2 * rate * round_trip, "as much as is under way while it waits"


def test_with_the_least_window_and_a_long_delay_the_path_is_left_empty_to_see_its_length():
    window = stream.Window(131072)
    window.learn(5_000, 10_000, window.size, False, True, 0.0)
    now = 0.0
    while window.size and now < 10:
        now += 0.5
        window.learn(505_000, 510_000, window.size, False, True, now)
    assert window.size == 0, "nothing leaves until all has arrived"
    window.learn(505_000, 510_000, 131072, True, True, now + 0.5)
    assert window.size == 131072
    window.learn(505_000, 510_000, 131072, True, True, now + 1)
    grown = [window.size]
    for number in range(8):
        window.learn(505_000, 510_000, window.size, False, True, now + 2 + number)
        grown.append(window.size)
    assert grown[-1] > 1 << 20, "the path has become longer, and is no queue"


@pytest.fixture
def connection():
    """Both ends of a TCP connection on this host."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _address = server.accept()
    with near, far:
        yield near, far


def ssh_connection(far: socket.socket) -> str:
    """What sshd tells a process that it starts: the client's end and its own."""
    return " ".join(str(word) for end in (far.getpeername(), far.getsockname()) for word in end)


def test_the_kernel_tells_of_the_connection_below(connection):
    near, far = connection
    carrier = stream.carrier_here(ssh_connection(far))
    for _turn in range(20):
        far.sendall(b"x" * 1000)
        near.recv(1000)
    seen = carrier.look()
    assert 0 < seen.least <= 1_000_000
    assert 0 < seen.round_trip <= 1_000_000
    assert (seen.in_flight, seen.unsent) == (0, 0)
    assert seen.rate > 0
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            far.send(bytes(65536))
    assert carrier.look().unsent > 0
    near.close()
    far.close()
    assert wait(lambda: carrier.look() is None)


@pytest.mark.parametrize("words", ["", "10.0.0.1 22", "somewhere 1 here 2", "10.0.0.1 x 10.0.0.2 y"])
def test_where_sshd_tells_no_connection_there_is_none_to_ask(words):
    assert stream.carrier_here(words) is None


def said(tmp_path: Path, *lines: str) -> list[str]:
    """A command that says this with -G, as ssh says what it would do."""
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\ntest $1 = -G || exit 1\nprintf '%s\\n' " + " ".join(f"'{line}'" for line in lines))
    program.chmod(0o755)
    return [str(program), "-T", "hub"]


def test_the_one_connection_that_is_new_is_that_of_the_ssh_just_started(connection, tmp_path):
    before = stream.identities()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = said(tmp_path, "user overssh", "hostname 127.0.0.1", f"port {port}")
        assert stream.carrier_of(command, before) is None, "there is no new one yet"
        with socket.create_connection(("127.0.0.1", port)):
            carrier = stream.carrier_of(command, before)
            assert carrier.look() is not None
            assert stream.carrier_of(said(tmp_path, "hostname 127.0.0.2", f"port {port}"), before) is None
            for way in ("proxyjump bastion", "proxycommand nc hub 22"):
                jumping = said(tmp_path, "hostname 127.0.0.1", f"port {port}", way)
                assert stream.carrier_of(jumping, before) is None, "ssh goes through something else"
            seen = stream.identities()
            assert stream.carrier_beside(carrier, seen) is None, "there is no further one yet"
            with socket.create_connection(("127.0.0.1", port)):
                beside = stream.carrier_beside(carrier, seen)
                assert (beside.far, beside.look() is not None) == (carrier.far, True)
                assert stream.carrier_beside(None, seen) is None
                command = said(tmp_path, "hostname 127.0.0.1", f"port {port}", "proxycommand none")
                assert stream.carrier_of(command, before) is None, "which of the two it is can't be told"


@pytest.mark.parametrize("command", [["/bin/false"], ["/nonexistent"], ["/bin/echo", "hostname"]])
def test_a_command_that_is_no_ssh_has_no_connection_to_ask(command):
    assert stream.carrier_of(command, set()) is None


def test_an_answer_to_no_question_ends_the_session(device, pipe):
    with pytest.raises(stream.EndedError, match="answers what it was not asked"):
        outbound_of(device, pipe).learn(1)


def test_a_far_end_that_only_asks_ends_the_session(device, pipe):
    outbound = outbound_of(device, pipe)
    with pytest.raises(stream.EndedError, match="asks what can't be answered"):
        for _question in range(10_000_000):
            outbound.answer(1)


class Ends:
    """Two links joined by a socket, as ssh joins them, each in a thread."""

    def __init__(self, silence: float = 5.0) -> None:
        self.devices = [Device(), Device()]
        self.sockets = list(socket.socketpair())
        self.reasons: dict[int, BaseException] = {}
        self.links = [
            stream.Link(device.descriptor, end.fileno(), os.dup(end.fileno()), f"end{1 - number}", silence, 1500)
            for number, (device, end) in enumerate(zip(self.devices, self.sockets, strict=True))
        ]
        self.beats = [0, 0]
        self.threads: list[threading.Thread] = []

    def start(self, number: int) -> None:
        thread = threading.Thread(target=self._run, args=(number,), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _run(self, number: int) -> None:
        def beat() -> None:
            self.beats[number] += 1

        try:
            self.links[number].run(beat)
        except stream.EndedError as reason:
            self.reasons[number] = reason
            self.sockets[number].shutdown(socket.SHUT_RDWR)

    def crosses(self, packet: bytes, source: int) -> bool:
        self.devices[source].kernel.send(packet)
        return wait(lambda: packet in self.devices[1 - source].given())

    def finish(self) -> None:
        for end in self.sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
        for device in self.devices:
            device.close()
        for end in self.sockets:
            end.close()


def wait(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False


@pytest.fixture
def ends():
    made: list[Ends] = []

    def make(silence: float = 5.0) -> Ends:
        made.append(Ends(silence))
        return made[0]

    yield make
    for each in made:
        each.finish()


def test_packets_cross_both_ways_and_idle_ends_stay_connected(ends):
    link = ends(silence=0.5)
    link.start(0)
    link.start(1)
    assert link.crosses(b"there, a packet", 0)
    assert link.crosses(b"and one back", 1)
    assert wait(lambda: min(link.beats) > 12), "that is well over twice the silence that is allowed"
    assert link.reasons == {}
    assert link.crosses(b"there, another", 0)


def test_an_end_that_falls_silent_is_given_up(ends):
    link = ends(silence=0.4)
    link.start(0)
    begun = time.monotonic()
    assert wait(lambda: 0 in link.reasons)
    assert str(link.reasons[0]) == "end1 has been silent for 0.4 s"
    assert time.monotonic() - begun >= 0.4


def test_a_session_that_is_closed_is_said_to_be(ends):
    link = ends()
    link.start(0)
    link.sockets[1].shutdown(socket.SHUT_RDWR)
    assert wait(lambda: 0 in link.reasons)
    assert str(link.reasons[0]).startswith("the session with end1 was closed")


def hello_of(data: bytes, close: bool = True, seconds: float = 5.0, passing: float = 0.0):
    pipe = Pipe()
    os.write(pipe.into, data)
    if close:
        os.close(pipe.into)
    try:
        return stream.hear_hello(pipe.out, "cloud1", seconds, passing)
    finally:
        pipe.close()


def test_a_hello_is_heard_as_it_was_said(pipe):
    stream.say_hello(pipe.into, lanes=2, lane=0, silence=2.5)
    assert stream.hear_hello(pipe.out, "cloud1", 5) == {
        "version": stream.VERSION,
        "lanes": 2,
        "lane": 0,
        "silence": 2.5,
    }


@pytest.mark.parametrize(
    "printed",
    [
        b"Welcome to Debian!\nOVERSSH-STREAM {}\n",
        b"Welcome to Debian!",
        b"OVERSSH but something else\n",
        b"OVERSSH-STREAM no facts\n",
        b"OVERSSH-STREAM []\n",
        b"\xff\xfe\x00\n",
        b"OVERSSH-STREAM " + b"x" * 5000,
    ],
)
def test_whatever_is_printed_before_the_hello_is_shown(printed):
    with pytest.raises(stream.RefusedError, match=r"cloud1 printed .* before the first frame; a startup file"):
        hello_of(printed)


def test_a_banner_is_named_by_its_first_line():
    with pytest.raises(stream.RefusedError, match="cloud1 printed 'Welcome to Debian!' before"):
        hello_of(b"Welcome to Debian!\nIt is sunny.\n")


@pytest.mark.parametrize(
    "printed",
    [
        b"Welcome to Debian!\n",
        b"Welcome to Debian!",
        b"OVERSSH-STREAM-ish\n\xff",
        b"OVERSSH-",
        b"a line\n" * 3000,
    ],
)
def test_what_a_login_prints_is_passed_over_where_a_hello_follows(printed):
    pipe = Pipe()

    def write():
        for start in range(0, len(printed), 1000):
            os.write(pipe.into, printed[start : start + 1000])
        stream.say_hello(pipe.into, lanes=1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert stream.hear_hello(pipe.out, "cloud1", 5, 5)["lanes"] == 1
    finally:
        writer.join()
        pipe.close()


@pytest.mark.parametrize("close", [True, False])
def test_what_a_login_prints_is_told_where_no_hello_follows(close):
    with pytest.raises(stream.RefusedError, match="cloud1 printed 'Welcome to Debian!' before the first frame"):
        hello_of(b"Welcome to Debian!\nIt is sunny.\nOVERSSH-", close, seconds=60, passing=0.1)


def test_an_end_without_a_helper_answers_nothing():
    with pytest.raises(stream.ClosedError, match="the session with cloud1 ended before its helper answered"):
        hello_of(b"")


def test_an_end_that_says_nothing_is_not_waited_for_without_end():
    with pytest.raises(stream.EndedError, match=r"cloud1 has said nothing for 0\.1 s"):
        hello_of(b"OVERSSH-", close=False, seconds=0.1)


def test_both_ends_need_the_same_version_and_lanes():
    stream.check_hello({"version": stream.VERSION, "lanes": 2}, 2, "cloud1")
    with pytest.raises(stream.RefusedError, match="helper at cloud1 has version '0' and this one"):
        stream.check_hello({"version": "0", "lanes": 2}, 2, "cloud1")
    with pytest.raises(stream.RefusedError, match="cloud1 has lanes: 1 and this end lanes: 2"):
        stream.check_hello({"version": stream.VERSION, "lanes": 1}, 2, "cloud1")


def test_a_device_that_is_not_there_is_not_made():
    with pytest.raises(stream.RefusedError, match="there is no device tun4711 on this host"):
        stream.open_device("tun4711", 1)


def test_it_can_be_read_by_a_python_that_is_too_old_and_says_so_there(monkeypatch, capsys):
    for path in (MAIN, HELPER / "words.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 6))
    old = load()
    monkeypatch.setattr(old, "sys", SimpleNamespace(**{**vars(sys), "version_info": (3, 6, 8), "argv": ["stream"]}))
    assert old.main() == 2
    assert "overssh-stream: refused: it takes Python 3.9 or later" in capsys.readouterr().err


def test_before_it_can_say_what_it_needs_it_reads_nothing_else_of_its_own():
    assert imports_of(MAIN) & {path.stem for path in ROOMS} == {"words"}
    assert imports_of(HELPER / "words.py") <= sys.stdlib_module_names


def imports_of(path: Path) -> set[str]:
    """The modules that a room takes as soon as it is read."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(str(node.module))
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
    return {name.partition(".")[0] for name in found}


def test_rooms_need_the_standard_library_and_each_other_one_way_only():
    names = {path.stem for path in ROOMS}
    assert not names & sys.stdlib_module_names, "whoever asks for that part of the library would get the room"
    graph = {path.stem: imports_of(path) - sys.stdlib_module_names for path in ROOMS}
    assert set().union(*graph.values()) <= names
    assert set(TopologicalSorter(graph).static_order()) == names


@pytest.mark.parametrize("path", [MAIN, *ROOMS], ids=lambda path: path.stem)
def test_annotations_are_not_looked_at_when_it_is_read(path):
    """`int | None` would end Python 3.9, and `list[int]` an older one before it could say what it needs."""
    if "__future__" in imports_of(path):
        return
    assert path.stem in ("__main__", "words")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        annotations = []
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            annotations = [node.returns, *(argument.annotation for argument in node.args.args)]
        for annotation in filter(None, annotations):
            assert isinstance(annotation, (ast.Name, ast.Constant, ast.Attribute)), ast.unparse(annotation)


def helper(*words: str, **options) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", "-B", str(HELPER), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, **options)


def test_it_says_its_version():
    done = helper("version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{stream.VERSION}\n", "")


def test_run_as_links_run_it_leaves_no_bytecode(tmp_path):
    shutil.copytree(HELPER, tmp_path / "stream", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-I", "-B", str(tmp_path / "stream"), "version"], check=True, capture_output=True)
    assert sorted((tmp_path / "stream").iterdir()) == sorted(tmp_path / "stream" / path.name for path in [MAIN, *ROOMS])


def test_a_dialling_end_without_its_device_says_so():
    done = helper("dial", "--device", "tun4711", "--peer", "cloud1", "--", "true")
    assert done.returncode == 2
    assert done.stderr == "overssh-stream: refused: there is no device tun4711 on this host\n"


def test_a_serving_end_says_what_is_wrong_to_the_dialling_end():
    hello = f'OVERSSH-STREAM {{"version": "{stream.VERSION}", "lanes": 1, "lane": 0, "silence": 2.5}}\n'
    done = helper("serve", "--device", "tun4711", input=hello)
    assert done.returncode == 2
    assert '"refused": "there is no device tun4711 on this host"' in done.stdout
    assert done.stderr.startswith("overssh-stream (far end): refused: there is no device tun4711")


@pytest.mark.parametrize("silence", ['"x"', "0", "-1", "1e9", "null"])
def test_a_serving_end_trusts_no_figure(silence):
    hello = f'OVERSSH-STREAM {{"version": "{stream.VERSION}", "lanes": 1, "lane": 0, "silence": {silence}}}\n'
    done = helper("serve", "--device", "lo", input=hello)
    assert done.returncode == 2
    assert "makes no sense" in done.stdout
