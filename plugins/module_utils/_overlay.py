# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Overlay networks on a manager of the swarm: made, waited for, removed, and told of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._addresses import read_devices, read_routes, smallest_mtu
from ._command import Runner
from ._docker import NOT_FOUND, Docker, DockerError, swarm_record
from ._errors import OversshError
from ._main import Engine
from ._overlay_model import VXLAN_IDS, Desired, Observed, OverlayNetwork, network_of
from ._overlay_plan import plan_network, refuse_overlap
from ._plan import Plan, Step
from ._wait import WaitError, wait_until

# How the engine says that containers or services still use a network.
IN_USE = ("in use by", "active endpoints")
ENDED = {"complete", "shutdown", "failed", "rejected", "remove", "orphaned"}


class Overlay(Engine[Observed]):
    """One overlay network, by name. rehearsal: check mode, where there may be no swarm yet."""

    def __init__(
        self, docker: Docker, run: Runner, desired: Desired, timeout: float, wait: bool = True, rehearsal: bool = False
    ) -> None:
        self._docker = docker
        self._run = run
        self._desired = desired
        self._timeout = timeout
        self._wait = wait
        self._rehearsal = rehearsal

    def observe(self) -> Observed:
        """The network, its neighbours, and what lies under it."""
        info = self._docker.info()
        swarm = info.get("Swarm") or {}
        networks = [network_of(found) for found in self._docker.networks()]
        same = [one for one in networks if one.name == self._desired.name]
        # A local network can have the same name on one host; the swarm's own is the one that is meant.
        mine = next((one for one in same if one.scope == "swarm"), same[0] if same else None)
        address = data_path_address(info)
        return Observed(
            manager=bool(swarm.get("ControlAvailable")),
            state=swarm.get("LocalNodeState") or "inactive",
            rehearsal=self._rehearsal,
            network=mine,
            others=tuple(one for one in networks if mine is None or one.network_id != mine.network_id),
            routes=read_routes(self._run),
            data_path_addr=address,
            underlay_mtu=smallest_mtu(read_devices(self._run), address) if address else None,
        )

    def plan(self, observed: Observed) -> Plan:
        """See plan_network."""
        return plan_network(self._desired, observed)

    def perform(self, step: Step) -> None:
        """Ask the engine; it makes a network whole, or refuses."""
        if step.action == "create":
            self._docker.post("/networks/create", step.args["body"])
        else:
            self._remove(step.args["name"], step.args["network_id"])

    def wait(self) -> None:
        """The engine says "created" before the swarm has found a subnet for it, and never says if it finds none."""
        if not self._wait or self._desired.state == "absent":
            return
        name = self._desired.name
        try:
            found = wait_until(self._allocated, self._timeout, f"the allocation of a subnet for the network {name}")
        except WaitError as error:
            raise OversshError(
                f"{error}; another network of the swarm has its subnet or its VXLAN ID, or the pool is used up: see "
                "'docker network ls' on a manager"
            ) from error
        refuse_overlap(name, list(found.subnets), self._desired.underlay, self.observe())

    def result(self, observed: Observed) -> dict[str, Any]:
        """The network, or None where there is none."""
        found = observed.network
        return {"network": network_result(found) if found and found.is_overlay else None}

    def _allocated(self) -> OverlayNetwork | None:
        found = self.observe().network
        return found if found and found.allocated else None

    def _remove(self, name: str, network_id: str | None) -> None:
        """Wait for those who use it, and then for the copy that this engine keeps while a container of its own ends."""
        wanted = network_id or name

        def removed() -> bool:
            try:
                self._docker.remove_network(wanted)
            except DockerError as error:
                if any(words in str(error) for words in IN_USE):
                    return False
                if error.status != NOT_FOUND:
                    raise
            return not any(wanted in (one["Id"], one["Name"]) for one in self._docker.networks())

        try:
            wait_until(removed, self._timeout, f"the end of all use of the network {name}")
        except WaitError as error:
            users = endpoints(self._docker, wanted)
            named = ", ".join(_user(one) for one in users) or "a task that the managers don't list any more"
            raise OversshError(f"{error}; it is used by {named}: remove what uses it, and run this again") from error


