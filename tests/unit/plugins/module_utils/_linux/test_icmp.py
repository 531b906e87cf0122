# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packets answer an echo."""

from __future__ import annotations

import os
import struct

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._linux.icmp import (
    answer_to,
    checksum,
    echo,
    ping,
    replied_to,
    volley,
)


def ipv4(payload: bytes, protocol: int = 1, options: bytes = b"") -> bytes:
    header = bytes([0x45 + len(options) // 4, 0]) + struct.pack("!HHHBBH4s4s", 0, 0, 0, 64, protocol, 0, b"", b"")
    return header + options + payload


REPLY = ipv4(struct.pack("!BBHHH", 0, 0, 0, 7, 8))
PROHIBITED = ipv4(struct.pack("!BBHHH", 3, 13, 0, 0, 0) + ipv4(echo(7, 8)))


def test_the_checksum_of_a_packet_with_its_checksum_is_zero() -> None:
    assert checksum(echo(0x1234, 1)) == 0
    assert checksum(b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7") == 0x220D  # RFC 1071's example


def test_a_reply_to_this_echo_and_to_no_other() -> None:
    assert answer_to(REPLY, 7, 8) == 0
    assert answer_to(REPLY, 7, 9) is None
    assert answer_to(ipv4(REPLY[20:], options=b"\x94\x04\0\0"), 7, 8) == 0


def test_an_error_about_this_echo_and_about_no_other() -> None:
    assert answer_to(PROHIBITED, 7, 8) == 3
    assert answer_to(PROHIBITED, 6, 8) is None


@pytest.mark.parametrize(
    "packet",
    [b"", REPLY[:24], ipv4(echo(7, 8)), ipv4(REPLY[20:], protocol=17), PROHIBITED[:40], b"\x60" + REPLY[1:]],
)
def test_anything_else_is_no_answer(packet: bytes) -> None:
    assert answer_to(packet, 7, 8) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets are root's")
def test_the_loopback_answers_and_a_missing_device_does_not() -> None:
    answer = ping("127.0.0.1", "lo", 1.0)
    assert answer is not None
    assert answer.reply
    assert ping("127.0.0.1", "tun4040404", 0.1) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets are root's")
def test_a_packet_as_large_as_the_device_takes_crosses_it() -> None:
    answer = ping("127.0.0.1", "lo", 5.0, 65000)
    assert answer is not None
    assert answer.reply


def test_a_reply_has_the_number_of_its_echo() -> None:
    assert replied_to(REPLY, 7) == 8
    assert replied_to(REPLY, 6) is None
    assert replied_to(PROHIBITED, 7) is None
    assert replied_to(b"", 7) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets are root's")
def test_packets_go_on_coming_until_they_are_enough() -> None:
    times = volley("127.0.0.1", "lo", 65000, 10, 30.0, lambda times: len(times) >= 50)
    assert len(times) == 50
    assert times == sorted(times)
    assert volley("127.0.0.1", "tun4040404", 65000, 10, 30.0, lambda _times: False) == []
    # An address that nobody has: it ends all the same.
    assert volley("192.0.2.1", "lo", 65000, 10, 0.2, lambda _times: False) == []


@pytest.mark.parametrize(("size", "bytes_on_the_line"), [(0, 35), (20, 35), (36, 36), (1500, 1500), (65000, 65000)])
def test_an_echo_makes_a_packet_of_the_size_that_was_asked_for(size: int, bytes_on_the_line: int) -> None:
    assert len(ipv4(echo(7, 8, size))) == bytes_on_the_line
    assert checksum(echo(7, 8, size)) == 0
