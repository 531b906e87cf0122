# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""By which way a command reached the host, as the processes above it show it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint import checkpoint
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._linux import proc
from ansible_collections.overssh.swarm.plugins.module_utils._linux import way_in as linux_way_in
from ansible_collections.overssh.swarm.plugins.module_utils._linux.way_in import Above, Way, way_in

MODULE = Above(900, 800, 500.0)
SHELL = Above(800, 700, 499.0)
LOGIN = Above(700, 600, 490.0, inbound=True)
MONITOR = Above(600, 500, 480.0, inbound=True)
LISTENER = Above(500, 1, 10.0)


def test_the_process_that_holds_the_connection_tells_when_it_began() -> None:
    assert way_in([MODULE, SHELL, LOGIN, MONITOR, LISTENER]) == Way(480.0, connected=True)


def test_a_login_from_which_the_play_was_started_counts_and_not_what_it_opened_itself() -> None:
    inner = Above(900, 800, 500.0, inbound=True)
    assert way_in([inner, SHELL, LOGIN, LISTENER]) == Way(490.0, connected=True)


def test_a_server_of_many_clients_in_one_process_is_as_old_as_itself() -> None:
    assert way_in([MODULE, SHELL, Above(500, 1, 10.0, inbound=True)]) == Way(10.0, connected=True)


def test_what_was_put_into_a_container_came_from_outside() -> None:
    assert way_in([MODULE, Above(800, 0, 499.0)]) == Way(499.0, connected=False)


@pytest.mark.parametrize(
    "processes",
    [[], [MODULE], [MODULE, SHELL, Above(700, 1, 10.0)]],
    ids=["none", "cut short", "a timer of the system"],
)
def test_where_nothing_is_seen_nothing_is_shown(processes: list[Above]) -> None:
    assert way_in(processes) is None


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0 100 0 0 10 0
   1: 0100000A:0016 0200000A:D431 01 00000000:00000000 02:000A7214 00000000     0        0 200 2 0 20 4 29 10 -1
   2: 0100000A:B1F2 0300000A:0185 01 00000000:00000000 00:00000000 00000000     0        0 300 1 0 20 4 1 10 -1
"""


def test_a_connection_to_somebody_else_is_none_to_this_host() -> None:
    assert proc.sockets(TCP) == proc.Sockets(frozenset({"100"}), frozenset({"200"}))
    assert proc.sockets("") == proc.Sockets(frozenset(), frozenset())


def test_the_kernel_is_read_as_it_is() -> None:
    """A child that a listener has given a connection to, as sshd does: it is found, with its age."""
    program = (
        "import os, socket, subprocess, sys\n"
        "server = socket.create_server(('127.0.0.1', 0)); print(server.getsockname()[1], flush=True)\n"
        "connection, _peer = server.accept(); connection.set_inheritable(True)\n"
        "if os.fork() == 0:\n"
        "    print(subprocess.run(sys.argv[1:], capture_output=True, text=True).stdout, flush=True); os._exit(0)\n"
        "connection.close(); os.wait()\n"
    )
    ask = (
        "from ansible_collections.overssh.swarm.plugins.module_utils._linux import way_in as w; "
        "print(w.found().connected, w.now() - w.found().since < 60)"
    )
    began = subprocess.Popen(
        [sys.executable, "-c", program, sys.executable, "-c", ask],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[5],
        env={**os.environ, "PYTHONPATH": ".venv/collections"},
    )
    assert began.stdout is not None
    with began, socket.create_connection(("127.0.0.1", int(began.stdout.readline()))):
        assert began.stdout.read().split() == ["True", "True"]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A change with a checkpoint that was made 500 seconds after the boot."""
    monkeypatch.setattr(checkpoint, "FOLDER", str(tmp_path))
    folder = tmp_path / "firewall"
    folder.mkdir()
    (folder / "deadline").write_text("1800000000.000\n")
    (folder / "changed").write_text("500.000\n")
    return "firewall"


def test_what_began_after_the_change_proves_it(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux_way_in, "found", lambda: Way(500.01, connected=True))
    checkpoint.require_proof(made)


def test_where_nothing_is_on_trial_nothing_is_to_be_proved(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux_way_in, "found", lambda: None)
    checkpoint.require_proof("another")


def test_a_change_of_an_unknown_moment_is_proved_by_nothing(
    made: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / made / "changed").unlink()
    monkeypatch.setattr(linux_way_in, "found", lambda: Way(500.01, connected=True))
    with pytest.raises(OversshError, match="was not confirmed"):
        checkpoint.require_proof(made)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (Way(500.0, connected=True), "by a connection that had begun 0 s before the change"),
        (Way(380.0, connected=True), "by a connection that had begun 120 s before the change"),
        (Way(380.0, connected=False), "by a connection that had begun 120 s before the change"),
        (None, "by no connection that the host can see"),
    ],
)
def test_anything_else_does_not(made: str, monkeypatch: pytest.MonkeyPatch, way: Way | None, said: str) -> None:
    monkeypatch.setattr(linux_way_in, "found", lambda: way)
    with pytest.raises(OversshError, match=said) as told:
        checkpoint.require_proof(made)
    assert told.value.answer == {"unproved": True}
