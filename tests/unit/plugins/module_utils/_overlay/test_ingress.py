# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ingress network: when it is made anew, what is kept, and which nodes take part in it."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import apply, undo
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import DockerError
from ansible_collections.overssh.swarm.plugins.module_utils._linux.devices import Address, Device
from ansible_collections.overssh.swarm.plugins.module_utils._overlay import engine as overlay_engine
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.engine import OverlayNetworkEngine
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.ingress import LABEL, nodes_without, publishers
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.model import (
    MANAGED,
    MTU,
    Desired,
    Observed,
    Subnet,
    network_of,
)
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.mtu import remarks
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.plan import plan_network

VXLAN = "com.docker.network.driver.overlay.vxlanid_list"
# As a manager lists it in a new swarm.
NEW: dict = {
    "Name": "ingress",
    "Id": "old",
    "Scope": "swarm",
    "Driver": "overlay",
    "IPAM": {"Driver": "default", "Options": None, "Config": [{"Subnet": "10.201.0.0/24", "Gateway": "10.201.0.1"}]},
    "Internal": False,
    "Attachable": False,
    "Ingress": True,
    "Options": {VXLAN: "4096"},
    "Labels": {},
}
WANTED = Desired(name="ingress", ingress=True, underlay="172.30.0.0/16", on_change="recreate")
CAREFUL = dataclasses.replace(WANTED, on_change="fail")
FITS = Observed(
    manager=True, state="active", network=network_of(NEW), data_path_addr="172.30.0.1", underlay_mtu=1500
)  # fmt: skip


def with_mtu(mtu, **more):
    return dataclasses.replace(FITS, underlay_mtu=mtu, **more)


def test_one_that_fits_is_left_alone():
    assert not plan_network(WANTED, FITS).changed
    assert remarks(WANTED, FITS) == []


@pytest.mark.parametrize("mtu", [1300, 65000])
def test_it_is_made_anew_with_its_addresses_and_another_vxlan_id(mtu):
    plan = plan_network(WANTED, with_mtu(mtu))
    assert plan.labels == ["remove the overlay network ingress", "make the overlay network ingress on 10.201.0.0/24"]
    body = plan.steps[1].args["body"]
    assert body["IPAM"]["Config"] == [{"Subnet": "10.201.0.0/24", "Gateway": "10.201.0.1"}]
    assert (body["Ingress"], body["Attachable"]) == (True, False)
    assert body["Options"] == {MTU: str(mtu)}
    assert body["Labels"] == {MANAGED: "true"}
    again = plan.inverse[-1].args["body"]
    assert (again["Ingress"], again["Options"], again["Labels"]) == (True, {}, {})
    assert again["IPAM"] == body["IPAM"]


def test_what_the_operator_set_on_it_is_kept():
    own = {**NEW, "Name": "mesh", "Options": {"encrypted": "", "x": "y", VXLAN: "5000"}, "Labels": {"team": "a"}}
    body = plan_network(WANTED, with_mtu(1300, network=network_of(own))).steps[1].args["body"]
    assert body["Name"] == "mesh"
    assert body["Options"] == {MTU: "1300", "encrypted": "", "x": "y"}
    assert body["Labels"] == {"team": "a", MANAGED: "true"}


def test_a_subnet_that_is_asked_for_is_a_difference_like_any_other():
    desired = dataclasses.replace(WANTED, subnets=(Subnet("10.77.0.0/24"),))
    body = plan_network(desired, FITS).steps[1].args["body"]
    assert body["IPAM"]["Config"] == [{"Subnet": "10.77.0.0/24"}]
    with pytest.raises(OversshError, match=r"its subnet is 10\.201\.0\.0/24, not 10\.77\.0\.0/24"):
        plan_network(dataclasses.replace(desired, on_change="fail"), FITS)


def test_without_consent_a_smaller_one_stays_and_a_larger_one_is_an_error():
    assert not plan_network(CAREFUL, with_mtu(9000)).changed
    assert "ingress has an MTU of 1500 where 9000 fits" in remarks(CAREFUL, with_mtu(9000))[0]
    with pytest.raises(OversshError, match=r"only 1300 fits .* on_change: recreate .* once no service publishes ports"):
        plan_network(CAREFUL, with_mtu(1300))