def data_path_address(info: Mapping[str, Any]) -> str:
    """The address that VXLAN packets leave from; empty in no swarm."""
    address = str((info.get("Swarm") or {}).get("NodeAddr") or "")
    return str(swarm_record(info).get("DataPathAddr") or address) if address else ""


def endpoints(docker: Docker, network: str) -> list[dict[str, Any]]:
    """What is attached to the network anywhere in the swarm; only managers know.

    Containers attached by hand are tasks too, of the runtime "attachment", and hidden unless asked for.
    """
    try:
        network_id = docker.inspect_network(network)["Id"]
    except DockerError as error:
        if error.status == NOT_FOUND:
            return []
        raise
    nodes = {node["ID"]: (node.get("Description") or {}).get("Hostname") or node["ID"] for node in docker.nodes()}
    services = {service["ID"]: service["Spec"]["Name"] for service in docker.services()}
    tasks = [*docker.tasks(), *docker.tasks(filters={"runtime": "attachment"})]
    found = [_endpoint(task, network_id, nodes, services) for task in tasks]
    return sorted(
        (one for one in found if one is not None), key=lambda one: (one["node"], one["service"], one["container"])
    )


def is_manager(docker: Docker) -> bool:
    """Whether this engine may change networks of the swarm, and knows what is attached to them."""
    return bool((docker.info().get("Swarm") or {}).get("ControlAvailable"))


def list_overlays(docker: Docker, manager: bool, name: str | None = None) -> list[dict[str, Any]]:
    """All overlay networks that this engine knows, with their endpoints where it is a manager."""
    listed = []
    for found in docker.networks():
        network = network_of(found)
        if not network.is_overlay or name not in (None, network.name):
            continue
        peers = docker.inspect_network(network.network_id).get("Peers") or []
        listed.append(
            {
                **network_result(network),
                "peers": sorted(peer["IP"] for peer in peers if peer.get("IP")),
                "endpoints": endpoints(docker, network.network_id) if manager else [],
            }
        )
    return sorted(listed, key=lambda one: str(one["name"]))


def network_result(network: OverlayNetwork) -> dict[str, Any]:
    """A network as return values."""
    return {
        "name": network.name,
        "id": network.network_id,
        "managed": network.ours,
        "allocated": network.allocated,
        "ingress": network.ingress,
        "subnet": network.subnet,
        "gateway": network.gateway,
        "ip_range": network.ip_range,
        "attachable": network.attachable,
        "internal": network.internal,
        "encrypted": network.encrypted,
        "mtu": network.mtu,
        "container_mtu": network.container_mtu,
        "vxlan_id": _vxlan_id(network),
        "labels": dict(network.labels),
        "options": dict(network.options),
    }


def _vxlan_id(network: OverlayNetwork) -> int | None:
    first = (network.options.get(VXLAN_IDS) or "").split(",")[0]
    return int(first) if first.isdigit() else None


def _endpoint(
    task: Mapping[str, Any], network_id: str, nodes: Mapping[str, str], services: Mapping[str, str]
) -> dict[str, Any] | None:
    spec, status = task.get("Spec") or {}, task.get("Status") or {}
    attached = [
        one for one in task.get("NetworksAttachments") or [] if (one.get("Network") or {}).get("ID") == network_id
    ]
    asked = any(one.get("Target") == network_id for one in spec.get("Networks") or [])
    if not (attached or asked) or (status.get("State") in ENDED and task.get("DesiredState") in ENDED):
        return None
    container = (spec.get("NetworkAttachmentSpec") or {}).get("ContainerID") or (
        status.get("ContainerStatus") or {}
    ).get("ContainerID")
    return {
        "task": task["ID"],
        "service": services.get(task.get("ServiceID") or "", task.get("ServiceID") or ""),
        "container": (container or "")[:12],
        "node": nodes.get(task.get("NodeID") or "", task.get("NodeID") or ""),
        "addresses": [address for one in attached for address in one.get("Addresses") or []],
        "state": status.get("State") or "",
    }


def _user(endpoint: Mapping[str, Any]) -> str:
    what = f"service {endpoint['service']}" if endpoint["service"] else f"container {endpoint['container']}"
    return f"{what} on {endpoint['node'] or 'no node'} (task {endpoint['task']}, {endpoint['state']})"
