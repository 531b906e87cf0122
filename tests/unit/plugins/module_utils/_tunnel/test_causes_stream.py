# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences out of what the helpers of a stream, and ssh between them, really said in each case."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.diagnosis import Finding

from tests.unit.plugins.module_utils._tunnel.journal_lines import (
    CHANGED_KEY,
    CONNECTED,
    DENIED,
    PENALTY,
    REMOTE,
    VERSION,
    found,
)
from tests.unit.roles.tunnel.stream_helper import load

NO_ANSWER = "overssh-stream: ended: the session with cloud1 ended before its helper answered (ssh's exit status {})"
SERVED = f"{REMOTE}/etc/overssh/authorized_keys:1: key options: command"
UNBOUND = f"{REMOTE}/etc/overssh/authorized_keys:1: key options:"
LOGGED_IN = [*CONNECTED, SERVED]
PEER = "cloud1 (192.0.2.1 port 2222)"
PYTHON = "/usr/bin/python3: can't open file '/usr/local/lib/overssh/stream': [Errno {}] {}"
NO_MAIN = "/usr/bin/python3: can't find '__main__' module in '{}'"
NO_ROOM = "PermissionError: [Errno 13] Permission denied: '{}/wire.py'"


def refused(words: str) -> list[str]:
    """As the far end's helper tells it, to this one and by itself."""
    return [
        *LOGGED_IN,
        f"overssh-stream (far end): refused: {words}",
        f"overssh-stream: refused: cloud1 says: {words}",
        "Killed by signal 15.",
    ]


