# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Managers of a host's network are told of our devices, and of nothing else on the way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer
from ansible_collections.overssh.swarm.plugins.module_utils._tun import managers as tun_managers
from ansible_collections.overssh.swarm.plugins.module_utils._tun.managers import (
    MANAGERS,
    NETWORK_MANAGER,
    NETWORKD,
    Manager,
    Managers,
)


class Host:
    """Answers for systemctl and the managers' own programs, with what was asked of them.

    state: of the managers. status: of a reload. lists: what they list of their devices, one after the other.
    """

    def __init__(self, state: str, status: int = 0, lists: Sequence[str] = ("",)) -> None:
        self.state, self.status, self.lists = state, status, list(lists)
        self.asked: list[Sequence[str]] = []

    def __call__(self, argv: Sequence[str], data: str | None = None, check: bool = True) -> Answer:
        self.asked.append(argv)
        if argv[0] == "systemctl":
            # It started with the machine.
            return Answer(0, f"Id={argv[2]}\nActiveState={self.state}\nActiveEnterTimestampMonotonic=0\n", "")
        if "reload" in argv:
            return Answer(self.status, "", "no answer\n")
        return Answer(0, self.lists.pop(0) if len(self.lists) > 1 else self.lists[0], "")


def tell(host: Host, *written: Manager) -> list[str]:
    managers = Managers(host)
    for manager in written:
        managers.written(manager, "tun1001")
    managers.tell()
    managers.tell()
    return managers.warnings


def here(manager: Manager, folder: Path) -> Manager:
    return replace(manager, folder=str(folder), reads=(str(folder),))


def test_each_is_told_in_its_own_words() -> None:
    assert NETWORKD.path("tun1001") == "/etc/systemd/network/00-overssh-tun1001.network"
    assert NETWORKD.text_for("tun1001").endswith("[Match]\nName=tun1001\n\n[Link]\nUnmanaged=yes\n")
    assert NETWORK_MANAGER.path("tun1001") == "/etc/NetworkManager/conf.d/zz-overssh-tun1001.conf"
    assert NETWORK_MANAGER.text_for("tun1001").endswith("[keyfile]\nunmanaged-devices+=interface-name:tun1001\n")


def test_nobody_is_told_who_does_not_run_or_of_whom_nothing_is_new() -> None:
    host = Host("inactive")
    assert tell(host) == []
    assert host.asked == []
    assert tell(host, *MANAGERS.values()) == []
    assert [words[:3] for words in host.asked] == [["systemctl", "show", each.unit] for each in MANAGERS.values()]


@pytest.mark.parametrize("manager", MANAGERS.values(), ids=list(MANAGERS))
def test_one_is_told_once_unless_that_brings_what_others_wrote(manager: Manager, tmp_path: Path) -> None:
    manager = here(manager, tmp_path)
    Path(manager.path("tun1001")).touch()
    (tmp_path / "notes.txt").touch()
    host = Host("active")
    assert tell(host, manager, manager) == []
    assert [words for words in host.asked if words[0] != "systemctl"] == [manager.reload, manager.states]

    others = tmp_path / f"50-wan{manager.ends[0]}"
    others.touch()
    os.utime(others, (0, 0))
    assert tell(host, manager) == []
    others.touch()
    host = Host("active")
    (said,) = tell(host, manager)
    assert str(others) in said
    assert f"run '{' '.join(manager.reload)}' when that suits you" in said
    assert [words[0] for words in host.asked] == ["systemctl"]


def test_one_that_does_not_listen_is_named(tmp_path: Path) -> None:
    assert tell(Host("active", status=1), here(NETWORK_MANAGER, tmp_path)) == [
        "NetworkManager could not be told of our devices (no answer); run 'nmcli general reload conf'"
    ]


@pytest.mark.parametrize(
    ("manager", "held", "free"),
    [
        (
            NETWORK_MANAGER,
            "tun10010:unmanaged\ntun1001:connected (externally)\n",
            "tun1001:unmanaged\neth0:connected\n",
        ),
        (NETWORKD, "  5 tun1001 none routable configuring\n", "  5 tun1001 none routable unmanaged\n"),
    ],
)
def test_what_one_lets_go_of_is_waited_for(
    manager: Manager, held: str, free: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host("active", lists=[held, held, free])
    assert tell(host, here(manager, tmp_path)) == []
    assert host.asked.count(manager.states) == 3
    monkeypatch.setattr(tun_managers, "LETS_GO", 0.1)
    (said,) = tell(Host("active", lists=[held]), here(manager, tmp_path))
    assert f"{manager.name} was told to leave our devices alone, and goes on with tun1001, as somebody" in said
