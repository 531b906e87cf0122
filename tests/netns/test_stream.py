# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream helper on the real kernel: two network namespaces with a tun device each, and a pipe in ssh's place."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .stream_pair import HELPER, SILENCE, Pair, Side, pair_of, until

HELLO = 'OVERSSH-STREAM {"version": "1", "lanes": 1}'

HOLD = """
import fcntl, os, struct, sys, time
device = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x1001))
print("held", flush=True)
time.sleep(600)
"""
FLOOD = """
import socket, sys, time
sending, end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), time.monotonic() + 3
while time.monotonic() < end:
    sending.sendto(bytes(60000), (sys.argv[1], 7000))
"""
SINK = """
import socket, sys, threading
listening = socket.create_server((sys.argv[1], 5001), backlog=16)
print("ready", flush=True)
def take(connection):
    while connection.recv(1 << 20):
        pass
while True:
    threading.Thread(target=take, args=(listening.accept()[0],), daemon=True).start()
"""
PUSH = """
import socket, sys, time
sending, content, sent, end = socket.create_connection((sys.argv[1], 5001)), bytes(1 << 17), 0, time.monotonic() + 8
while time.monotonic() < end:
    sent += sending.send(content)
print(sent)
"""
OFFLOADS = """
import sys
from ansible_collections.overssh.swarm.plugins.module_utils._linux import tun_ioctl
print(tun_ioctl.offloads(sys.argv[1]))
"""


def offloads(side: Side) -> bool:
    """Whether the kernel leaves checksums to whoever reads the side's device."""
    return side.run(sys.executable, "-c", OFFLOADS, side.device).stdout == "True\n"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with pair_of(tmp_path) as made:
        yield made