def test_services_that_publish_through_it_keep_it():
    used = {"publishers": ("api", "web")}
    assert not plan_network(WANTED, with_mtu(9000, **used)).changed
    assert "once no service publishes ports through it (api, web now)" in remarks(WANTED, with_mtu(9000, **used))[0]
    with pytest.raises(OversshError) as caught:
        plan_network(WANTED, with_mtu(1300, **used))
    assert "its mtu is 1500 where only 1300 fits through the underlay" in str(caught.value)
    assert "as now api, web; have them publish in mode host" in str(caught.value)
    with pytest.raises(OversshError, match="can't be removed while services publish ports through it, as now api, web"):
        plan_network(dataclasses.replace(WANTED, state="absent"), with_mtu(1500, **used))


@pytest.mark.parametrize(("mtus", "changed"), [((), False), ((1500,), False), ((65000, 1300), True)])
def test_check_mode_counts_what_a_new_swarm_has(mtus, changed):
    desired = dataclasses.replace(WANTED, underlay_mtus=mtus)
    plan = plan_network(desired, Observed(manager=False, state="inactive", check_mode=True))
    assert plan.changed is changed
    if changed:
        assert (plan.before["mtu"], plan.after["mtu"]) == (1500, 1300)


def test_where_there_is_none_it_is_made():
    body = plan_network(WANTED, with_mtu(1500, network=None)).steps[0].args["body"]
    assert (body["Name"], body["Ingress"], body["IPAM"]) == ("ingress", True, {"Driver": "default"})


def test_nodes_that_take_no_part_are_told():
    plan = plan_network(WANTED, with_mtu(1500, missing=("edge1", "edge2")))
    assert plan.labels == ["have edge1, edge2 take part in ingress"]
    assert (plan.before["missing"], plan.after["missing"]) == (["edge1", "edge2"], [])
    given_up = with_mtu(1500, given_up=("edge1",))
    assert not plan_network(WANTED, given_up).changed
    assert "edge1 did not take part in the network ingress in time" in remarks(WANTED, given_up)[0]


# Against a swarm that does what Docker's does


class Swarm:
    """A manager's engine with its nodes, which hear of a new ingress only when something about them changes.

    forgetful: how often each node drops it, by name; such a node tries again only at a change of its own entry.
    ending: how many looks it takes until the last task on it has ended.
    """

    def __init__(self, forgetful=None, ending=0):
        self.found = [copy.deepcopy(NEW)]
        self.forgetful = dict(forgetful or {})
        self.ending = ending
        self.asked = 0
        self.published = []
        self.entries: dict[str, dict] = {
            name: {
                "ID": f"id-{name}",
                "Version": {"Index": 1},
                "Spec": {"Labels": {}, "Role": role, "Availability": "active"},
                "Description": {"Hostname": name},
                "Status": {"State": "ready", "Addr": address},
            }
            for name, role, address in [
                ("cloud1", "manager", "0.0.0.0"),  # noqa: S104 (so do some managers call themselves)
                ("edge1", "worker", "172.30.0.2"),
                ("edge2", "worker", "172.30.0.3"),
            ]
        }
        self.entries["cloud1"]["ManagerStatus"] = {"Addr": "172.30.0.1:2377", "Leader": True}
        self.taking_part = dict.fromkeys(self.entries, "old")
        self.labels_seen = set()

    def info(self):
        swarm = {"LocalNodeState": "active", "ControlAvailable": True, "NodeAddr": "172.30.0.1"}
        return {"Swarm": swarm, "DockerRootDir": "/nowhere"}

    def networks(self):
        return self.found

    def inspect_network(self, wanted):
        addresses = {"cloud1": "172.30.0.1", "edge1": "172.30.0.2", "edge2": "172.30.0.3"}
        for one in self.found:
            if wanted in (one["Id"], one["Name"]):
                part = [name for name, network in self.taking_part.items() if network == one["Id"]]
                return {**one, "Peers": [{"Name": name, "IP": addresses[name]} for name in part] or None}
        raise DockerError(f"network {wanted} not found", 404)

    def post(self, path, body):
        assert path == "/networks/create"
        if any(one["Ingress"] for one in self.found):
            raise DockerError("rpc error: code = AlreadyExists desc = ingress network (old) is already present", 409)
        self.found.append({**NEW, **body, "Id": f"new{self.asked}", "Options": {**body["Options"], VXLAN: "4098"}})

    def remove_network(self, wanted):
        self.asked += 1
        assert not self.ending, "nodes would keep their copies for ever"
        if self.asked > 1 and not self.found:
            raise DockerError(f"network {wanted} not found", 500)
        self.found = []

    def nodes(self):
        return copy.deepcopy(list(self.entries.values()))

    def inspect_node(self, node_id):
        return copy.deepcopy(self.entries[node_id.removeprefix("id-")])

    def update_node(self, node_id, version, spec):
        name = node_id.removeprefix("id-")
        entry = self.entries[name]
        if version != entry["Version"]["Index"]:
            raise DockerError("rpc error: code = Unknown desc = update out of sequence", 500)
        changed = entry["Spec"] != spec
        self.labels_seen |= set(spec["Labels"])
        entry["Spec"] = spec
        entry["Version"]["Index"] += 1
        new = self.found[0]["Id"] if self.found else None
        if new and self.taking_part[name] != new and (changed or self.taking_part[name] != f"dropped {new}"):
            self.taking_part[name] = new
            if self.forgetful.get(name, 0) > 0:
                self.forgetful[name] -= 1
                self.taking_part[name] = f"dropped {new}"

    def services(self):
        return self.published

    def tasks(self, filters=None):
        if filters or not self.ending:
            return []
        self.ending -= 1
        attached = [{"Network": {"ID": self.found[0]["Id"]}, "Addresses": ["10.201.0.5/24"]}]
        status = {"State": "running"}
        return [
            {"ID": "t1", "NodeID": "id-edge1", "DesiredState": "remove", "Status": status}
            | {"NetworksAttachments": attached}
        ]


