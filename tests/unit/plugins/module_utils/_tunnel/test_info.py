# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The links of a host, by their files."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.info import link_names, warnings_of

from tests.unit.roles.tunnel.stream_helper import load


def test_a_link_is_found_by_either_of_its_files() -> None:
    assert link_names(
        ["b.conf", "b.known_hosts", ".overssh-x.conf", "note"],
        ["overssh-link-a.b.service", "overssh-link-b.service", "overssh-tun1001.service", "ssh.service"],
    ) == ["a.b", "b"]


def test_complaints_about_the_window_are_counted() -> None:
    journal = (
        "channel 0: rcvd too much data 9, win 4\nchannel 0: rcvd too much data 9, win 4\npeer ignored channel window\n"
    )
    assert warnings_of(journal) == {"channel_window_ignored": 1, "too_much_data": 2, "session_window_full": 0}


def test_what_the_helper_says_of_a_full_window_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    stream = load()
    stream.Growth().see_to(SimpleNamespace(starved=True, round_trip=0.1, who="cloud1"), 0.0)
    assert warnings_of(capsys.readouterr().err)["session_window_full"] == 1