@pytest.mark.parametrize(
    ("run", "part", "certain"),
    [
        # the far end has no helper to speak
        (
            [*LOGGED_IN, PYTHON.format(2, "No such file or directory"), NO_ANSWER.format(2)],
            f"there is no helper /usr/local/lib/overssh/stream at {PEER}; run the role tunnel on it",
            True,
        ),
        (
            [*LOGGED_IN, PYTHON.format(13, "Permission denied"), NO_ANSWER.format(2)],
            f"overssh can't read the helper /usr/local/lib/overssh/stream at {PEER} (Permission denied)",
            True,
        ),
        (
            [*LOGGED_IN, NO_MAIN.format("/usr/local/lib/overssh/stream"), NO_ANSWER.format(1)],
            f"overssh can't read the helper /usr/local/lib/overssh/stream at {PEER}, or it is not complete; run the",
            True,
        ),
        (
            [
                *LOGGED_IN,
                "Traceback (most recent call last):",
                'File "<frozen importlib._bootstrap_external>", line 1130, in get_data',
                NO_ROOM.format("/usr/local/lib/overssh/stream"),
                NO_ANSWER.format(1),
            ],
            f"overssh can't read the helper /usr/local/lib/overssh/stream/wire.py at {PEER} (Permission denied)",
            True,
        ),
        (
            [*LOGGED_IN, "sh: 1: /usr/bin/nopython: not found", NO_ANSWER.format(127)],
            f"{PEER} can't start Python for the helper (sh: 1: /usr/bin/nopython: not found); install python3",
            True,
        ),
        (
            [*LOGGED_IN, "sh: 1: exec: /usr/bin/nopython: not found", NO_ANSWER.format(127)],
            "can't start Python for the helper (sh: 1: exec: /usr/bin/nopython: not found)",
            True,
        ),
        (
            [*LOGGED_IN, "bash: line 1: /usr/bin/nopython: No such file or directory", NO_ANSWER.format(127)],
            "can't start Python for the helper (bash: line 1: /usr/bin/nopython: No such file or directory)",
            True,
        ),
        (
            [
                *LOGGED_IN,
                "Traceback (most recent call last):",
                'File "/usr/local/lib/overssh/stream/hello.py", line 5, in <module>',
                "ModuleNotFoundError: No module named 'json'",
                NO_ANSWER.format(1),
            ],
            "can't run the helper (ModuleNotFoundError: No module named 'json'); it takes Python 3.9 or later",
            True,
        ),
        (
            [*LOGGED_IN, "Unknown option: -I", "Try `python -h' for more information.", NO_ANSWER.format(2)],
            f"Python at {PEER} can't run the helper (Unknown option: -I); it takes Python 3.9 or later",
            True,
        ),
        (
            [*LOGGED_IN, "x = = 1", "^", "SyntaxError: invalid syntax", NO_ANSWER.format(1)],
            f"Python at {PEER} can't run the helper (SyntaxError: invalid syntax)",
            True,
        ),
        (
            [
                *LOGGED_IN,
                "overssh-stream (far end): refused: it takes Python 3.9 or later, and /usr/bin/python3 is 3.7",
                NO_ANSWER.format(2),
            ],
            f"the helper takes Python 3.9 or later, and /usr/bin/python3 of {PEER} is 3.7; install a later one there",
            True,
        ),
        # the far end is not for streams
        (
            [*LOGGED_IN, "channel 0: open failed: connect failed: open failed", NO_ANSWER.format(255)],
            f"{PEER} runs no helper for the account overssh (channel 0: open failed: connect failed: open failed): it "
            "may serve the transport tun",
            True,
        ),
        ([*LOGGED_IN, NO_ANSWER.format(1)], "ends with status 1 and says nothing, as /bin/false does", True),
        (
            [
                *LOGGED_IN,
                "overssh-stream: refused: cloud1 printed 'This account is currently not available.' before the first "
                "frame; a startup file of the account's shell there may do that, and has to be silent",
            ],
            f"the account overssh of {PEER} has no shell ('This account is currently not available.'); give it /bin/sh",
            True,
        ),
        (
            [
                *CONNECTED,
                UNBOUND,
                "overssh-stream: refused: cloud1 printed 'Linux cloud1 6.12' before the first frame; a startup file of "
                "the account's shell there may do that, and has to be silent",
            ],
            f"the key /etc/overssh/keys/id_ed25519 opens a shell at {PEER} instead of the helper",
            True,
        ),
        (
            [*CONNECTED, UNBOUND, "-sh: 1: OVERSSH-STREAM: not found"],
            f"the key /etc/overssh/keys/id_ed25519 opens a shell at {PEER} instead of the helper",
            True,
        ),
        # the helpers refuse
        (
            [
                *LOGGED_IN,
                "overssh-stream: refused: cloud1 printed 'Welcome to cloud1' before the first frame; a startup file of "
                "the account's shell there may do that, and has to be silent",
            ],
            f"{PEER} printed 'Welcome to cloud1' before the helper's first word; a startup file",
            True,
        ),
        (
            refused(
                "the helper at the dialling end has version '1' and this one '2'; install the same one on both ends"
            ),
            f"the helper at {PEER} has version '2' and this host's has version '1'; run the role tunnel on both",
            True,
        ),
        (
            [
                *LOGGED_IN,
                "overssh-stream: refused: the helper at cloud1 has version '2' and this one '1'; install the same one "
                "on both ends",
            ],
            f"the helper at {PEER} has version '2' and this host's has version '1'; run the role tunnel on both",
            True,
        ),
        (
            refused("the dialling end has lanes: 2 and this end lanes: 1; both need the same"),
            f"{PEER} serves the link with lanes: 1, and this host dials it with lanes: 2; both need the same",
            True,
        ),
        (
            refused("the dialling end has lanes: 'auto' and this end lanes: 1; both need the same"),
            f"{PEER} serves the link with lanes: 1, and this host dials it with lanes: auto; both need the same",
            True,
        ),
        (
            [*LOGGED_IN, "overssh-stream: refused: cloud1 has lanes: 'auto' and this end lanes: 2; both need the same"],
            f"{PEER} serves the link with lanes: auto, and this host dials it with lanes: 2; both need the same",
            True,
        ),
        (
            refused("there is no device tun1002 on this host"),
            f"there is no device tun1002 at {PEER}; run the role tunnel on it",
            True,
        ),
        (
            refused("/dev/net/tun can't be opened on this host (Permission denied); its mode has to be 0666"),
            f"overssh can't open /dev/net/tun at {PEER} (Permission denied)",
            True,
        ),
        (
            refused(
                "the device tun1002 on this host can't be opened (Operation not permitted); it has to belong to the "
                "account that the link runs as"
            ),
            f"overssh may not open the device tun1002 of {PEER} (Operation not permitted); make it the device's owner",
            True,
        ),
        (
            refused("the device tun1002 on this host was made for several queues, and the link has lanes: 1"),
            f"the device tun1002 of {PEER} was made with several queues, and the link has lanes: 1; make it anew with "
            "multi_queue: false",
            True,
        ),
        (refused("the moon is full"), f"{PEER} refuses the link and says: the moon is full", True),
        (["overssh-stream: refused: the moon is full"], "the moon is full", True),
        (
            ["overssh-stream: refused: there is no device tun1001 on this host"],
            "there is no device tun1001 on this host; make it first",
            True,
        ),
        (
            [
                *LOGGED_IN,
                "overssh-stream: refused: /dev/net/tun can't be opened on this host (Permission denied); its mode has "
                "to be 0666",
            ],
            "overssh can't open /dev/net/tun (Permission denied); it has to be there",
            True,
        ),
        (
            ["overssh-stream: refused: it takes Python 3.9 or later, and /usr/bin/python3 is 3.7"],
            "and /usr/bin/python3 on this host is 3.7; name a later one in python",
            True,
        ),
        (
            ["/usr/bin/python3: can't open file '/home/me/stream': [Errno 13] Permission denied"],
            "the unit can't read the helper /usr/local/lib/overssh/stream on this host (Permission denied)",
            True,
        ),
        (
            [NO_MAIN.format("/home/me/stream")],
            "the unit can't read the helper /usr/local/lib/overssh/stream on this host; it can't see what lies",
            True,
        ),
        (
            ["Traceback (most recent call last):", NO_ROOM.format("/home/me/stream")],
            "the unit can't read the helper /usr/local/lib/overssh/stream on this host (Permission denied)",
            True,
        ),
        # a session ended
        (
            [
                *LOGGED_IN,
                "overssh-stream (far end): ended: the device tun1002 is in use by another process on this host",
                "overssh-stream: ended: cloud1 says: the device tun1002 is in use by another process on this host",
            ],
            f"another process holds the device tun1002 of {PEER}",
            False,
        ),
        (
            [*LOGGED_IN, "overssh-stream: ended: the device tun1001 is in use by another process on this host"],
            "another process holds the device tun1001 on this host",
            False,
        ),
        (
            [
                *LOGGED_IN,
                "overssh-stream: connected to cloud1, 1 lane",
                "overssh-stream: ended: cloud1 has been silent for 2.5 s",
            ],
            f"{PEER} was reached and fell silent (nothing came from it for 2.5 s)",
            False,
        ),
        (
            [
                *LOGGED_IN,
                "overssh-stream: connected to cloud1, 1 lane",
                "overssh-stream (far end): ended: the device was removed on this host",
                "overssh-stream: ended: the session with cloud1 was closed (ssh's exit status 1)",
            ],
            f"{PEER} ended the link and says: the device was removed on this host",
            False,
        ),
        (
            [*LOGGED_IN, "overssh-stream: ended: cloud1 sent 48545450 where a frame begins, and none begins so"],
            f"the link to {PEER} ended: cloud1 sent 48545450 where a frame begins",
            False,
        ),
        (
            [*LOGGED_IN, "out of pencils", NO_ANSWER.format(9)],
            f"ssh to {PEER} ended before the helper there answered (exit status 9: out of pencils)",
            False,
        ),
        # nothing ended
        (LOGGED_IN, f"ssh is connected to {PEER}, but the helper there has not answered yet", False),
        (
            [*LOGGED_IN, "overssh-stream: connected to cloud1, 1 lane"],
            "172.30.0.1 does not answer through tun1001",
            False,
        ),
    ],
)
def test_each_case_of_a_stream_has_its_sentence(run: list[str], part: str, certain: bool) -> None:
    once, twice = found(run, transport="stream"), found(run, run, transport="stream")
    assert once is not None
    assert twice is not None
    assert part in once.sentence
    assert not once.final
    assert twice == Finding(once.sentence, certain)