class Run:
    """`ip` on a node that has a route that the network hides, and whose tunnel has the given MTU from now on."""

    devices: tuple[Device, ...] = ()

    def __init__(self, mtu):
        Run.devices = (Device("tun1002", mtu, addresses=(Address("172.30.0.1", 32),)),)

    def __call__(self, argv, data=None, check=True):
        return Answer(0, json.dumps([{"dst": "10.201.0.0/16", "dev": "eth1"}]), "")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(overlay_engine, "read_devices", lambda: Run.devices)
    monkeypatch.setattr(overlay_engine, "NODES_PAUSE", 0.001)
    monkeypatch.setattr(overlay_engine, "REMOVAL_PAUSE", 0.001)


def carry_out(docker, desired=WANTED, mtu=9000, timeout=0.2):
    engine = OverlayNetworkEngine(docker, Run(mtu), desired, timeout)
    plan = engine.plan(engine.observe())
    apply(plan, engine.perform)
    engine.wait()
    return engine, plan


def test_every_node_takes_part_in_the_new_one_and_nothing_is_left_on_it():
    docker = Swarm()
    engine, _plan = carry_out(docker)
    assert set(docker.taking_part.values()) == {docker.found[0]["Id"]} == {"new1"}
    assert docker.labels_seen == set()
    assert docker.asked == 1
    assert not engine.plan(engine.observe()).changed
    result = engine.result(engine.observe())
    assert (result["network"]["mtu"], result["underlay_mtu"], result["warnings"]) == (9000, 9000, [])


def test_a_node_that_drops_it_is_told_again():
    docker = Swarm(forgetful={"edge1": 3})
    engine, _plan = carry_out(docker, timeout=5)
    assert set(docker.taking_part.values()) == {"new1"}
    assert docker.labels_seen == {LABEL}
    assert [entry["Spec"]["Labels"] for entry in docker.entries.values()] == [{}, {}, {}]
    assert not engine.plan(engine.observe()).changed


def test_the_operators_labels_on_nodes_stay():
    docker = Swarm(forgetful={"edge1": 1})
    docker.entries["edge1"]["Spec"]["Labels"] = {"zone": "b", LABEL: "left by a broken run"}
    carry_out(docker)
    assert docker.entries["edge1"]["Spec"]["Labels"] == {"zone": "b"}


def test_a_node_that_never_takes_part_is_named_and_tried_again_next_time():
    docker = Swarm(forgetful={"edge2": 10**6})
    engine, _plan = carry_out(docker, timeout=0.05)
    assert not engine.plan(engine.observe()).changed
    (words,) = engine.result(engine.observe())["warnings"]
    assert words.startswith("edge2 did not take part in the network ingress in time")
    docker.forgetful = {}
    engine, plan = carry_out(docker)
    assert plan.labels == ["have edge2 take part in ingress"]
    assert engine.result(engine.observe())["warnings"] == []
    assert docker.taking_part["edge2"] == "new1"


