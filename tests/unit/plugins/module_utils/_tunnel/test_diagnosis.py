# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences out of what OpenSSH 10.0 and systemd 257 really said in each case."""

from __future__ import annotations

import dataclasses
import json

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.diagnosis import Finding, explain
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.journal import attempts_of

from tests.unit.plugins.module_utils._tunnel.journal_lines import (
    CHANGED_KEY,
    CONNECTED,
    CONTEXT,
    DENIED,
    NOT_OPENED,
    OFFERED,
    OPEN,
    PENALTY,
    REFUSED_OPEN,
    REMOTE,
    VERSION,
    found,
)

NOT_PASSED_ON = ["stdio forwarding failed", "Connection closed by UNKNOWN port 65535"]


@pytest.mark.parametrize(
    ("run", "part", "certain"),
    [
        (CHANGED_KEY, f"shows the host key {OFFERED}, expected is SHA256:expected", True),
        ([VERSION, DENIED], "refuses the key /etc/overssh/keys/id_ed25519 for the account overssh", True),
        (
            ["no such identity: /etc/overssh/keys/id_ed25519: No such file or directory", DENIED],
            "there is no key /etc/overssh/keys/id_ed25519 on this host",
            True,
        ),
        (['Load key "/etc/overssh/keys/id_ed25519": bad permissions', DENIED], "(bad permissions)", True),
        (['Load key "/etc/overssh/keys/id_ed25519": Permission denied', DENIED], "(Permission denied)", True),
        (
            [*CONNECTED, f"{REMOTE}Server has rejected tunnel device forwarding", *REFUSED_OPEN],
            "permits no tunnels to the account overssh (Server has rejected tunnel device forwarding)",
            True,
        ),
        (
            [*CONNECTED, f"{REMOTE}Failed to open the tunnel device.", *REFUSED_OPEN],
            "can't open its device tun1002 (Failed to open the tunnel device)",
            False,
        ),
        ([*CONNECTED, *REFUSED_OPEN], "can't open its device tun1002", False),
        (
            [*CONNECTED, "channel 0: open failed: connect failed: No route to host", *NOT_PASSED_ON],
            "the last jump host before cloud1 (192.0.2.1 port 2222) does not connect to it (No route to host); see",
            False,
        ),
        (
            [*CONNECTED, "channel 0: open failed: administratively prohibited: open failed", *NOT_PASSED_ON],
            "does not connect to it (administratively prohibited: open failed); run the role tunnel on it",
            True,
        ),
        (
            [*CONNECTED, f'{OPEN}open tunnel control device "/dev/net/tun": Permission denied', *NOT_OPENED],
            "overssh can't open /dev/net/tun (Permission denied)",
            True,
        ),
        (
            [*CONNECTED, f"{OPEN}configure tunnel (mode 1): Invalid argument", *NOT_OPENED],
            "the device tun1001 is no plain tun device (a tap)",
            True,
        ),
        (
            [*CONNECTED, f"{OPEN}configure tunnel (mode 1): Device or resource busy", *NOT_OPENED],
            "another process holds the device tun1001 on this host",
            False,
        ),
        (
            [
                "Unable to negotiate with 192.0.2.1 port 2222: no matching key exchange method found. "
                "Their offer: mlkem768x25519-sha256"
            ],
            "have no algorithm in common (no matching key exchange method found. Their offer: mlkem768x25519-sha256)",
            True,
        ),
        (PENALTY, "shuts this host's address out for a while", False),
        (
            ["ssh: connect to host 192.0.2.1 port 2222: Connection refused"],
            "nothing listens at 192.0.2.1 port 2222",
            False,
        ),
        (["ssh: connect to host 192.0.2.1 port 2222: No route to host"], "there is no way to 192.0.2.1", False),
        (["ssh: connect to host 192.0.2.1 port 2222: Connection timed out"], "does not answer", False),
        (
            ["ssh: Could not resolve hostname 192.0.2.1: Name or service not known"],
            "can't resolve the name 192.0.2.1",
            False,
        ),
        (
            ["kex_exchange_identification: read: Connection reset by peer", "Connection reset by 192.0.2.1 port 2222"],
            "takes the connection and ends it (Connection reset by 192.0.2.1 port 2222)",
            False,
        ),
        ([*CONNECTED, "Timeout, server 192.0.2.1 not responding."], "was reached and fell silent", False),
        (CONNECTED, "172.30.0.1 does not answer through tun1001", False),
        (["something new"], "ends with: something new", False),
    ],
)
def test_each_case_has_its_sentence(run: list[str], part: str, certain: bool) -> None:
    once, twice = found(run), found(run, run)
    assert once is not None
    assert twice is not None
    assert part in once.sentence
    assert not once.final
    assert twice == Finding(once.sentence, certain)


