# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's Docker engine, through the Docker SDK for Python, with errors that an operator can act on."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import re
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

from .._core.errors import OversshError
from .._core.files import read_text, readable
from .._core.wait import WaitError, wait_until

IMPORT_ERROR = ""
try:
    import docker
except ImportError as error:
    docker = None
    IMPORT_ERROR = str(error)

# The first engine whose swarm takes a data path port and an address pool (Docker 19.03).
OLDEST_API = (1, 40)
SOCKET = "/var/run/docker.sock"
# Seconds that one call may take. A sound engine answers questions at once, and waits at most 20 s for its managers;
# work takes longer, such as to leave a swarm.
ANSWER_SECONDS, WORK_SECONDS, ALIVE_SECONDS = 25.0, 60.0, 3.0
QUESTIONS = re.compile(r"info|version|nodes|tasks|services|networks|containers|images|inspect_\w+\Z")
# Where the kernel lists connections, and what it calls one that stands.
CONNECTIONS, ESTABLISHED = ("/proc/net/tcp", "/proc/net/tcp6"), "01"
MANAGERS_PORT = 2377
NOT_FOUND = 404

RESTART = "restart Docker with 'systemctl restart docker' when the containers on this host may be interrupted"
HANGS = f"the Docker engine on this host takes connections and answers none; see 'journalctl -u docker', and {RESTART}"
WAITS = f"it waits for its swarm, as where managers don't reach each other; {RESTART}"

Read = Callable[[str], "str | None"]