def test_a_node_that_has_just_come_is_waited_for():
    class Late(Swarm):
        looks = 0

        def inspect_network(self, wanted):
            self.looks += 1
            self.taking_part["edge1"] = "old" if self.looks > 3 else ""
            return super().inspect_network(wanted)

    engine = OverlayNetworkEngine(Late(), Run(1500), WANTED, 5)
    assert not engine.plan(engine.observe()).changed


def test_a_manager_that_writes_at_the_same_time_does_not_disturb():
    class Busy(Swarm):
        meanwhile = 2

        def inspect_node(self, node_id):
            found = super().inspect_node(node_id)
            if self.meanwhile:
                self.meanwhile -= 1
                self.entries[node_id.removeprefix("id-")]["Version"]["Index"] += 1
            return found

    docker = Busy()
    carry_out(docker)
    assert set(docker.taking_part.values()) == {"new1"}
    assert docker.labels_seen == set()


def test_a_removal_waits_for_the_last_task():
    docker = Swarm(ending=3)
    carry_out(docker)
    assert (docker.ending, docker.asked) == (0, 1)


def test_tasks_that_do_not_end_are_named_and_all_stays():
    docker = Swarm(ending=10**6)
    with pytest.raises(OversshError, match=r"it is used by .* on edge1 \(task t1, running\)"):
        carry_out(docker, timeout=0.01)
    assert docker.asked == 0
    assert docker.found == [NEW]


def test_tasks_of_a_node_that_is_down_are_told_with_what_ends_them():
    docker = Swarm(ending=10**6)
    docker.entries["edge1"]["Status"]["State"] = "down"
    with pytest.raises(OversshError, match=r"that is down stay till it is back, or 'docker node rm id-edge1'\)"):
        carry_out(docker, timeout=0.01)


def test_an_engine_that_keeps_its_copy_is_told_of_with_what_that_means():
    class Stuck(Swarm):
        def remove_network(self, wanted):
            self.asked += 1

    docker = Stuck()
    with pytest.raises(OversshError, match=r"the swarm has no ingress network until .* restart docker"):
        carry_out(docker, timeout=0.01)
    assert docker.asked == 1


def test_a_new_one_that_is_refused_brings_the_old_one_back_to_every_node():
    class Refuses(Swarm):
        def post(self, path, body):
            if MTU in body["Options"]:
                raise DockerError("no", 500)
            super().post(path, body)

    docker = Refuses()
    with pytest.raises(OversshError, match=r"could not make .* no \(everything done before was rolled back\)"):
        carry_out(docker)
    assert docker.found[0]["IPAM"] | {"Options": None} == NEW["IPAM"]
    assert docker.found[0]["Options"] == {VXLAN: "4098"}
    assert set(docker.taking_part.values()) == {docker.found[0]["Id"]}


def test_it_can_be_taken_back():
    docker = Swarm()
    engine, plan = carry_out(docker)
    assert undo(plan.steps, engine.perform) == " (everything done before was rolled back)"
    assert docker.found[0]["Options"] == {VXLAN: "4098"}


def test_who_does_not_wait_does_not_look_at_the_nodes():
    docker = Swarm()
    docker.taking_part["edge1"] = ""
    engine = OverlayNetworkEngine(docker, Run(1500), WANTED, 1, wait=False)
    assert not engine.plan(engine.observe()).changed


@pytest.mark.parametrize(
    ("endpoint", "publishes"),
    [
        ({"Ports": [{"PublishMode": "ingress", "TargetPort": 80}]}, True),
        ({"Ports": [{"TargetPort": 80}]}, True),
        ({"Ports": [{"PublishMode": "host"}, {"PublishMode": "ingress"}]}, True),
        ({"Ports": [{"PublishMode": "host"}]}, False),
        ({"Mode": "vip"}, False),
        ({}, False),
    ],
)
def test_who_publishes(endpoint, publishes):
    docker = Swarm()
    docker.published = [{"ID": "s1", "Spec": {"Name": "web", "EndpointSpec": endpoint}}]
    assert publishers(docker) == (("web",) if publishes else ())
    assert OverlayNetworkEngine(docker, Run(1500), WANTED, 1).observe().publishers == publishers(docker)


def test_a_node_that_is_down_is_not_missed():
    docker = Swarm()
    docker.taking_part.update(edge1="", edge2="")
    docker.entries["edge2"]["Status"]["State"] = "down"
    assert nodes_without(docker, "old") == {"id-edge1": "edge1"}
