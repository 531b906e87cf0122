# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of overlay_probe: a throwaway container on an overlay network that sends and answers probes.

No image is pulled. The image is an empty one, and the host's own /usr is mounted read-only, so that the host's Python
runs. The container has no capability, no writable file and no right to gain any.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._core.engine import Engine, performs
from .._core.errors import OversshError
from .._core.files import read_text, remove, remove_empty_folder, write_text
from .._core.plan import Plan, Step
from .._core.program import source_of
from .._core.wait import wait_until
from .._docker.client import patiently
from . import agent as probe_agent

# A service's image is asked of a registry, unless it is known by its ID, which is not the same on all nodes. Nobody
# answers on this one, so the node's own is taken at once, and nothing is asked outside.
IMAGE = "127.0.0.1:1/overssh-verify"
TAG = "latest"
LABEL = "overssh.verify"
# The engine's message where the swarm has not announced a network to it within 20 s (daemon/container_operations.go).
NOT_ATTACHED = ("attaching to network failed", "context deadline exceeded")
# And when the network that it knew goes with the last container there, just as the next one comes.
NETWORK_GOES = re.compile(r"network \S+ not found")
FOLDER = "/run/overssh/verify"
AGENT = f"{FOLDER}/agent.py"
INSIDE = "/overssh"
# The link in the image that leads to this host's Python: a service has one command for all hosts.
PYTHON = "/overssh-python"
NOBODY = "65534:65534"
# A peer to be measured, as an argument of a module.
PEER = {name: {"type": "str", "required": True} for name in ("name", "host", "address")}
# And a service.
SERVICE = {
    "name": {"type": "str", "required": True},
    "endpoint_mode": {"type": "str", "choices": ["vip", "dnsrr"], "required": True},
    "address": {"type": "str", "required": True},
    "tasks": {"type": "list", "elements": "dict", "required": True},
    "published": {"type": "list", "elements": "dict", "default": []},
}
# Where a host keeps programs and libraries besides /usr: folders of their own, or links into /usr.
USERLAND = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True)
class Desired:
    """The desired probe: its name and its network, or no probe."""

    name: str
    network: str | None


@dataclass(frozen=True)
class Observed:
    """The observed probe.

    container: its id, None for no container; ours: it has our label; running_on: the networks of a running one;
    address: on the desired network; image: our image exists; agent: the text of its program.
    """

    container: str | None = None
    ours: bool = True
    running_on: tuple[str, ...] = ()
    address: str = ""
    image: bool = False
    agent: str | None = None


def plan_probe(desired: Desired, observed: Observed, agent: str) -> Plan:
    """The steps to a running probe, or to no trace of it; a stale container is replaced, a foreign one never."""
    if observed.container and not observed.ours and desired.network is not None:
        raise OversshError(
            f"a container named {desired.name} exists that overssh.swarm did not make; rename it or remove it with "
            f"'docker rm -f {desired.name}'"
        )
    before = {"container": observed.container is not None, "networks": list(observed.running_on)}
    if desired.network is None:
        return Plan(before, {"container": False, "networks": []}, tuple(_removal(desired, observed)))
    after = {"container": True, "networks": [desired.network]}
    if desired.network in observed.running_on and observed.agent == agent:
        return Plan(before, after)
    steps: list[Step] = []
    if observed.container:
        steps.append(Step("remove_container", f"remove the stale container {desired.name}"))
    if observed.agent != agent:
        steps.append(Step("write_agent", f"write {AGENT}", inverse=Step("remove_agent", f"remove {AGENT}")))
    if not observed.image:
        steps.append(
            Step(
                "make_image", f"make the empty image {IMAGE}", inverse=Step("remove_image", f"remove the image {IMAGE}")
            )
        )
    steps.append(
        Step(
            "start_container",
            f"start the container {desired.name} on {desired.network}",
            inverse=Step("remove_container", f"remove the container {desired.name}"),
        )
    )
    return Plan(before, after, tuple(steps))


def _removal(desired: Desired, observed: Observed) -> list[Step]:
    steps = []
    if observed.container and observed.ours:
        steps.append(Step("remove_container", f"remove the container {desired.name}"))
    if observed.image:
        steps.append(Step("remove_image", f"remove the image {IMAGE}"))
    if observed.agent is not None:
        steps.append(Step("remove_agent", f"remove {AGENT}"))
    return steps


def empty_image(links: Mapping[str, str]) -> bytes:
    """A tar of a root file system that holds only symbolic links; links: targets by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, target in sorted({"overssh-verify": "usr", **links}.items()):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.SYMTYPE
            entry.linkname = target
            archive.addfile(entry)
    return buffer.getvalue()


def userland(root: str = "/") -> tuple[dict[str, str], list[str]]:
    """The host's links into /usr, and the other folders that a container needs mounted."""
    links: dict[str, str] = {}
    folders = [os.path.join(root, "usr")]
    for name in USERLAND:
        path = os.path.join(root, name)
        if os.path.islink(path):
            links[name] = os.readlink(path).lstrip("/")
        elif os.path.isdir(path):
            folders.append(path)
    return links, folders