def memory_mb(process: int) -> float:
    """The most memory that a process has had."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


@pytest.mark.parametrize("mtu", [1280, 1500, 9000, 65000, 65535])
def test_connections_cross_intact_both_ways_at_any_mtu(pair, mtu):
    pair.make_devices(mtu=mtu)
    pair.connect()
    pair.send(24)
    pair.send(24, backwards=True)
    pair.near.run("ping", "-c2", "-M", "do", "-s", str(min(mtu, 65535) - 28), pair.far.address)


def test_ipv6_crosses_as_well(pair):
    pair.make_devices()
    for side, address in ((pair.near, "2001:db8::1/64"), (pair.far, "2001:db8::2/64")):
        side.run("ip", "address", "add", address, "dev", side.device, "nodad")
        side.address = address.partition("/")[0]
    pair.connect()
    pair.send(8)


def test_packets_that_the_kernel_segments_are_large_and_few(pair):
    """With the vnet header a segment crosses uncut, 64 KiB of it, also where the MTU is 1500."""
    pair.make_devices(mtu=1500)
    pair.connect()
    counter = ["cat", f"/sys/class/net/{pair.near.device}/statistics/tx_packets"]
    before = int(pair.near.run(*counter).stdout)
    pair.send(24)
    packets = int(pair.near.run(*counter).stdout) - before
    assert packets < 24 * (1 << 20) / 1448 / 5


def test_two_lanes_carry_and_keep_each_flow_in_order(pair):
    pair.make_devices(lanes=2)
    pair.connect(lanes=2)
    assert len(pair.helpers("dial")) == len(pair.helpers("serve")) == 2
    pair.send(24)
    pair.send(24, backwards=True)
    found = pair.count_in_order(flows=8, each=2000)
    assert len(found) == 8
    # A burst that finds the device's queue full loses packets, as anywhere; those that arrive are in order.
    assert all(count > 200 and in_order for count, in_order in found), found


def test_one_lane_that_ends_ends_all_of_them(pair):
    pair.make_devices(lanes=2)
    dialling = pair.connect(lanes=2)
    os.kill(pair.helpers("serve")[1], signal.SIGKILL)
    assert dialling.status() == 1
    assert "overssh-stream: ended: " in dialling.said
    until(lambda: pair.helpers("dial") == pair.helpers("serve") == [])


def test_a_further_lane_that_cannot_be_opened_is_done_without(pair, tmp_path):
    """As where sshd lets in no more than so many at a time."""
    pair.make_devices(lanes=3)
    command = tmp_path / "ssh"
    serving = " ".join(pair.far.serving(lanes=3))
    # Asked for its configuration, it tells none.
    lets_in = 'test "$1" = -G && exit 1; mkdir "$0.1" 2>/dev/null || mkdir "$0.2" 2>/dev/null || exit 255'
    command.write_text(f"#!/bin/sh\n{lets_in}\nexec {serving}\n")
    command.chmod(0o755)
    dialling = pair.dial(lanes=3, command=[str(command)])
    pair.until_it_crosses(dialling)
    reason = "the session with far ended before its helper answered"
    assert f"a further lane to far can't be opened ({reason}); the link goes on with 2\n" in dialling.said
    assert dialling.said.count("can't be opened") == 1
    assert "connected to far, 2 lanes" in dialling.said
    pair.send(24)


def test_a_helper_that_is_told_to_stop_leaves_the_devices_as_plain_ssh_needs_them(pair):
    pair.make_devices()
    dialling = pair.connect()
    assert offloads(pair.near)
    assert offloads(pair.far)
    dialling.process.terminate()
    assert dialling.status() == 0
    assert dialling.said.splitlines()[0] == "overssh-stream: connected to far, 1 lane"
    carried = r"^overssh-stream: carried [1-9]\d+ bytes there and [1-9]\d+ back; dropped 0 "
    assert re.search(carried, dialling.said, re.M)
    assert "overssh-stream: ended" not in dialling.said
    assert not offloads(pair.near)
    until(lambda: not offloads(pair.far))


def test_a_far_end_that_stands_still_is_given_up_and_taken_over(pair):
    """Its process is stopped, so it answers nothing and holds the device: the next session ends it."""
    pair.make_devices()
    dialling = pair.connect()
    (still,) = pair.helpers("serve")
    os.kill(still, signal.SIGSTOP)
    assert dialling.status() == 1
    assert f"overssh-stream: ended: far has been silent for {SILENCE:g} s" in dialling.said
    pair.connect()
    assert still not in pair.helpers("serve")


def test_a_dialling_end_that_stands_still_is_given_up(pair):
    pair.make_devices()
    dialling = pair.connect()
    os.kill(dialling.process.pid, signal.SIGSTOP)
    until(lambda: pair.helpers("serve") == [])
    os.kill(dialling.process.pid, signal.SIGCONT)
    assert dialling.status() == 1
    assert "overssh-stream (far end): ended: the dialling end has been silent for 2.5 s" in dialling.said
    assert "overssh-stream: ended: the session with far was closed" in dialling.said


def test_a_link_that_is_full_stays_within_its_memory(pair):
    """A far end that takes nothing for a while costs packets, not memory, and goes on where it was."""
    pair.make_devices()
    dialling = pair.dial(silence=60)
    pair.until_it_crosses(dialling)
    (serving,) = pair.helpers("serve")
    os.kill(serving, signal.SIGSTOP)
    pair.near.run(sys.executable, "-c", FLOOD, pair.far.address)
    os.kill(serving, signal.SIGCONT)
    pair.until_it_crosses(dialling)
    pair.send(64)
    pair.send(64, backwards=True)
    assert max(memory_mb(dialling.process.pid), memory_mb(serving)) < 40


def test_a_link_that_is_full_both_ways_stays_up(pair):
    """Several connections each way at once, for longer than the far end may be silent."""
    pair.make_devices()
    dialling = pair.connect()
    ways = [(pair.near, pair.far), (pair.far, pair.near)]
    taking = [target.start(sys.executable, "-c", SINK, target.address) for _source, target in ways]
    for process in taking:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for source, target in ways:
        pair.used += [source.start(sys.executable, "-c", PUSH, target.address) for _connection in range(4)]
    for process in pair.used:
        taken = int(process.communicate(timeout=60)[0])
        assert taken > 10_000_000
    for process in taking:
        process.kill()
        process.communicate()
    assert dialling.runs, dialling.said
    assert pair.crosses()


def test_a_device_that_is_removed_ends_the_link(pair):
    pair.make_devices()
    dialling = pair.connect()
    pair.near.run("ip", "link", "delete", pair.near.device)
    assert dialling.status() == 1
    assert "ended: the device was removed on this host" in dialling.said


def test_a_device_that_is_down_loses_packets_and_not_the_link(pair):
    pair.make_devices()
    dialling = pair.connect()
    pair.far.run("ip", "link", "set", pair.far.device, "down")
    assert not pair.crosses()
    pair.far.run("ip", "link", "set", pair.far.device, "up")
    pair.until_it_crosses(dialling)


def refusal(pair: Pair, **how) -> str:
    """The line with which a link that can't be is refused."""
    dialling = pair.dial(**how)
    assert dialling.status() == 2, dialling.said
    (line,) = [line for line in dialling.said.splitlines() if line.startswith("overssh-stream: refused: ")]
    return line


