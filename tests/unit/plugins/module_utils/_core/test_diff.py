# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What --diff shows of a plan: what differs and nothing else, each thing once, files by their lines."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.diff import WHOLE_LINES, texts


def shown(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The lines of the difference, as a person sees them."""
    both = texts(before, after)
    lines = difflib.unified_diff(both["before"].splitlines(), both["after"].splitlines(), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def test_what_is_the_same_is_left_out() -> None:
    assert texts({"mtu": 1500, "up": True}, {"mtu": 1500, "up": True}) == {"before": "", "after": ""}
    assert shown({"mtu": 1500, "up": True}, {"mtu": 9000, "up": True}) == ["-mtu: 1500", "+mtu: 9000"]


def test_a_subject_that_comes_or_goes_takes_as_few_lines_as_it_has_to() -> None:
    device = {
        "name": "tun1001",
        "mtu": 65000,
        "up": True,
        "failover": False,
        "table": None,
        "metric": 0,
        "addresses": [{"address": "172.30.0.1", "peer": None}],
    }
    absent = {"tun1001": {"state": "absent"}}
    line = "tun1001: mtu 65000, up, metric 0, addresses address 172.30.0.1"
    assert shown(absent, {"tun1001": device}) == [f"+{line}"]
    assert shown({"tun1001": device}, absent) == [f"-{line}"]


def test_a_subject_that_changes_is_shown_by_what_changes() -> None:
    before = {"tun1001": {"mtu": 65000, "up": True, "routes": [{"to": "10.0.0.0/8"}]}}
    after = {"tun1001": {"mtu": 1500, "up": True, "routes": [{"to": "10.0.0.0/8"}, {"to": "172.30.0.0/16"}]}}
    assert shown(before, after) == ["-  mtu: 65000", "+  mtu: 1500", "+    to 172.30.0.0/16"]


def test_a_word_that_was_not_there_has_no_opposite() -> None:
    assert shown({"key": False}, {"key": True}) == ["+key: true"]
    assert shown({"enabled": True}, {"enabled": False}) == ["-enabled: true"]
    assert shown({"rules": []}, {"rules": ["accept"]}) == ["+rules:", "+  accept"]
    assert shown({"metric": 0}, {"metric": 5}) == ["-metric: 0", "+metric: 5"]


def test_a_file_is_shown_by_its_lines() -> None:
    text = "Host a\n    Port 22\n\n    User b\n"
    assert shown({"file": None}, {"file": text}) == ["+file:", "+  Host a", "+      Port 22", "+", "+      User b"]
    assert shown({"file": text}, {"file": text.replace("22", "2222")}) == ["-      Port 22", "+      Port 2222"]


@pytest.mark.parametrize("comes", [True, False])
def test_a_long_file_that_comes_or_goes_is_counted_and_one_that_changes_is_shown(comes: bool) -> None:
    text = "".join(f"line {number}\n" for number in range(WHOLE_LINES + 1))
    sides = ({"unit": None}, {"unit": text})
    (line,) = shown(*sides) if comes else shown(*reversed(sides))
    assert line.startswith(f"{'+' if comes else '-'}unit: {WHOLE_LINES + 1} lines, SHA-256 ")
    assert shown({"unit": text}, {"unit": text.replace("line 3\n", "line three\n")}) == ["-  line 3", "+  line three"]
    assert len(shown({"sshd": []}, {"sshd": text.splitlines()})) == WHOLE_LINES + 2


def test_long_subjects_are_broken_between_their_words_and_files_in_them_follow() -> None:
    subject = {**{f"option_{number}": "x" * 20 for number in range(5)}, "text": "a\nb\n"}
    lines = shown({}, {"link": subject})
    assert all(len(line) <= 112 for line in lines)
    assert lines[0].startswith("+link: option_0 x")
    assert lines[0].endswith(",")
    assert lines[-3:] == ["+  text:", "+    a", "+    b"]


def test_a_subject_of_which_nothing_is_there_comes_as_a_whole() -> None:
    before = {"tun1001": {"networkd": None, "state": "absent"}, "cloud1": {"unit": None, "running": False}}
    after = {"tun1001": {"networkd": "[Match]\nName=tun1001\n", "mtu": 1500}, "cloud1": {"unit": "a", "running": True}}
    assert shown(before, after) == [
        "+tun1001: mtu 1500",
        "+  networkd:",
        "+    [Match]",
        "+    Name=tun1001",
        "+cloud1: unit a, running",
    ]