@pytest.mark.parametrize(
    ("run", "part"),
    [
        (CHANGED_KEY, "shows the host key"),
        ([VERSION, DENIED], "refuses the key /etc/overssh/keys/id_ed25519"),
        (PENALTY, "shuts this host's address out for a while"),
        (["ssh: connect to host 192.0.2.1 port 2222: Connection refused"], "nothing listens at 192.0.2.1 port 2222"),
        (["ssh: Could not resolve hostname 192.0.2.1: Name or service not known"], "can't resolve the name"),
        (["Connection reset by 192.0.2.1 port 2222"], "takes the connection and ends it"),
        ([*CONNECTED, "Timeout, server 192.0.2.1 not responding."], "was reached and fell silent"),
    ],
)
def test_what_ssh_says_itself_goes_before_the_helper_that_only_sees_it_end(run: list[str], part: str) -> None:
    finding = found([*run, NO_ANSWER.format(255)], transport="stream")
    assert finding is not None
    assert part in finding.sentence


def test_an_attempt_that_is_under_way_does_not_hide_why_the_one_before_it_ended() -> None:
    ended = "overssh-stream: ended: cloud1 says: the moon is full"
    finding = found([*LOGGED_IN, ended], LOGGED_IN, transport="stream")
    said = f"{PEER} ended the link and says: the moon is full; one more attempt is not answered yet"
    assert finding == Finding(said, False)