def python_folders(prefixes: Sequence[str], mounted: Sequence[str]) -> list[str]:
    """The folders of this Python outside the mounted folders."""
    found: list[str] = []
    for prefix in prefixes:
        if not any(prefix == folder or prefix.startswith(folder + "/") for folder in [*mounted, *found]):
            found.append(prefix)
    return found


class OverlayProbeEngine(Engine[Observed]):
    """The probe of this host."""

    def __init__(
        self,
        docker: Any,
        desired: Desired,
        timeout: float | None,
        answer: Mapping[str, Any] | None = None,
        missing: Callable[[], list[str]] = list,
    ) -> None:
        """timeout: seconds to wait for the container to be on its network; None: don't wait.

        answer: further return values. missing: returns Docker's missing firewall rules; the engine restores some of
        them when it starts a container.
        """
        self._answer = dict(answer or {})
        self._missing = missing
        self._docker = docker
        self._desired = desired
        self._timeout = timeout
        self._agent = source_of(probe_agent.__name__)

    def observe(self) -> Observed:
        """The probe of this name."""
        found = self._docker.containers(all=True, filters={"name": f"^/{self._desired.name}$"})
        images = self._docker.images(name=f"{IMAGE}:{TAG}")
        agent = read_text(AGENT)
        if not found:
            return Observed(image=bool(images), agent=agent)
        summary = found[0]
        networks = (summary.get("NetworkSettings") or {}).get("Networks") or {}
        here = networks.get(self._desired.network or "") or {}
        return Observed(
            container=summary["Id"],
            ours=LABEL in (summary.get("Labels") or {}),
            running_on=tuple(networks) if summary.get("State") == "running" else (),
            address=here.get("IPAddress", ""),
            image=bool(images),
            agent=agent,
        )

    def plan(self, observed: Observed) -> Plan:
        """The plan of plan_probe."""
        return plan_probe(self._desired, observed, self._agent)

    @performs("write_agent")
    def _write_agent(self) -> None:
        write_text(AGENT, self._agent)

    @performs("remove_agent")
    def _remove_agent(self) -> None:
        _remove_agent()

    @performs("remove_image")
    def _remove_image(self) -> None:
        self._docker.remove_image(f"{IMAGE}:{TAG}", force=True)

    @performs("remove_container")
    def _remove_container(self) -> None:
        self._docker.remove_container(self._desired.name, force=True, v=True)

    @performs("make_image")
    def _make_image(self) -> None:
        links = {**userland()[0], PYTHON.lstrip("/"): os.path.realpath(sys.executable).lstrip("/")}
        self._docker.import_image_from_data(empty_image(links), repository=IMAGE, tag=TAG)

    @performs("start_container")
    def _start_container(self) -> None:
        _links, folders = userland()
        folders += python_folders((sys.prefix, sys.base_prefix), folders)
        cache = ["/etc/ld.so.cache"] if os.path.exists("/etc/ld.so.cache") else []
        network = self._desired.network
        container = self._docker.create_container(
            f"{IMAGE}:{TAG}",
            command=[sys.executable, "-I", f"{INSIDE}/agent.py", "serve"],
            name=self._desired.name,
            labels={LABEL: "true"},
            user=NOBODY,
            host_config=self._docker.create_host_config(
                network_mode=network,
                binds=[f"{FOLDER}:{INSIDE}:ro", *(f"{path}:{path}:ro" for path in [*folders, *cache])],
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges", "label=disable"],
                pids_limit=64,
            ),
            networking_config=self._docker.create_networking_config({network: self._docker.create_endpoint_config()}),
        )
        before = self._missing()
        try:
            self._start(container["Id"])
        except OversshError:
            self._docker.remove_container(container["Id"], force=True, v=True)
            raise
        if before:
            after = self._missing()
            self._answer["restored"] = [rule for rule in before if rule not in after]
            self._answer["missing"] = after

    def _start(self, container: str) -> None:
        """Until the swarm attaches it; managers may be busy, or the engine still letting go of the one before."""
        patiently(lambda: self._docker.start(container), _passes, self._timeout or 0)

    def wait(self) -> None:
        """Wait until the container runs and has an address on the network."""
        if self._desired.network is None or self._timeout is None:
            return

        def settled() -> bool:
            found = self.observe()
            if not found.running_on:
                words = self._docker.logs(self._desired.name, tail=3).decode(errors="replace").strip()
                raise OversshError(f"the container {self._desired.name} ended: {words or 'it said nothing'}")
            return bool(found.address)

        wait_until(settled, self._timeout, f"{self._desired.name} getting an address on {self._desired.network}")

    def in_effect(self, observed: Observed) -> bool:
        """Whether the container has its address, or is removed."""
        return self._desired.network is None or self._timeout is None or bool(observed.address)

    def result(self, observed: Observed) -> dict[str, Any]:
        """The container and its address."""
        return {"container": self._desired.name, "address": observed.address, **self._answer}


def _passes(refusal: str) -> bool:
    return all(words in refusal for words in NOT_ATTACHED) or bool(NETWORK_GOES.search(refusal))


def _remove_agent() -> None:
    remove(AGENT)
    remove_empty_folder(FOLDER)
    remove_empty_folder(os.path.dirname(FOLDER))