def test_a_device_that_is_in_use_is_named(pair):
    pair.make_devices()
    holding = pair.near.start(sys.executable, "-c", HOLD, pair.near.device)
    assert holding.stdout is not None
    assert holding.stdout.readline() == "held\n"
    dialling = pair.dial()
    assert dialling.status() == 1
    assert f"ended: the device {pair.near.device} is in use by another process on this host" in dialling.said
    holding.kill()
    holding.communicate()


def test_a_device_that_is_missing_at_the_far_end_is_named_from_there(pair):
    pair.near.make_device()
    assert f"far says: there is no device {pair.far.device} on this host" in refusal(pair)


def test_lanes_that_the_ends_disagree_on_are_named(pair):
    pair.make_devices(lanes=2)
    said = refusal(pair, lanes=2, command=pair.far.serving(lanes=1))
    assert "far says: the dialling end has lanes: 2 and this end lanes: 1" in said


@pytest.mark.parametrize(("made", "asked", "kind"), [(1, 2, "one queue"), (2, 1, "several queues")])
def test_a_device_of_the_wrong_kind_is_named(pair, made, asked, kind):
    pair.near.make_device(lanes=asked)
    pair.far.make_device(lanes=made)
    assert f"far says: the device {pair.far.device} on this host was made for {kind}" in refusal(pair, lanes=asked)


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        (0o666, "far says: the device tun802 on this host can't be opened (Operation not permitted); it has to belong"),
        (0o600, "far says: /dev/net/tun can't be opened on this host (Permission denied); its mode has to be 0666"),
    ],
)
def test_what_an_account_may_not_open_is_named(pair, tmp_path, mode, sentence):
    pair.make_devices()
    node = tmp_path / "tun"
    os.mknod(node, 0o020000 | mode, os.stat("/dev/net/tun").st_rdev)
    node.chmod(mode)
    as_nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all"
    # A namespace of `ip netns exec` has mounts of its own.
    script = f'mount --bind {node} /dev/net/tun && exec {as_nobody} "$@"'
    serving = pair.far.serving()
    assert sentence in refusal(pair, command=[*serving[:4], "sh", "-c", script, "sh", *serving[4:]])


def test_another_version_at_the_far_end_is_named(pair, tmp_path):
    pair.make_devices()
    other = shutil.copytree(HELPER, tmp_path / "stream", ignore=shutil.ignore_patterns("__pycache__"))
    wire = other / "wire.py"
    text = wire.read_text(encoding="utf-8").replace('\nVERSION = "1"\n', '\nVERSION = "0"\n')
    assert text != wire.read_text(encoding="utf-8")
    wire.write_text(text, encoding="utf-8")
    serving = [str(other) if word == str(HELPER) else word for word in pair.far.serving()]
    assert "the helper at the dialling end has version '1' and this one '0'" in refusal(pair, command=serving)


def test_a_banner_before_the_first_frame_is_passed_over(pair):
    pair.make_devices()
    chatty = ["sh", "-c", 'echo "Welcome to far"; exec "$@"', "sh", *pair.far.serving()]
    pair.until_it_crosses(pair.dial(command=chatty))
    pair.send(1)


def test_a_banner_that_no_helper_follows_is_shown(pair):
    pair.make_devices()
    chatty = ["sh", "-c", "echo Welcome to far; exec cat >/dev/null"]
    assert "far printed 'Welcome to far' before the first frame" in refusal(pair, command=chatty)


def test_a_far_end_without_a_helper_is_told_with_its_status(pair):
    pair.make_devices()
    dialling = pair.dial(command=["sh", "-c", "exit 127"])
    assert dialling.status() == 1
    assert "ended: the session with far ended before its helper answered (ssh's exit status 127)" in dialling.said


def test_garbage_in_the_session_ends_it_with_a_line(pair):
    pair.make_devices()
    liar = ["sh", "-c", f"echo '{HELLO}'; head -c 4 >/dev/null; echo this is no frame; exec cat >/dev/null"]
    dialling = pair.dial(command=liar)
    assert dialling.status() == 1
    assert "overssh-stream: ended: far sent 74686973 where a frame begins" in dialling.said