def test_what_a_banner_says_is_no_fault_of_ssh() -> None:
    banner = (
        "overssh-stream: refused: cloud1 printed 'Connection refused: Permission denied (' before the first frame; a "
        "startup file of the account's shell there may do that, and has to be silent"
    )
    finding = found([*LOGGED_IN, banner], transport="stream")
    assert finding is not None
    assert "before the helper's first word" in finding.sentence


@pytest.mark.parametrize("order", [1, -1])
def test_the_lines_of_two_helpers_may_come_in_any_order(order: int) -> None:
    run = refused("the moon is full")
    finding = found([*run[: len(LOGGED_IN)], *run[len(LOGGED_IN) :][::order]], transport="stream")
    assert finding is not None
    assert finding.sentence.endswith("refuses the link and says: the moon is full")


def test_a_tap_is_told_from_a_device_of_several_queues() -> None:
    said = "refused: the device tun1001 on this host was made for several queues, and the link has lanes: 1"
    tap, several = (
        found([f"overssh-stream: {said}"], transport="stream", several_queues=what) for what in (None, True)
    )
    assert tap is not None
    assert several is not None
    assert tap.sentence == "the device tun1001 is no plain tun device (a tap)"
    assert "make it anew with multi_queue: false" in several.sentence


CONNECTED_STREAM = [*LOGGED_IN, "overssh-stream: connected to cloud1, 1 lane"]
NOT_OPENED = "a further lane to cloud1 can't be opened ({}); the link goes on with 1"
LOST = "a lane to cloud1 has ended (the session with cloud1 was closed); the link goes on with 1"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["overssh-stream: connected to cloud1, 3 lanes"], id="more lanes"),
        pytest.param(
            [DENIED, f"overssh-stream: {NOT_OPENED.format('the session ended before the helper there answered')}"],
            id="a further lane is refused",
        ),
        pytest.param(
            [*PENALTY, f"overssh-stream: {NOT_OPENED.format('the session ended before the helper there answered')}"],
            id="a further lane is shut out",
        ),
        pytest.param(
            [
                *LOGGED_IN,
                "overssh-stream (far end): ended: the first lane of the link is gone",
                f"overssh-stream: {NOT_OPENED.format('cloud1 says: the first lane of the link is gone')}",
            ],
            id="the far end has nobody to hand a further lane to",
        ),
        pytest.param(
            [*CONNECTED, "Timeout, server 192.0.2.1 not responding.", f"overssh-stream: {LOST}"], id="a lane is lost"
        ),
        pytest.param([f"overssh-stream (far end): {LOST}"], id="a lane is lost there"),
        pytest.param(
            ["overssh-stream: the line to cloud1 has become much slower; the link goes on with 1 lane"], id="slower"
        ),
    ],
)
def test_what_becomes_of_further_lanes_is_no_fault_of_the_link(lines: list[str]) -> None:
    run = [*CONNECTED_STREAM, *lines]
    finding = found(run, run, transport="stream", lanes="auto")
    assert finding is not None
    assert "172.30.0.1 does not answer through tun1001" in finding.sentence
    assert not finding.final
    over = found([*run, "overssh-stream: ended: cloud1 has been silent for 2.5 s"], transport="stream", lanes="auto")
    assert over == Finding(f"{PEER} was reached and fell silent (nothing came from it for 2.5 s)", False)


