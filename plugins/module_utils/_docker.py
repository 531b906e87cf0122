# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""This host's Docker engine through the docker SDK for Python, with errors that an operator can use."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ._errors import OversshError
from ._files import read_text
from ._wait import WaitError, wait_until

IMPORT_ERROR = ""
try:
    import docker
except ImportError as error:
    docker = None
    IMPORT_ERROR = str(error)

# The first engine whose swarm takes a data path port and an address pool (Docker 19.03).
OLDEST_API = (1, 40)
SOCKET = "/var/run/docker.sock"
NOT_FOUND = 404

Read = Callable[[str], "str | None"]


class DockerError(OversshError):
    """The engine refused, in its own words; status is the HTTP status, 0 where it did not answer at all."""

    def __init__(self, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.status = status


class Docker:
    """The SDK's APIClient as it is, but whatever a call raises arrives as DockerError.

    Every method of docker.APIClient can be called on it. post() serves where the SDK's own method lacks a field: its
    join has no availability, and the init of version 5 has no data path port.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            return _translated(lambda: found(*args, **kwargs))

        return call

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Post body as JSON to path, and return the answer's JSON, None where it is empty."""
        url = f"{self._client.base_url}/v{self._client.api_version}{path}"
        answer = _translated(lambda: self._client.post(url, json=dict(body), timeout=self._client.timeout))
        if answer.status_code >= 400:
            raise DockerError(_message(answer.text) or f"HTTP status {answer.status_code}", answer.status_code)
        return answer.json() if answer.text.strip() else None


def connect(timeout: float = 60) -> Docker:
    """The engine on this host; timeout: how many seconds one call may take."""
    if docker is None:
        raise OversshError(
            f"the Python library docker is missing for {sys.executable} on this host ({IMPORT_ERROR}); "
            "install the package python3-docker"
        )
    try:
        client = docker.APIClient(version="auto", timeout=timeout)
    except Exception as error:
        raise OversshError(_why_unreachable(error)) from error
    if _version(client.api_version) < OLDEST_API:
        raise OversshError(
            f"the Docker engine on this host speaks API {client.api_version}, which is too old for swarms as this "
            "collection makes them; install Docker 19.03 or later"
        )
    return Docker(client)


def patiently(call: Callable[[], Any], passes: Callable[[str], bool], timeout: float) -> None:
    """Call again while Docker refuses for a reason that passes by itself, at most timeout seconds."""
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
    """Where the engine keeps its part of a swarm; info: its answer to "docker info"."""
    return f"{info.get('DockerRootDir') or '/var/lib/docker'}/swarm"


def swarm_record(info: Mapping[str, Any], read: Read = read_text) -> Mapping[str, Any]:
    """The engine's own record of how it entered its swarm: its API keeps the listening and data path addresses back.

    Empty where it is in none, or where the record can't be read.
    """
    try:
        found = json.loads(read(f"{swarm_folder(info)}/docker-state.json") or "{}")
    except (OversshError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def data_path_address(info: Mapping[str, Any], read: Read = read_text) -> str:
    """The address that VXLAN packets leave from; empty in no swarm."""
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
        words = str(getattr(error, "explanation", None) or error).strip()
        raise DockerError(words if status else _why_unreachable(error), status) from error


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
    if "timed out" in str(error).lower():
        return "the Docker engine on this host did not answer in time; see 'systemctl status docker'"
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
