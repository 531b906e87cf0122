# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's client: which sentence an operator gets for which trouble, against real sockets."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
import time

import pytest

docker = pytest.importorskip("docker")

from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError  # noqa: E402
from ansible_collections.overssh.swarm.plugins.module_utils._docker import client as docker_client  # noqa: E402


class _Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A Docker engine as far as these tests look: a version, one path that refuses, one that takes JSON."""

    daemon_threads = True
    api = "1.45"
    posted: list
    # What it never answers, until the test is over.
    silent: tuple[str, ...] = ()
    over: threading.Event


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Engine

    def address_string(self):
        return "unix"

    def log_message(self, *args):
        pass

    def _answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path.endswith("/version") and "/version" not in self.server.silent:
            self._answer(200, {"ApiVersion": self.server.api, "Version": "26.1.5"})
        elif self.path.endswith(self.server.silent):
            self.server.over.wait(30)
        elif self.path.endswith("/info"):
            self._answer(200, {"Swarm": {"LocalNodeState": "inactive"}})
        else:
            self._answer(404, {"message": "network nope not found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/swarm/join"):
            self._answer(503, {"message": "This node is already part of a swarm."})
        else:
            self.server.posted.append((self.path, body))
            self._answer(200, "node1")


@pytest.fixture
def engine(tmp_path, monkeypatch):
    path = str(tmp_path / "d.sock")
    server = _Engine(path, _Handler)
    server.posted, server.over = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    _point_at(monkeypatch, path)
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def _point_at(monkeypatch, path):
    real = docker.APIClient
    monkeypatch.setattr(docker_client.docker, "APIClient", lambda **options: real(base_url=f"unix://{path}", **options))


def test_every_method_of_the_sdk_can_be_called(engine):
    assert docker_client.connect().info()["Swarm"]["LocalNodeState"] == "inactive"


def test_a_refusal_keeps_the_engines_words_and_status(engine):
    with pytest.raises(docker_client.DockerError, match="network nope not found") as caught:
        docker_client.connect().inspect_network("nope")
    assert caught.value.status == docker_client.NOT_FOUND


def test_post_sends_fields_that_the_sdk_lacks(engine):
    assert docker_client.connect().post("/swarm/init", {"DataPathPort": 4790}) == "node1"
    assert engine.posted == [("/v1.45/swarm/init", {"DataPathPort": 4790})]


def test_a_refused_post_keeps_the_engines_words(engine):
    with pytest.raises(docker_client.DockerError, match=r"^This node is already part of a swarm[.]$") as caught:
        docker_client.connect().post("/swarm/join", {})
    assert caught.value.status == 503


def test_an_engine_too_old_is_named(engine):
    engine.api = "1.39"
    with pytest.raises(OversshError, match=r"API 1\.39, which is too old.*install Docker 19\.03"):
        docker_client.connect()


def test_an_engine_that_is_not_there_is_said_so(monkeypatch, tmp_path):
    _point_at(monkeypatch, tmp_path / "none.sock")
    with pytest.raises(OversshError, match="does not run on this host"):
        docker_client.connect()


def test_an_engine_that_went_away_is_said_so(engine):
    client = docker_client.connect()
    engine.shutdown()
    engine.socket.close()
    client._client.close()
    with pytest.raises(OversshError, match="does not run on this host"):
        client.info()


def test_a_socket_nobody_listens_on_is_said_so(monkeypatch, tmp_path):
    path = str(tmp_path / "d.sock")
    socketserver.UnixStreamServer(path, _Handler).server_close()
    _point_at(monkeypatch, path)
    with pytest.raises(OversshError, match="does not run on this host"):
        docker_client.connect()


def test_no_permission_asks_for_become(monkeypatch):
    def refused(**options):
        try:
            raise ConnectionError("Connection aborted.", PermissionError(13, "Permission denied"))
        except ConnectionError as error:
            raise docker.errors.DockerException(f"Error while fetching server API version: {error}") from error

    monkeypatch.setattr(docker_client.docker, "APIClient", refused)
    with pytest.raises(OversshError, match="set ansible_become: true"):
        docker_client.connect()


def test_a_library_that_does_not_fit_its_requests_is_named(monkeypatch):
    def refused(**options):
        raise docker.errors.DockerException("Not supported URL scheme http+docker")

    monkeypatch.setattr(docker_client.docker, "APIClient", refused)
    with pytest.raises(OversshError, match="upgrade the package python3-docker"):
        docker_client.connect()


def test_a_missing_library_names_the_interpreter_and_the_package(monkeypatch):
    monkeypatch.setattr(docker_client, "docker", None)
    monkeypatch.setattr(docker_client, "IMPORT_ERROR", "No module named 'docker'")
    with pytest.raises(OversshError, match=r"docker is missing for .*python.* install the package python3-docker"):
        docker_client.connect()


# As the kernel listed a manager's connections when its packets to another manager were dropped.
STUCK = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   4: 02001EAC:0949 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1462802 1 0 100 0 0 10 0
   5: 02001EAC:9E98 01001EAC:0949 01 00000000:00000000 02:00000210 00000000     0        0 1460388 2 0 20 4 22 18 -1
   6: 02001EAC:ADE0 01001EAC:0949 01 0000006E:00000000 04:00000094 00000000     0        3 1462823 3 0 20 4 28 16 -1
   7: 02001EAC:0016 01001EAC:A836 01 00000021:00000000 02:0000004E 00000000     0        0 1462821 2 0 22 4 11 18 -1
"""


def test_a_manager_that_acknowledges_nothing_is_found_among_the_connections():
    assert docker_client.unanswered(STUCK, {2377}) == [("172.30.0.1", 2377)]
    assert docker_client.unanswered(STUCK, {7946}) == []
    six = "0: 0:0 B80D01200000000067452301EFCDAB89:0949 01 00000001:00000000"
    assert docker_client.unanswered(six, {2377}) == [("2001:db8::123:4567:89ab:cdef", 2377)]


@pytest.fixture
def hasty(monkeypatch):
    """No call is waited for long."""
    monkeypatch.setattr(docker_client, "ALIVE_SECONDS", 0.2)


def test_a_question_without_an_answer_names_who_is_waited_for(engine, hasty, monkeypatch, tmp_path):
    listing = tmp_path / "tcp"
    listing.write_text(STUCK)
    monkeypatch.setattr(docker_client, "CONNECTIONS", (str(listing),))
    engine.silent = ("/info",)
    client = docker_client.connect(patience=0.1)
    started = time.monotonic()
    with pytest.raises(
        docker_client.SilentError, match=r"did not answer 'info' in time: Docker waits for the manager at 172"
    ):
        client.info()
    listing.write_text("")
    with pytest.raises(docker_client.SilentError, match=r"it waits for its swarm, .*'systemctl restart docker'"):
        client.info()
    assert time.monotonic() - started < 5


def test_a_question_is_not_waited_for_longer_than_its_wait(engine, hasty):
    engine.silent = ("/info",)
    client = docker_client.connect()
    started = time.monotonic()
    with client.at_most(0.3), pytest.raises(docker_client.SilentError):
        client.info()
    assert time.monotonic() - started < 5


def test_an_engine_that_answers_nothing_at_all_is_said_so(engine, hasty):
    engine.silent = ("/version", "/info")
    with pytest.raises(OversshError, match=r"takes connections and answers none; .*'systemctl restart docker'"):
        docker_client.connect(patience=0.1)