def test_a_further_lane_that_fails_before_the_link_is_up_is_no_fault_either() -> None:
    said = NOT_OPENED.format("the session with cloud1 ended before its helper answered")
    run = [*LOGGED_IN, DENIED, f"overssh-stream: {said}", "overssh-stream: connected to cloud1, 1 lane"]
    finding = found(run, run, transport="stream", lanes=2)
    assert finding is not None
    assert "172.30.0.1 does not answer through tun1001" in finding.sentence


HELPER = load()


def hear(said: bytes) -> None:
    """The helper hears this from the peer, and nothing more."""
    source, sink = os.pipe()
    os.write(sink, said)
    os.close(sink)
    try:
        HELPER.hear_hello(source, "cloud1", 1.0)
    finally:
        os.close(source)


@pytest.mark.parametrize(
    ("fault", "far", "part"),
    [
        (lambda: hear(b"Welcome\nto cloud1\n"), False, "printed 'Welcome' before the helper's first word"),
        (lambda: hear(b"This account is currently not available.\n"), False, "has no shell"),
        (lambda: hear(b""), False, "ended before the helper there answered"),
        (lambda: HELPER.mtu_of("tun4049"), False, "there is no device tun1001 on this host; make it first"),
        (lambda: HELPER.mtu_of("tun4049"), True, f"there is no device tun4049 at {PEER}"),
        (
            lambda: HELPER.check_hello({"version": "0", "lanes": 1}, 1, "x"),
            False,
            "has version '0' and this host's has",
        ),
        (lambda: HELPER.check_hello({"version": "0", "lanes": 1}, 1, "x"), True, "and this host's has version '0'"),
        (
            lambda: HELPER.check_hello({"version": HELPER.VERSION, "lanes": 2}, 1, "x"),
            False,
            f"{PEER} serves the link with lanes: 2, and this host dials it with lanes: 1",
        ),
        (
            lambda: HELPER.check_hello({"version": HELPER.VERSION, "lanes": 2}, 1, "x"),
            True,
            f"{PEER} serves the link with lanes: 1, and this host dials it with lanes: 2",
        ),
        (
            lambda: HELPER.check_hello({"version": HELPER.VERSION, "lanes": "auto"}, 1, "x"),
            True,
            f"{PEER} serves the link with lanes: 1, and this host dials it with lanes: auto",
        ),
        (
            lambda: HELPER.check_hello({"version": HELPER.VERSION, "lanes": 2}, "auto", "x"),
            False,
            f"{PEER} serves the link with lanes: 2, and this host dials it with lanes: auto",
        ),
    ],
)
def test_the_helper_still_says_what_is_understood_here(fault: Callable[[], None], far: bool, part: str) -> None:
    with pytest.raises((HELPER.RefusedError, HELPER.EndedError)) as caught:
        fault()
    kind = "refused" if isinstance(caught.value, HELPER.RefusedError) else "ended"
    said = f"overssh-stream: {kind}: {'cloud1 says: ' if far else ''}{caught.value}"
    finding = found([*LOGGED_IN, said, "something of ssh"], transport="stream")
    assert finding is not None
    assert part in finding.sentence