class DockerError(OversshError):
    """The engine's refusal in its own words; status is the HTTP status, 0 where the engine did not answer."""

    def __init__(self, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.status = status


class SilentError(DockerError):
    """The engine did not answer in time."""


class Docker:
    """The SDK's APIClient, whose exceptions all arrive as DockerError.

    Every method of docker.APIClient can be called. post() serves where the SDK's method lacks a field: its join has no
    availability, and version 5's init has no data path port.
    """

    def __init__(self, client: Any, answer: float = ANSWER_SECONDS) -> None:
        self._client = client
        self._answer = answer
        self._deadline: float | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._client.timeout = self._limit(name)
            with contextlib.suppress(SilentError):
                return _translated(lambda: found(*args, **kwargs))
            raise SilentError(self._silence(name))

        return call

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Post body as JSON to path; return the answer's JSON, None for an empty answer."""
        url = f"{self._client.base_url}/v{self._client.api_version}{path}"
        answer = _translated(lambda: self._client.post(url, json=dict(body), timeout=WORK_SECONDS))
        if answer.status_code >= 400:
            raise DockerError(_message(answer.text) or f"HTTP status {answer.status_code}", answer.status_code)
        return answer.json() if answer.text.strip() else None

    def _silence(self, name: str) -> str:
        """Why the engine did not answer this call."""
        self._client.timeout = ALIVE_SECONDS
        try:
            _translated(self._client.version)
        except DockerError:
            return HANGS
        said = f"the Docker engine on this host is alive, but did not answer '{name}' in time"
        return f"{said}: {stuck_manager() or WAITS}"

    @contextlib.contextmanager
    def at_most(self, seconds: float) -> Iterator[None]:
        """Limit the questions of this block to so many seconds in all; a later answer is a SilentError."""
        self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = None

    def _limit(self, name: str) -> float:
        """Seconds that a call may take."""
        if not QUESTIONS.match(name):
            return WORK_SECONDS
        left = ANSWER_SECONDS if self._deadline is None else self._deadline - time.monotonic()
        return min(self._answer, max(left, ALIVE_SECONDS))


def stuck_manager() -> str:
    """A sentence that names the manager this engine waits for; empty where none is known."""
    waits = unanswered("".join(map(readable, CONNECTIONS)), {MANAGERS_PORT, _own_port()})
    if not waits:
        return ""
    peer, port = waits[0]
    return (
        f"Docker waits for the manager at {peer}, which does not acknowledge what it is sent on port {port}; a "
        "firewall drops that, as one does that was loaded after the connection had begun; let these packets pass, end "
        f"the connection with 'ss -K dst {peer} dport = {port}', or {RESTART}"
    )


def unanswered(listing: str, ports: Container[int]) -> list[tuple[str, int]]:
    """Peers and ports of the connections in /proc/net/tcp that hold unacknowledged data."""
    found = []
    for line in listing.splitlines():
        words = line.split()
        if len(words) < 5 or words[3] != ESTABLISHED or int(words[4].partition(":")[0], 16) == 0:
            continue
        address, _colon, port = words[2].partition(":")
        if int(port, 16) in ports:
            # Each word of four bytes is in the order of this machine, which is little-endian wherever Docker runs.
            swapped = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
            found.append((str(ipaddress.ip_address(swapped)), int(port, 16)))
    return found


def connect(patience: float = ANSWER_SECONDS) -> Docker:
    """Connect to the engine on this host; patience: for how many seconds the caller would wait for an answer."""
    if docker is None:
        raise OversshError(
            f"the Python library docker is missing for {sys.executable} on this host ({IMPORT_ERROR}); "
            "install the package python3-docker"
        )
    answer = min(ANSWER_SECONDS, max(patience, ALIVE_SECONDS))
    try:
        client = docker.APIClient(version="auto", timeout=answer)
    except Exception as error:
        raise OversshError(_why_unreachable(error)) from error
    if _version(client.api_version) < OLDEST_API:
        raise OversshError(
            f"the Docker engine on this host speaks API {client.api_version}, which is too old for swarms as this "
            "collection makes them; install Docker 19.03 or later"
        )
    return Docker(client, answer)


def patiently(call: Callable[[], Any], passes: Callable[[str], bool], timeout: float) -> None:
    """Repeat the call while Docker refuses for a passing reason, at most timeout seconds."""
    refusals: list[DockerError] = []

    def done() -> bool:
        try:
            call()
        except DockerError as error:
            if not passes(str(error)):
                raise
            refusals.append(error)
            return False
        return True

    try:
        wait_until(done, timeout, "an end of Docker's refusals")
    except WaitError as error:
        raise refusals[-1] from error


def swarm_folder(info: Mapping[str, Any]) -> str:
    """The folder in which the engine keeps its swarm state; info: the engine's answer to "docker info"."""
    return f"{info.get('DockerRootDir') or '/var/lib/docker'}/swarm"


def swarm_record(info: Mapping[str, Any], read: Read = read_text) -> Mapping[str, Any]:
    """The engine's own record of its swarm.

    The record has the listening and data path addresses, which the API does not return. It is empty where the engine is
    in no swarm, and where the record can't be read.
    """
    try:
        found = json.loads(read(f"{swarm_folder(info)}/docker-state.json") or "{}")
    except (OversshError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def data_path_address(info: Mapping[str, Any], read: Read = read_text) -> str:
    """The address that VXLAN packets leave from; empty outside a swarm."""
    address = str((info.get("Swarm") or {}).get("NodeAddr") or "")
    return str(swarm_record(info, read).get("DataPathAddr") or address) if address else ""


def _translated(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except OversshError:
        raise
    except Exception as error:  # the SDK lets errors of requests and urllib3 through as they are
        response = getattr(error, "response", None)
        status = int(getattr(response, "status_code", 0) or 0)
        if not status and _timed_out(error):
            raise SilentError(HANGS) from error
        words = str(getattr(error, "explanation", None) or error).strip()
        raise DockerError(words if status else _why_unreachable(error), status) from error


def _timed_out(error: BaseException) -> bool:
    return any(isinstance(inner, TimeoutError) or "timed out" in str(inner).lower() for inner in _chain(error))


def _own_port() -> int:
    """The port of this node as a manager, which the other managers use too."""
    port = str(swarm_record({}, readable).get("ListenAddr") or "").rpartition(":")[2]
    return int(port) if port.isdigit() else MANAGERS_PORT


def _why_unreachable(error: BaseException) -> str:
    """Why the engine did not answer, from the system's own error somewhere in the chain of exceptions."""
    codes = {inner.errno for inner in _chain(error) if isinstance(inner, OSError) and inner.errno is not None}
    if codes & {errno.EACCES, errno.EPERM}:
        return f"this user may not use the Docker engine ({SOCKET}); set ansible_become: true"
    if codes & {errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET}:
        return (
            f"the Docker engine does not run on this host ({SOCKET} does not answer); install the package docker.io, "
            "or see 'systemctl status docker'"
        )
    if "http+docker" in str(error):
        return (
            f"the Python library docker {docker.__version__} does not work with this host's library requests "
            f"({error}); upgrade the package python3-docker"
        )
    if _timed_out(error):
        return HANGS
    return f"the Docker engine on this host did not answer: {error}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that it was made from: requests and urllib3 put causes among the arguments."""
    waiting, seen = [error], set()
    while waiting:
        inner = waiting.pop()
        if id(inner) in seen:
            continue
        seen.add(id(inner))
        yield inner
        causes = [inner.__cause__, inner.__context__, getattr(inner, "reason", None), *inner.args]
        waiting += [cause for cause in causes if isinstance(cause, BaseException)]


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return text.strip()


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