@pytest.mark.parametrize(
    ("owner", "part"),
    [
        (None, "there is no device tun1001 on this host"),
        ("", "overssh may not open the device tun1001 on this host, which belongs to no account"),
        ("alice", "overssh may not open the device tun1001 on this host, which belongs to alice"),
        ("overssh", "overssh may not open the device tun1001 on this host"),  # its group keeps it out
    ],
)
def test_a_device_that_may_not_be_opened(owner: str | None, part: str) -> None:
    run = [*CONNECTED, f"{OPEN}configure tunnel (mode 1): Operation not permitted", *NOT_OPENED]
    finding = found(run, run, device_owner=owner)
    assert finding is not None
    assert part in finding.sentence
    assert finding.final


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"device_up": False}, "the device tun1001 on this host is down"),
        ({"device_owner": None}, "there is no device tun1001 on this host"),
    ],
)
def test_a_connected_link_whose_own_device_is_not_ready(changes: dict[str, object], part: str) -> None:
    finding = found(CONNECTED, **changes)
    assert finding is not None
    assert part in finding.sentence


def test_an_older_ssh_that_says_less_is_explained_as_well() -> None:
    finding = found([CONNECTED[2], *NOT_OPENED])
    assert finding is not None
    assert "another process holds the device tun1001" in finding.sentence


def test_the_latest_run_decides() -> None:
    finding = found(CHANGED_KEY, ["ssh: connect to host 192.0.2.1 port 2222: Connection refused"])
    assert finding is not None
    assert "nothing listens" in finding.sentence


def test_a_run_that_only_began_says_nothing_yet() -> None:
    assert found([VERSION]) is None
    finding = found([VERSION, DENIED], [VERSION])
    assert finding is not None
    assert "refuses the key" in finding.sentence
    assert found() is None


def test_the_end_of_the_stopped_link_is_no_reason() -> None:
    assert found(["Killed by signal 15.", "Transferred: sent 7336, received 6304 bytes, in 89.3 seconds"]) is None


def test_being_shut_out_is_put_down_to_what_came_before() -> None:
    finding = found([VERSION, DENIED], PENALTY)
    assert finding is not None
    assert "refuses the key" in finding.sentence
    assert "shuts this host's address out for a while" in finding.sentence
    assert finding.final


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            "Failed at step USER spawning /usr/bin/python3: No such process",
            "the account overssh does not exist on this host; make it first",
        ),
        (
            "Failed at step EXEC spawning /usr/bin/python3: No such file or directory",
            "systemd can't start /usr/bin/python3 (EXEC: No such file or directory)",
        ),
    ],
)
@pytest.mark.parametrize("transport", ["tun", "stream"])
@pytest.mark.parametrize("ids", [["INVOCATION_ID"], ["INVOCATION_ID", "_SYSTEMD_INVOCATION_ID"], []])
def test_a_program_that_can_not_be_started(message: str, sentence: str, transport: str, ids: list[str]) -> None:
    entry = {
        "SYSLOG_IDENTIFIER": "(python3)",
        "_PID": "337",
        "MESSAGE": f"overssh-link-cloud1.service: {message}",
        **dict.fromkeys(ids, "410b872c3ae14ed28234bd475dc72c3b"),
    }
    finding = explain(attempts_of(json.dumps(entry)), dataclasses.replace(CONTEXT, transport=transport))
    assert finding is not None
    assert finding.sentence == sentence


def test_lines_of_two_processes_of_one_start_are_one_attempt() -> None:
    entries = [
        {"_PID": "7", "_SYSTEMD_INVOCATION_ID": "a", "MESSAGE": "one"},
        {"_PID": "8", "_SYSTEMD_INVOCATION_ID": "a", "MESSAGE": "two"},
        {"_PID": "9", "_SYSTEMD_INVOCATION_ID": "b", "MESSAGE": "three"},
        {"_PID": "1", "_SYSTEMD_INVOCATION_ID": "init", "INVOCATION_ID": "b", "MESSAGE": "four"},
    ]
    attempts = attempts_of("\n".join(map(json.dumps, entries)))
    assert [attempt.lines for attempt in attempts] == [("one", "two"), ("three", "four")]


def test_a_device_of_several_queues_under_ssh_itself() -> None:
    run = [*CONNECTED, f"{OPEN}configure tunnel (mode 1): Invalid argument", *NOT_OPENED]
    finding = found(run, run, several_queues=True)
    assert finding == Finding(
        "the device tun1001 on this host was made with several queues, and the link has lanes: 1; make it anew with "
        "multi_queue: false",
        True,
    )


def test_bytes_that_are_no_text_are_survived() -> None:
    entry = {"SYSLOG_IDENTIFIER": "ssh", "_PID": "9", "MESSAGE": [72, 105, 255]}
    assert [attempt.lines for attempt in attempts_of(json.dumps(entry))] == [("Hi\N{REPLACEMENT CHARACTER}",)]
