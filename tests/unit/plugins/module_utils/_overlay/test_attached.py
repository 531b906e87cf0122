# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network that is made anew: what is on it is taken off before and put back after, or all is undone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import apply
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import DockerError
from ansible_collections.overssh.swarm.plugins.module_utils._linux.devices import Address, Device
from ansible_collections.overssh.swarm.plugins.module_utils._overlay import engine as overlay_engine
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.engine import OverlayNetworkEngine
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.model import MANAGED, MTU, desired_of

OTHER = {"Target": "other"}
# As the engine answers.
NETWORK: dict[str, Any] = {
    "Name": "o1",
    "Id": "net0",
    "Scope": "swarm",
    "Driver": "overlay",
    "IPAM": {"Config": [{"Subnet": "10.200.0.0/24", "Gateway": "10.200.0.1"}]},
    "Attachable": True,
    "Internal": False,
    "Options": {MTU: "1500"},
    "Labels": {MANAGED: "true"},
}
CONNECTION = {
    "IPAMConfig": {"IPv4Address": "10.200.0.9"},
    "Aliases": ["db"],
    "Links": None,
    "NetworkID": "net0",
    "IPAddress": "10.200.0.9",
}


class Swarm:
    """A manager's engine with services and containers, that uses nothing it has been taken off. refuses: a path."""

    def __init__(self, refuses: str = "", stale: int = 0) -> None:
        self.found = [copy.deepcopy(NETWORK)]
        self.made = 0
        self.refuses, self.stale = refuses, stale
        entry = {"Target": "net0", "Aliases": ["www"]}
        self.specs: dict[str, dict[str, Any]] = {
            "s1": {
                "Name": "web",
                "TaskTemplate": {"Networks": [OTHER, entry], "ForceUpdate": 3},
                "Mode": {"Global": {}},
            },
            "s2": {"Name": "far", "TaskTemplate": {"Networks": [OTHER]}},
            "s3": {"Name": "bare", "TaskTemplate": {}},
        }
        self.connections: dict[str, dict[str, Any]] = {"c1": {"o1": copy.deepcopy(CONNECTION)}, "c2": {}}

    def info(self) -> dict[str, Any]:
        swarm = {"LocalNodeState": "active", "ControlAvailable": True, "NodeAddr": "172.30.0.1"}
        return {"Swarm": swarm, "DockerRootDir": "/nowhere"}

    def networks(self) -> list[dict[str, Any]]:
        return self.found

    def _named(self, wanted: str) -> dict[str, Any]:
        for one in self.found:
            if wanted in (one["Id"], one["Name"]):
                return one
        raise DockerError(f"network {wanted} not found", 404)

    def inspect_network(self, wanted: str) -> dict[str, Any]:
        return self._named(wanted)

    def services(self) -> list[dict[str, Any]]:
        return [self.inspect_service(ident) for ident in self.specs]

    def inspect_service(self, ident: str) -> dict[str, Any]:
        return {"ID": ident, "Spec": self.specs[ident], "Version": {"Index": 7}}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"ID": "n2", "Description": {"Hostname": "edge1"}}]

    def tasks(self, filters: Any = None) -> list[dict[str, Any]]:
        if filters:
            return []
        attachment = {"Network": {"ID": "net0"}, "Addresses": ["10.200.0.2/24"]}
        task = {
            "ID": "t1",
            "ServiceID": "s1",
            "NodeID": "n2",
            "Status": {"State": "running"},
            "DesiredState": "running",
        }
        return [{**task, "NetworksAttachments": [attachment]}]

    def containers(self, **_asked: Any) -> list[dict[str, Any]]:
        return [{"Id": "c1", "Labels": {}}, {"Id": "c3", "Labels": {"com.docker.swarm.task.id": "t1"}}]

    def inspect_container(self, ident: str) -> dict[str, Any]:
        return {"Name": "/store", "NetworkSettings": {"Networks": self.connections[ident]}}

    def remove_network(self, wanted: str) -> None:
        network = self._named(wanted)
        used = [spec for spec in self.specs.values() if self._uses(spec, network["Id"])]
        if used or any("o1" in connections for connections in self.connections.values()):
            raise DockerError(f"network {wanted} is in use by service", 400)
        self.found.remove(network)

    @staticmethod
    def _uses(spec: Mapping[str, Any], network_id: str) -> bool:
        return any(entry["Target"] == network_id for entry in spec["TaskTemplate"].get("Networks", []))

    def post(self, path: str, body: dict[str, Any]) -> None:
        if self.refuses and path.startswith(self.refuses) and (body.get("Internal") or "create" not in path):
            raise DockerError("the disk is full", 500)
        _nothing, what, ident, *_rest = path.split("/")
        if what == "services":
            if self.stale:
                self.stale -= 1
                raise DockerError("rpc error: update out of sequence", 500)
            assert path == f"/services/{ident}/update?version=7"
            for entry in body["TaskTemplate"]["Networks"]:
                entry["Target"] = "other" if entry["Target"] == "other" else self._named(entry["Target"])["Id"]
            self.specs[ident] = body
        elif path == "/networks/create":
            self.made += 1
            self.found.append({**copy.deepcopy(body), "Id": f"net{self.made}"})
        elif path.endswith("/connect"):
            self.connections[body["Container"]]["o1"] = {
                **body["EndpointConfig"],
                "NetworkID": self._named(ident)["Id"],
            }
        else:
            assert path.endswith("/disconnect")
            assert self.connections[body["Container"]].pop("o1")["NetworkID"] == self._named(ident)["Id"]

    def state(self) -> tuple[Any, ...]:
        """Where everything is, by the network's own settings and not by its ID."""
        ids = {one["Id"]: one.get("Internal") for one in self.found}
        targets = [
            [
                (ids.get(entry["Target"], entry["Target"]), entry.get("Aliases"))
                for entry in spec["TaskTemplate"]["Networks"]
            ]
            for spec in self.specs.values()
            if "Networks" in spec["TaskTemplate"]
        ]
        connection = self.connections["c1"]["o1"]
        return targets, ids[connection["NetworkID"]], connection["IPAMConfig"], connection["Aliases"]


