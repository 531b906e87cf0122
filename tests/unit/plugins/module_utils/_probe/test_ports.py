# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._probe import ports


@pytest.fixture
def port() -> Iterator[int]:
    """Two tasks answer here by turns."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            turn = 0
            while True:
                try:
                    connection, (peer, _port) = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65535)
                    connection.sendall(f"{'ab'[turn % 2]} {peer}".encode())
                turn += 1

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)


def place(port: int, mode: str = "ingress", *tasks: str) -> dict[str, object]:
    return {"address": "127.0.0.1", "port": port, "mode": mode, "tasks": list(tasks or ("a", "b"))}


def test_all_tasks_answer_at_a_port_of_the_mesh(port: int) -> None:
    found = ports.measure([place(port), place(port)], mesh=True, timeout=0)
    assert found["ports"]["ok"]


def test_a_task_that_does_not_answer_is_missed_with_the_port(port: int) -> None:
    found = ports.measure([place(port, "ingress", "a", "b", "c")], mesh=True, timeout=0)
    assert found == {"ports": {"ok": False, "reason": f"127.0.0.1:{port}: 2 of 3 tasks answered"}}


def test_a_port_of_mode_host_is_one_task(port: int) -> None:
    found = ports.measure([place(port, "host", "a")], mesh=True, timeout=0)
    assert found["ports"]["reason"] == f"127.0.0.1:{port}: b answered, which is no task of this service"


def test_without_the_mesh_only_ports_of_mode_host_are_tried() -> None:
    assert ports.measure([place(1)], mesh=False, timeout=0) == {}
    assert ports.measure([], mesh=True, timeout=0) == {}
    found = ports.measure([place(1), place(1, "host", "a")], mesh=False, timeout=0)
    assert found["ports"]["reason"].endswith("questions had no answer")