def run(argv: Any, data: str | None = None, check: bool = True) -> Answer:
    return Answer(0, "[]", "")


@pytest.fixture(autouse=True)
def _tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (Device("tun1002", 1500, addresses=(Address("172.30.0.1", 32),)),)
    monkeypatch.setattr(overlay_engine, "read_devices", lambda: found)


def engine(docker: Any, **more: Any) -> OverlayNetworkEngine:
    return OverlayNetworkEngine(
        docker, run, desired_of({"name": "o1", "subnet": "10.200.0.0/24", "internal": True, **more}), 0.3
    )


def test_what_is_on_a_network_is_taken_off_and_put_back() -> None:
    docker = Swarm()
    recreating = engine(docker, on_change="recreate")
    plan = recreating.plan(recreating.observe())
    assert plan.labels == [
        "take the service web off o1",
        "take the container store off o1",
        "remove the overlay network o1",
        "make the overlay network o1 on 10.200.0.0/24",
        "put the container store back on o1",
        "put the service web back on o1",
    ]
    apply(plan, recreating.perform)
    targets = [[("other", None), (True, ["www"])], [("other", None)]]
    assert docker.state() == (targets, True, {"IPv4Address": "10.200.0.9"}, ["db"])
    assert docker.specs["s1"]["TaskTemplate"]["ForceUpdate"] == 3
    assert docker.specs["s1"]["Mode"] == {"Global": {}}
    assert not recreating.plan(recreating.observe()).changed


@pytest.mark.parametrize("refuses", ["/networks/net0/disconnect", "/networks/create", "/networks/o1/connect"])
def test_everything_is_put_back_where_a_step_fails(refuses: str) -> None:
    class OnceFull(Swarm):
        def post(self, path: str, body: dict[str, Any]) -> None:
            try:
                super().post(path, body)
            except DockerError:
                self.refuses = ""
                raise

    docker = OnceFull(refuses)
    before = docker.state()
    recreating = engine(docker, on_change="recreate")
    with pytest.raises(OversshError, match=r"the disk is full \(everything done before was rolled back\)"):
        apply(recreating.plan(recreating.observe()), recreating.perform)
    assert docker.state() == before


def test_a_container_keeps_its_address_where_the_new_network_has_it() -> None:
    docker = Swarm()
    recreating = engine(docker, subnet="10.200.7.0/24", internal=False, on_change="recreate")
    apply(recreating.plan(recreating.observe()), recreating.perform)
    assert docker.connections["c1"]["o1"] == {"Aliases": ["db"], "NetworkID": "net1"}


def test_a_new_network_is_waited_for_before_anything_is_put_back_on_it() -> None:
    class Slow(Swarm):
        looks, asked = 0, 0

        def networks(self) -> list[dict[str, Any]]:
            self.looks += self.made
            late = [{**one, "Driver": ""} for one in self.found]
            return late if self.made and self.looks < 3 else self.found

        def post(self, path: str, body: dict[str, Any]) -> None:
            if path == "/networks/o1/connect":
                assert self.looks >= 3
                self.asked += 1
                if self.asked < 3:
                    raise DockerError("network o1 not found", 404)
            super().post(path, body)

    docker = Slow()
    recreating = engine(docker, on_change="recreate")
    apply(recreating.plan(recreating.observe()), recreating.perform)
    assert docker.connections["c1"]["o1"]["NetworkID"] == "net1"


def test_a_network_that_gets_no_subnet_gives_way_to_the_old_one() -> None:
    class Never(Swarm):
        def networks(self) -> list[dict[str, Any]]:
            return [{**one, "Driver": "" if one.get("Internal") else "overlay"} for one in self.found]

    docker = Never()
    before = docker.state()
    recreating = engine(docker, on_change="recreate")
    with pytest.raises(OversshError, match=r"container store back on o1: the allocation of a subnet .* rolled back\)"):
        apply(recreating.plan(recreating.observe()), recreating.perform)
    assert docker.state() == before


def test_a_service_that_was_changed_meanwhile_is_read_again() -> None:
    docker = Swarm(stale=3)
    recreating = engine(docker, on_change="recreate")
    apply(recreating.plan(recreating.observe()), recreating.perform)
    assert docker.stale == 0
    docker = Swarm(stale=1000)
    recreating = engine(docker, on_change="recreate")
    with pytest.raises(OversshError, match="the service is changed all the time"):
        apply(recreating.plan(recreating.observe()), recreating.perform)


def test_without_consent_all_that_uses_the_network_is_named() -> None:
    failing = engine(Swarm())
    with pytest.raises(OversshError) as caught:
        failing.plan(failing.observe())
    assert "its internal is off, not on" in str(caught.value)
    assert "it is used by service web on edge1 (task t1, running), of which services and the" in str(caught.value)


def test_nobody_looks_for_users_where_nothing_is_to_change() -> None:
    assert engine(Swarm(), internal=False).observe().users == ()
    assert engine(Swarm(), state="absent").observe().attached == ()
