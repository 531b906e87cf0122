# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's engine against a Docker engine that remembers: what is asked of it, and what is taken back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import Step, apply, undo
from ansible_collections.overssh.swarm.plugins.module_utils._docker import gossip as docker_gossip
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import DockerError
from ansible_collections.overssh.swarm.plugins.module_utils._linux.devices import Address, Device
from ansible_collections.overssh.swarm.plugins.module_utils._swarm import engine as swarm_engine
from ansible_collections.overssh.swarm.plugins.module_utils._swarm import observe as swarm_observe
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.drain import SwarmDrainEngine
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.engine import (
    SwarmNodeEngine,
)
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.entry import SwarmEntryEngine
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.info import node_result, nodes_result
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.listed import DesiredEntry, SwarmListedEngine
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.model import Desired, root_ca_digest
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.observe import (
    BRIDGE_LABELS,
    BRIDGE_OPTIONS,
    observe_node,
)

FIXTURES = Path(__file__).resolve().parents[4] / "recorded" / "swarm"
ROOT_CA = (FIXTURES / "root-ca.crt").read_text()
# The prefix of the join tokens that the engine with this root certificate gave out.
ROOT_CA_DIGEST = "1k8zrkvh9y8qvq65r4qovvq8acrgp64w2ibvx482ljnxz4yvdn"
SWARM_ID = "ynncy4dlt6ame6wld4b315ov7"
TOKEN = "SWMTKN-1-" + ROOT_CA_DIGEST + "-secret"
JOINED_ADDRESS = "172.30.0.1:2377"


TUNNELS = (
    Device("tun1002", 9000, addresses=(Address("172.30.0.1", 32, "172.30.0.2"),)),
    Device("tun1003", 1500, addresses=(Address("172.30.0.1", 32, "172.30.0.3"),)),
)


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    for module in (swarm_engine, swarm_observe):
        monkeypatch.setattr(module, "read_devices", lambda: TUNNELS)


class Run:
    """`ip` on a hub with two tunnels, as iproute2 prints its routes."""

    def __call__(self, argv, data=None, check=True):
        routes = [{"dst": "default", "dev": "eth0"}, {"dst": "10.9.0.0/16", "dev": "eth1"}]
        return Answer(0, json.dumps(routes), "")


# A new swarm's own settings, as Docker 26.1 gives them.
SPEC: dict = {
    "Name": "default",
    "Labels": {},
    "Orchestration": {"TaskHistoryRetentionLimit": 5},
    "Raft": {
        "SnapshotInterval": 10000,
        "KeepOldSnapshots": 0,
        "LogEntriesForSlowFollowers": 500,
        "ElectionTick": 10,
        "HeartbeatTick": 1,
    },
    "Dispatcher": {"HeartbeatPeriod": 5000000000},
    "CAConfig": {"NodeCertExpiry": 7776000000000000},
    "TaskDefaults": {},
    "EncryptionConfig": {"AutoLockManagers": False},
}


class Engine:
    """As much of a Docker engine as a node's part in a swarm needs."""

    def __init__(self, state="inactive", manager=False, nodes=()):
        self.calls = []
        self.state = state
        self.manager = manager
        self.list = {node["ID"]: node for node in nodes}
        self.bridge = None
        self.hosted = []
        self.refuses = {}
        self.busy = 0
        self.version, self.spec = 10, SPEC

    def _note(self, name, *what):
        self.calls.append((name, *what))
        if name in self.refuses:
            raise DockerError(self.refuses[name], 503)

    @contextlib.contextmanager
    def at_most(self, seconds):
        yield

    def info(self):
        swarm = {"LocalNodeState": self.state, "ControlAvailable": self.manager}
        if self.state != "inactive":
            swarm.update(NodeID="n1", NodeAddr="172.30.0.1", RemoteManagers=[{"NodeID": "n1", "Addr": JOINED_ADDRESS}])
        if self.manager:
            swarm["Cluster"] = {
                "ID": SWARM_ID,
                "DataPathPort": 4789,
                "TLSInfo": {"TrustRoot": ROOT_CA},
                "Version": {"Index": self.version},
                "Spec": self.spec,
            }
        return {"Swarm": swarm, "Name": "cloud1", "DockerRootDir": "/nowhere"}

    def nodes(self):
        return list(self.list.values())

    def inspect_node(self, node_id):
        if node_id not in self.list:
            raise DockerError(f"node {node_id} not found", 404)
        return self.list[node_id]

    def update_node(self, node_id, version, spec):
        self._note("update_node", node_id, spec)
        node = self.list[node_id]
        assert version == node["Version"]["Index"]
        node["Version"] = {"Index": version + 1}
        node["Spec"] = spec
        if spec["Role"] == "worker":
            node.pop("ManagerStatus", None)
            if node_id == "n1":
                self.manager = False

    def remove_node(self, node_id, force):
        self._note("remove_node", node_id, force)
        del self.list[node_id]

    def post(self, path, body):
        self._note(path, body)
        if path.startswith("/swarm/update"):
            assert path.startswith(f"/swarm/update?version={self.version}")
            self.version, self.spec = self.version + 1, body
            return
        self.spec = body.get("Spec") or self.spec
        self.state, self.manager = "active", path == "/swarm/init" or body["JoinToken"] == "manager"
        self.list.setdefault("n1", _node("n1", "cloud1", manager=self.manager))
        assert self.bridge is not None, "the bridge has to be there before the engine makes one of its own"
        self.bridge["Containers"] = {"ingress-sbox": {}}

    def create_network(self, name, driver, options, labels, ipam):
        self._note("create_network", name)
        self.bridge = {"Options": options, "Labels": labels, "IPAM": ipam, "Containers": {}}

    def leave_swarm(self, force):
        self._note("leave", force)
        if self.busy:
            self.busy -= 1
            raise DockerError("context deadline exceeded", 500)
        self.state, self.manager = "inactive", False

    def containers(self, **_filters):
        return self.hosted

    def inspect_container(self, container_id):
        return next(found for found in self.hosted if found["Id"] == container_id)

    def inspect_network(self, name):
        if self.bridge is None:
            raise DockerError(f"network {name} not found", 404)
        return self.bridge

    def remove_network(self, name):
        self._note("remove_network", name)
        self.bridge = None


def _node(node_id, hostname, manager=False, state="ready"):
    node = {
        "ID": node_id,
        "Version": {"Index": 7},
        "Spec": {"Role": "manager" if manager else "worker", "Availability": "active", "Labels": {}},
        "Description": {"Hostname": hostname},
        "Status": {"State": state, "Addr": "172.30.0.1"},
    }
    if manager:
        node["ManagerStatus"] = {"Reachability": "reachable", "Addr": JOINED_ADDRESS, "Leader": node_id == "n1"}
    return node


FIRST_MANAGER = Desired(state="manager", advertise_addr="172.30.0.1", default_addr_pool=("10.201.0.0/16",))


def _joiner(state="worker", token=TOKEN, **more):
    managers = ("172.30.0.9:2377", JOINED_ADDRESS)
    return Desired(state=state, advertise_addr="172.30.0.1", remote_managers=managers, join_token=token, **more)


@pytest.fixture(autouse=True)
def _only_the_second_manager_answers(monkeypatch):
    monkeypatch.setattr(swarm_engine, "reaches", lambda address: address == JOINED_ADDRESS)


@pytest.fixture(autouse=True)
def gossip(monkeypatch):
    """Whether the gossip's port is taken: by an engine that is in a swarm, and by what a test puts there."""
    found: dict = {"engines": [], "stuck": False}
    made = Engine.__init__

    def remember(self, *args, **kwargs):
        made(self, *args, **kwargs)
        found["engines"].append(self)

    monkeypatch.setattr(Engine, "__init__", remember)
    taken = lambda address: found["stuck"] or found["engines"][-1].state == "active"  # noqa: E731
    monkeypatch.setattr(docker_gossip, "listens", taken)
    return found


def _do(docker, desired, timeout=0.3):
    engine = SwarmNodeEngine(docker, Run(), desired, timeout)
    plan = engine.plan(engine.observe())
    apply(plan, engine.perform)
    engine.wait()
    return engine, plan


def test_a_swarm_is_founded_on_the_nodes_own_address_only():
    docker = Engine()
    engine, _plan = _do(docker, FIRST_MANAGER)
    body = dict(docker.calls)["/swarm/init"]
    assert body["ListenAddr"] == "172.30.0.1:2377"
    assert body["AdvertiseAddr"] == body["DataPathAddr"] == "172.30.0.1"
    assert (body["DefaultAddrPool"], body["SubnetSize"]) == (["10.201.0.0/16"], 24)
    assert not engine.plan(engine.observe()).changed


def test_a_join_goes_to_a_manager_that_answers_and_carries_the_availability():
    docker = Engine()
    _do(docker, _joiner(availability="drain"))
    body = dict(docker.calls)["/swarm/join"]
    assert body["RemoteAddrs"] == [JOINED_ADDRESS]
    assert body["Availability"] == "drain"
    assert body["JoinToken"] == TOKEN


def test_the_bridge_is_dockers_own_but_for_what_is_asked_for():
    def made(desired):
        docker = Engine()
        _do(docker, desired)
        return docker.bridge

    usual = made(FIRST_MANAGER)
    assert (usual["Options"], usual["IPAM"]) == (BRIDGE_OPTIONS, None)
    asked = dataclasses.replace(FIRST_MANAGER, bridge_subnet="10.9.0.0/24", bridge_mtu=1400, bridge_icc=True)
    bridge = made(asked)
    assert bridge["Options"] == {
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.name": "docker_gwbridge",
        "com.docker.network.driver.mtu": "1400",
    }
    assert bridge["IPAM"] == {"Driver": "default", "Config": [{"Subnet": "10.9.0.0/24"}]}


def test_an_address_that_the_host_lacks_is_refused_before_docker_is_asked_to_join():
    docker = Engine()
    with pytest.raises(OversshError, match=r"advertise_addr is 172\.30\.0\.7, and no device of this host has that"):
        _do(docker, Desired(state="manager", advertise_addr="172.30.0.7"))
    assert docker.calls == []


@pytest.mark.parametrize("desired", [FIRST_MANAGER, _joiner()])
def test_a_gossip_port_that_an_engine_kept_is_told_before_docker_is_asked_to_join(gossip, desired):
    gossip["stuck"] = True
    docker = Engine()
    with pytest.raises(OversshError, match=r"listens on 172\.30\.0\.1 port 7946 already.*'systemctl restart docker'"):
        _do(docker, desired)
    assert docker.calls == []
    with pytest.raises(OversshError, match=r"^something on this host listens on 172\.30\.0\.1 port 7946 already"):
        plan_in_check_mode(docker, desired)


def plan_in_check_mode(docker, desired):
    engine = SwarmNodeEngine(docker, Run(), desired, 0.3, check_mode=True)
    return engine.plan(engine.observe())


def test_an_address_that_the_host_lacks_may_come_by_what_the_same_run_does_before():
    assert plan_in_check_mode(Engine(), Desired(state="manager", advertise_addr="172.30.0.7")).changed


def test_a_gossip_port_that_the_swarm_kept_that_the_node_has_just_left_is_told(gossip):
    """The plan can't know."""
    docker = Engine()
    engine = SwarmNodeEngine(docker, Run(), FIRST_MANAGER, 0.3)
    plan = engine.plan(engine.observe())
    gossip["stuck"] = True
    with pytest.raises(OversshError, match=r"listens on 172\.30\.0\.1 port 7946 already.*'systemctl restart docker'"):
        apply(plan, engine.perform)
    assert [call[0] for call in docker.calls] == ["create_network", "remove_network"]


def test_a_node_that_takes_part_and_gossips_is_not_looked_at_again(gossip):
    docker = Engine("active", True, [_node("n1", "cloud1", True)])
    engine = SwarmNodeEngine(docker, Run(), FIRST_MANAGER, 0.3)
    found = engine.observe()
    assert engine.in_effect(found)
    assert [node["hostname"] for node in engine.result(found)["nodes"]] == ["cloud1"]
    docker.list["n1"]["ManagerStatus"]["Reachability"] = "unreachable"
    assert not engine.in_effect(engine.observe())


def test_a_node_in_a_swarm_that_does_not_gossip_is_waited_for(monkeypatch):
    docker = Engine("active", True, [_node("n1", "cloud1", True)])
    monkeypatch.setattr(docker_gossip, "listens", lambda address: False)
    engine = SwarmNodeEngine(docker, Run(), FIRST_MANAGER, 0.3)
    assert not engine.in_effect(engine.observe())
    assert SwarmNodeEngine(docker, Run(), FIRST_MANAGER, 0.3, wait=False).in_effect(engine.observe())


def test_a_node_without_gossip_is_not_part_of_the_swarm(monkeypatch):
    docker = Engine()
    engine = SwarmNodeEngine(docker, Run(), FIRST_MANAGER, 0.3)
    monkeypatch.setattr(docker_gossip, "listens", lambda address: False)
    apply(engine.plan(engine.observe()), engine.perform)
    with pytest.raises(OversshError, match=r"the start of the swarm's gossip did not happen.*agentInit"):
        engine.wait()


def test_a_bridge_that_was_there_before_us_stays():
    docker = Engine()
    docker.bridge = {"Labels": {}, "Containers": {}}
    _do(docker, FIRST_MANAGER)
    _do(docker, Desired(state="left", force=True))
    assert [call[0] for call in docker.calls] == ["/swarm/init", "leave"]


def test_a_pool_that_hides_a_route_is_refused():
    with pytest.raises(OversshError, match=r"default_addr_pool 10\.0\.0\.0/8 overlaps the route 10\.9\.0\.0/16.*eth1"):
        _do(Engine(), Desired(state="manager", advertise_addr="172.30.0.1", default_addr_pool=("10.0.0.0/8",)))
    with pytest.raises(OversshError, match=r"^default_addr_pool 10\.0\.0\.0/8 overlaps the route"):
        wanted = Desired(state="manager", advertise_addr="172.30.0.1", default_addr_pool=("10.0.0.0/8",))
        plan_in_check_mode(Engine(), wanted)


def test_no_answer_from_any_manager_names_them_all():
    desired = Desired(
        state="worker", advertise_addr="172.30.0.1", remote_managers=("172.30.0.8:2377",), join_token=TOKEN
    )
    with pytest.raises(OversshError, match=r"answer from a manager at 172\.30\.0\.8:2377 did not happen.*tunnel is up"):
        _do(Engine(), desired)


def test_a_missing_token_is_told_to_the_controller_before_anything_is_done():
    engine = SwarmNodeEngine(Engine(), Run(), _joiner(token=None), 1)
    with pytest.raises(OversshError) as caught:
        engine.plan(engine.observe())
    assert caught.value.answer == {"join_token_missing": True}


def test_a_removed_node_leaves_and_joins_anew_and_is_not_looked_for_in_the_old_list():
    docker = Engine("active", False)
    docker.bridge = {"Labels": {}, "Containers": {}}
    engine, plan = _do(docker, _joiner(members={"n7": "ready"}))
    assert [call[0] for call in docker.calls] == ["leave", "/swarm/join"]
    assert docker.calls[0] == ("leave", True)
    assert plan.changed
    assert not engine.plan(engine.observe()).changed


def test_a_removed_node_that_waits_for_its_managers_is_not_waited_for():
    waits = SwarmNodeEngine(Engine("pending"), Run(), _joiner(members={"n7": "ready"}), 3600)
    assert waits.observe().local_state == "pending"


def test_an_engine_that_doubts_itself_is_told_of_with_the_cure(gossip):
    gossip["stuck"] = True
    docker = Engine("error", True, [_node("n1", "cloud1", True)])
    engine = SwarmNodeEngine(docker, Run(), FIRST_MANAGER, 0.3)
    found = engine.observe()
    assert not engine.plan(found).changed
    assert engine.in_effect(found)
    answer = engine.result(found)
    assert (answer["active"], answer["local_state"]) == (True, "error")
    (warning,) = answer["warnings"]
    assert "the managers list it as ready and it works" in warning
    assert "'systemctl restart docker'" in warning


def test_check_mode_needs_no_token():
    engine = SwarmNodeEngine(Engine(), Run(), _joiner(token=None), 1, check_mode=True)
    assert engine.plan(engine.observe()).labels == [
        "make the bridge docker_gwbridge that overlay networks need",
        "join the swarm at 172.30.0.9:2377, 172.30.0.1:2377 as worker 172.30.0.1",
    ]
    assert engine.result(engine.observe())["join_token_missing"] is True, "the controller knows what that comes to"


@pytest.mark.parametrize(
    ("docker_says", "meaning"),
    [
        ("invalid join token", "the join token is none"),
        (
            "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster",
            "was rotated",
        ),
        ("remote CA does not match fingerprint. Expected: d37d", "belongs to another swarm"),
        ("could not connect to prospective new cluster member using its advertised address: x", "open that port"),
        ("something else", "Docker says: something else"),
    ],
)
def test_a_refused_join_has_its_own_sentence(docker_says, meaning):
    docker = Engine()
    docker.refuses["/swarm/join"] = docker_says
    with pytest.raises(OversshError) as caught:
        _do(docker, _joiner())
    assert meaning in str(caught.value)
    assert docker_says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_join_that_goes_on_in_the_background_is_waited_for():
    class Slow(Engine):
        def post(self, path, body):
            super().post(path, body)
            raise DockerError("Timeout was reached before node joined. It will continue in the background.", 503)

    docker = Slow()
    engine, _plan = _do(docker, _joiner())
    assert not engine.plan(engine.observe()).changed


def test_a_join_that_never_ends_is_called_off():
    class Stuck(Engine):
        def post(self, path, body):
            self.state = "pending"
            raise DockerError("Timeout was reached before node joined. It will continue in the background.", 503)

    docker = Stuck()
    with pytest.raises(OversshError, match=r"did not happen within 0\.3 s; it was called off"):
        _do(docker, _joiner())
    assert [call[0] for call in docker.calls] == ["create_network", "leave", "remove_network"]


def test_a_managers_join_that_never_ends_is_not_called_off_behind_the_others_backs():
    class Stuck(Engine):
        def post(self, path, body):
            self.state = "pending"
            raise DockerError("Timeout was reached before node joined. It will continue in the background.", 503)

    docker = Stuck()
    with pytest.raises(OversshError, match="goes on in the background"):
        _do(docker, _joiner(state="manager"))
    assert "leave" not in [call[0] for call in docker.calls]


def test_another_swarm_than_meant_is_left_again():
    docker = Engine()
    engine = SwarmNodeEngine(docker, Run(), _joiner(state="manager", token="manager", cluster_id="other"), 1)
    plan = engine.plan(engine.observe())
    docker.list["n2"] = _node("n2", "edge1", manager=True)
    apply(plan, engine.perform)
    with pytest.raises(OversshError, match=f"in another swarm, {SWARM_ID}, not in other"):
        engine.wait()
    assert undo(plan.steps, engine.perform) == " (everything done before was rolled back)"
    done = [call[0] for call in docker.calls]
    assert done == ["create_network", "/swarm/join", "update_node", "leave", "remove_network"]
    assert ("leave", False) in docker.calls


def test_a_manager_leaves_as_a_worker_and_the_bridge_goes():
    docker = Engine("active", True, [_node("n1", "cloud1", True), _node("n2", "edge1", True)])
    docker.bridge = {"Labels": dict(BRIDGE_LABELS), "Containers": {"ingress-sbox": {}}}
    engine, plan = _do(docker, Desired(state="left"))
    assert len(plan.steps) == 3
    assert [call[0] for call in docker.calls] == ["update_node", "leave", "remove_network"]
    assert docker.calls[0][2]["Role"] == "worker"
    assert docker.calls[1] == ("leave", False)
    assert not engine.plan(engine.observe()).changed


class Host(Run):
    """`ip` and `systemctl`; a restart of the engine frees the port that it kept."""

    def __init__(self, gossip):
        self._gossip = gossip
        self.restarts = 0

    def __call__(self, argv, data=None, check=True):
        if argv[0] == "systemctl":
            assert list(argv) == ["systemctl", "restart", "docker"]
            self.restarts += 1
            self._gossip["stuck"] = False
            return Answer(0, "", "")
        return super().__call__(argv, data, check)


@pytest.mark.parametrize(
    ("state", "policy", "restarts", "words"),
    [
        ("exited", "no", 1, "and was restarted; no container was running"),
        ("running", "no", 0, "when the containers on this host may be interrupted: web"),
        ("exited", "always", 0, "when the containers on this host may be interrupted: web"),
    ],
)
def test_an_engine_that_keeps_its_gossip_is_restarted_where_nobody_notices(
    monkeypatch, gossip, state, policy, restarts, words
):
    monkeypatch.setattr(swarm_engine, "GOSSIP_SECONDS", 0.1)
    docker = Engine("active", False)
    kept = {"RestartPolicy": {"Name": policy}}
    docker.hosted = [{"Id": "c", "Names": ["/web"], "State": state, "HostConfig": kept}]
    gossip["stuck"] = True
    host = Host(gossip)
    engine = SwarmNodeEngine(docker, host, Desired(state="left"), 1)
    apply(engine.plan(engine.observe()), engine.perform)
    assert host.restarts == restarts
    (warning,) = engine.result(engine.observe())["warnings"]
    assert warning.startswith("Docker kept port 7946 of the swarm that it left")
    assert words in warning


class Kept(Engine):
    """An engine that has forgotten its swarm, and keeps its bridge till a restart, after which it may remember."""

    remembers = "inactive"

    def __init__(self, gossip):
        super().__init__()
        self.bridge = {"Labels": dict(BRIDGE_LABELS), "Containers": {"ingress-sbox": {}}}
        self.gossip = gossip

    def info(self):
        if not self.gossip["stuck"] and self.remembers:
            self.state, self.remembers = self.remembers, ""
        return super().info()

    def remove_network(self, name):
        self._note("remove_network", name)
        if self.gossip["stuck"] or self.state != "inactive":
            raise DockerError("network docker_gwbridge has active endpoints", 403)
        self.bridge = None


@pytest.mark.parametrize("remembers", ["inactive", "locked"])
def test_a_bridge_of_a_forgotten_swarm_goes_with_a_restart_that_nobody_notices(monkeypatch, gossip, remembers):
    monkeypatch.setattr(swarm_engine, "BRIDGE_SECONDS", 0.1)
    gossip["stuck"] = True
    docker = Kept(gossip)
    docker.remembers = remembers
    host = Host(gossip)
    engine = SwarmNodeEngine(docker, host, Desired(state="left", force=True), 1)
    apply(engine.plan(engine.observe()), engine.perform)
    assert (host.restarts, docker.bridge) == (1, None)
    assert (("leave", True) in docker.calls) == (remembers == "locked")
    (warning,) = engine.result(engine.observe())["warnings"]
    assert warning.startswith("Docker kept the bridge docker_gwbridge for a swarm that it has forgotten")


def test_a_bridge_of_a_forgotten_swarm_names_the_way_out_where_containers_run(monkeypatch, gossip):
    monkeypatch.setattr(swarm_engine, "BRIDGE_SECONDS", 0.1)
    gossip["stuck"] = True
    docker = Kept(gossip)
    docker.hosted = [{"Id": "c", "Names": ["/web"], "State": "running", "HostConfig": {}}]
    engine = SwarmNodeEngine(docker, Host(gossip), Desired(state="left", force=True), 1)
    with pytest.raises(OversshError, match=r"until it is restarted; do that with 'systemctl restart docker' .*: web"):
        apply(engine.plan(engine.observe()), engine.perform)


def test_a_manager_that_answers_no_more_is_named_at_once(monkeypatch):
    monkeypatch.setattr(swarm_engine, "stuck_manager", lambda: "Docker waits for the manager at 172.30.0.9")

    class Waits(Engine):
        def info(self):
            found = super().info()
            return {**found, "Swarm": {**found["Swarm"], "Error": "deadline exceeded"}}

        def nodes(self):
            raise AssertionError("it would wait as long again")

    docker = Waits("active", True)
    with pytest.raises(OversshError, match=r"manager at 172\.30\.0\.9 \(Docker says: deadline exceeded\)"):
        SwarmNodeEngine(docker, Run(), FIRST_MANAGER, 3600).observe()
    assert SwarmNodeEngine(docker, Run(), Desired(state="left", force=True), 3600).observe().role == "manager"


def test_managers_that_all_leave_at_once_dont_wait_for_each_other():
    docker = Engine("active", True, [_node("n1", "cloud1", True), _node("n2", "edge1", True)])
    docker.refuses["update_node"] = "attempting to demote the last manager of the swarm"
    _do(docker, Desired(state="left", force=True))
    assert docker.calls[-1] == ("leave", True)
    docker = Engine("active", True, [_node("n1", "cloud1", True), _node("n2", "edge1", True)])
    docker.refuses["update_node"] = "attempting to demote the last manager of the swarm"
    with pytest.raises(OversshError, match="could not make this manager a worker: attempting to demote the last"):
        _do(docker, Desired(state="left"))


def test_a_leave_that_docker_refuses_names_the_way_out():
    docker = Engine("active", False)
    docker.refuses["leave"] = "You are attempting to leave. Use `--force` to suppress this message."
    with pytest.raises(OversshError, match="set force: true to agree"):
        _do(docker, Desired(state="left"))


def test_an_engine_that_takes_long_to_leave_is_waited_for():
    docker = Engine("active", False)
    docker.busy = 2
    _do(docker, Desired(state="left"))
    assert [call for call in docker.calls if call[0] == "leave"] == [("leave", False)] * 3
    assert docker.state == "inactive"


def test_what_a_left_swarm_held_cant_be_put_back_and_that_is_said():
    docker = Engine("active", False)
    engine, plan = _do(docker, Desired(state="left"))
    assert "Docker keeps nothing of a swarm that it has left" in undo(plan.steps, engine.perform)


def test_availability_is_set_through_the_nodes_own_entry():
    docker = Engine("active", True, [_node("n1", "cloud1", True)])
    _do(docker, Desired(state="manager", advertise_addr="172.30.0.1", availability="drain"))
    assert docker.calls == [("update_node", "n1", {"Role": "manager", "Availability": "drain", "Labels": {}})]


def test_a_node_that_is_not_reachable_is_not_called_ready():
    node = _node("n1", "cloud1", True)
    node["ManagerStatus"]["Reachability"] = "unreachable"
    with pytest.raises(
        OversshError, match=r"part as manager of the swarm did not happen within 0\.3 s.*calls itself active"
    ):
        _do(Engine("active", True, [node]), Desired(state="manager", advertise_addr="172.30.0.1"))


def _read(record=None):
    files = {
        "/nowhere/swarm/docker-state.json": json.dumps(record or {"ListenAddr": "0.0.0.0:2377", "DataPathAddr": ""}),
        "/nowhere/swarm/certificates/swarm-root-ca.crt": ROOT_CA,
        "/nowhere/swarm/certificates/swarm-node.crt": (FIXTURES / "manager.crt").read_text(),
    }
    return files.get


def test_the_engines_record_tells_what_its_api_keeps_back():
    found = observe_node(Engine("active"), Run(), _read())
    assert found.listen_addr == "0.0.0.0:2377"
    assert found.data_path_addr == "172.30.0.1"
    record = {"ListenAddr": "172.30.0.1:2377", "DataPathAddr": "172.30.0.9"}
    assert observe_node(Engine("active"), Run(), _read(record)).data_path_addr == "172.30.0.9"


def test_a_node_that_may_not_be_read_is_still_observed():
    def unreadable(path):
        raise OversshError(f"can't read {path}")

    found = observe_node(Engine("active"), Run(), unreadable)
    assert (found.listen_addr, found.cluster_id, found.certificate_role) == (None, None, None)
    assert found.role == "worker"


def test_a_worker_knows_its_swarm_from_its_certificate():
    found = observe_node(Engine("active"), Run(), _read())
    assert found.cluster_id == SWARM_ID
    assert found.certificate_role == "manager"
    assert found.root_ca_digest == ROOT_CA_DIGEST
    assert not found.settled


def test_a_swarm_that_cant_start_still_tells_the_role():
    assert observe_node(Engine("error"), Run(), _read()).role == "manager"


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "garbage"])
def test_a_broken_certificate_tells_nothing(text):
    found = observe_node(Engine("active"), Run(), {"/nowhere/swarm/certificates/swarm-node.crt": text}.get)
    assert (found.cluster_id, found.certificate_role) == (None, None)


def test_the_digest_is_the_one_in_dockers_join_tokens():
    assert root_ca_digest(ROOT_CA) == ROOT_CA_DIGEST


def test_the_underlays_mtu_is_the_smallest_of_the_tunnels():
    assert observe_node(Engine("active"), Run(), _read()).underlay_mtu == 1500


def test_results_have_no_secret_and_all_fields_everywhere():
    manager = observe_node(Engine("active", True, [_node("n1", "cloud1", True)]), Run(), _read())
    absent = observe_node(Engine(), Run(), _read())
    assert node_result(manager).keys() == node_result(absent).keys()
    assert node_result(manager)["leader"] is True
    assert nodes_result(manager)[0]["hostname"] == "cloud1"
    assert "SWMTKN" not in json.dumps([node_result(manager), nodes_result(manager)])


# The managers' list


def _clear(docker, node="edge1", force=False):
    engine = SwarmEntryEngine(docker, node, force, 0.3)
    plan = engine.plan(engine.observe())
    apply(plan, engine.perform)
    return plan, engine.result(engine.observe())


def _manager_with(*others):
    return Engine("active", True, [_node("n1", "cloud1", True), *others])


def test_all_entries_of_a_name_that_are_down_go():
    docker = _manager_with(_node("n2", "edge1", state="down"), _node("n3", "edge1", state="down"))
    plan, left = _clear(docker)
    assert len(plan.steps) == 2
    assert left == {"node": "edge1", "entries": []}


def test_an_entry_goes_by_its_id():
    docker = _manager_with(_node("n2", "edge1", state="down"), _node("n3", "edge1", state="down"))
    _clear(docker, "n2")
    assert "n3" in docker.list
    assert "n2" not in docker.list


def test_no_entry_is_unchanged():
    assert not _clear(_manager_with())[0].changed


def test_a_managers_entry_is_made_a_workers_first():
    docker = _manager_with(_node("n2", "edge1", True, state="down"))
    _clear(docker)
    assert [call[0] for call in docker.calls] == ["update_node", "remove_node"]


def test_a_live_nodes_entry_needs_force():
    docker = _manager_with(_node("n2", "edge1"))
    with pytest.raises(OversshError, match=r"edge1 \(n2\) is still up after 0.3 s; .*state: left.*force: true"):
        _clear(docker)
    assert docker.calls == []
    _clear(docker, force=True)
    assert ("remove_node", "n2", True) in docker.calls


def test_the_node_itself_and_a_worker_are_refused():
    with pytest.raises(OversshError, match="is the node this runs on"):
        _clear(_manager_with(), "cloud1")
    with pytest.raises(OversshError, match="run it on a manager"):
        _clear(Engine("active", False))


def _drain(docker, node="edge1"):
    engine = SwarmDrainEngine(docker, node, 0.3)
    plan = engine.plan(engine.observe())
    apply(plan, engine.perform)
    engine.wait()
    return plan


def test_a_node_that_is_drained_gets_no_more_tasks_and_gives_away_its_own():
    docker = _manager_with(_node("n2", "edge1"))
    docker.tasks = lambda filters: [{"ID": "t", "ServiceID": "s", "Status": {"State": "shutdown"}}]
    assert _drain(docker).labels == ["drain edge1 (n2)"]
    assert docker.list["n2"]["Spec"]["Availability"] == "drain"
    assert not _drain(docker).changed


def test_tasks_that_stay_are_told():
    docker = _manager_with(_node("n2", "edge1"))
    docker.tasks = lambda filters: [
        {"ID": "t", "ServiceID": "s", "Status": {"State": "running"}},
        {"ID": "attached", "Status": {"State": "running"}},
    ]
    with pytest.raises(OversshError, match=r"edge1 still has 1 tasks after 0\.3 s; see 'docker node ps edge1'"):
        _drain(docker)


def test_a_node_that_is_down_or_unknown_needs_no_draining():
    assert not _drain(_manager_with(_node("n2", "edge1", state="down"))).changed
    assert not _drain(_manager_with(), "edge9").changed
    with pytest.raises(OversshError, match="state: drained works on the list that managers keep"):
        _drain(Engine("active", False))


# An entry's availability and labels


def _list(docker, **desired):
    engine = SwarmListedEngine(docker, DesiredEntry("edge1", **desired), 0.3)
    plan = engine.plan(engine.observe())
    apply(plan, engine.perform)
    return engine, plan


def test_a_managers_entry_of_another_node_is_changed_and_restored():
    docker = _manager_with(_node("n2", "edge1"))
    docker.list["n2"]["Spec"]["Labels"] = {"zone": "south", "own": "1"}
    engine, plan = _list(docker, availability="pause", labels={"zone": "north", "own": None})
    spec = docker.list["n2"]["Spec"]
    assert spec == {"Role": "worker", "Availability": "pause", "Labels": {"zone": "north"}}
    assert engine.result(engine.observe()) == {
        "node": "edge1",
        "entries": ["n2"],
        "availability": "pause",
        "labels": {"zone": "north"},
    }
    assert not engine.plan(engine.observe()).changed
    docker.list["n2"]["Spec"] = {**spec, "Labels": {"zone": "north", "since": "2"}}
    assert undo(plan.steps, engine.perform) == " (everything done before was rolled back)"
    assert docker.list["n2"]["Spec"]["Labels"] == {"zone": "south", "own": "1", "since": "2"}
    assert docker.list["n2"]["Spec"]["Availability"] == "active"


def test_labels_that_docker_refuses_take_the_availability_back():
    class Refuses(Engine):
        def update_node(self, node_id, version, spec):
            if spec["Labels"]:
                raise DockerError("no such label", 400)
            super().update_node(node_id, version, spec)

    docker = Refuses("active", True, [_node("n1", "cloud1", True), _node("n2", "edge1")])
    with pytest.raises(OversshError, match=r"could not label edge1 \(n2\) with a=1: no such label \(everything done"):
        _list(docker, availability="drain", labels={"a": "1"})
    assert docker.list["n2"]["Spec"]["Availability"] == "active"


class Busy(Engine):
    """An engine whose swarm somebody else changes too."""

    busy = 1

    def tasks(self, filters):
        return []

    def update_node(self, node_id, version, spec):
        if self.busy:
            self.busy -= 1
            raise DockerError("rpc error: code = Unknown desc = update out of sequence", 500)
        super().update_node(node_id, version, spec)


def test_draining_and_demoting_go_on_while_somebody_else_changes_the_entry():
    docker = Busy("active", True, [_node("n1", "cloud1", True), _node("n2", "edge1", True)])
    _drain(docker)
    assert docker.list["n2"]["Spec"]["Availability"] == "drain"
    docker.busy = 1
    _clear(docker, force=True)
    assert docker.calls[-1] == ("remove_node", "n2", True)


def test_an_entry_that_somebody_else_changes_is_tried_again():
    docker = Busy("active", True, [_node("n1", "cloud1", True), _node("n2", "edge1")])
    _list(docker, labels={"a": "1"})
    assert docker.list["n2"]["Spec"]["Labels"] == {"a": "1"}
    docker.busy = 1000
    with pytest.raises(OversshError, match="update out of sequence"):
        _list(docker, labels={"a": "2"})


def test_an_entry_is_a_managers_matter():
    with pytest.raises(OversshError, match="state: listed works on the list that managers keep; run it on a manager"):
        _list(Engine("active", False), labels={"a": "1"})


def test_a_manager_labels_itself_also_one_that_has_just_come_in():
    docker = Engine("active", True, [_node("n1", "cloud1", True)])
    docker.list["n1"]["Spec"]["Labels"] = {"own": "1"}
    labelled = Desired(state="manager", advertise_addr="172.30.0.1", labels={"zone": "north", "old": None})
    engine, plan = _do(docker, labelled)
    assert plan.labels == ["label this node with zone=north"]
    assert plan.diff() == {"before": "labels:\n  own=1\n", "after": "labels:\n  own=1\n  zone=north\n"}
    assert engine.result(engine.observe())["labels"] == {"own": "1", "zone": "north"}
    assert not engine.plan(engine.observe()).changed
    undo(plan.steps, engine.perform)
    assert docker.list["n1"]["Spec"]["Labels"] == {"own": "1"}
    for desired in (labelled, _joiner(state="manager", token="manager", labels=labelled.labels)):
        docker = Engine()
        engine, plan = _do(docker, desired)
        assert plan.labels[-1] == "label this node with zone=north"
        assert plan.after["labels"] == ["zone=north"]
        assert docker.list["n1"]["Spec"]["Labels"] == {"zone": "north"}
        assert not engine.plan(engine.observe()).changed


# The swarm's own settings

TUNED = {"dispatcher_heartbeat": 15, "task_history_limit": 2, "autolock": True}


def test_a_manager_changes_the_settings_that_are_given_and_restores_them():
    docker = Engine("active", True, [_node("n1", "cloud1", True)])
    engine, plan = _do(docker, Desired(state="manager", advertise_addr="172.30.0.1", settings=TUNED))
    assert plan.labels == ["set the swarm's dispatcher_heartbeat to 15, task_history_limit to 2, autolock to true"]
    assert docker.spec == {
        **SPEC,
        "Orchestration": {"TaskHistoryRetentionLimit": 2},
        "Dispatcher": {"HeartbeatPeriod": 15000000000},
        "EncryptionConfig": {"AutoLockManagers": True},
    }
    found = engine.observe()
    assert not engine.plan(found).changed
    result = engine.result(found)
    assert result["settings"] == {**node_result(found)["settings"], **TUNED}
    assert "'docker swarm unlock-key' on a manager shows it" in result["warnings"][0]
    assert undo(plan.steps, engine.perform) == " (everything done before was rolled back)"
    assert docker.spec == SPEC


def test_settings_that_are_as_desired_or_not_given_stay():
    docker = Engine("active", True, [_node("n1", "cloud1", True)])
    same = {"dispatcher_heartbeat": 5, "node_cert_expiry": 7776000, "autolock": False}
    for settings in ({}, same):
        desired = Desired(state="manager", advertise_addr="172.30.0.1", settings=settings)
        assert not _do(docker, desired)[1].changed
    assert docker.calls == []


def test_a_new_swarm_begins_with_its_settings():
    docker = Engine()
    engine, plan = _do(docker, Desired(state="manager", advertise_addr="172.30.0.1", settings=TUNED))
    assert dict(docker.calls)["/swarm/init"]["Spec"] == {
        "Orchestration": {"TaskHistoryRetentionLimit": 2},
        "Dispatcher": {"HeartbeatPeriod": 15000000000},
        "EncryptionConfig": {"AutoLockManagers": True},
    }
    assert plan.after.items() >= TUNED.items()
    assert not engine.plan(engine.observe()).changed
    assert "'docker swarm unlock-key' on a manager shows it" in engine.result(engine.observe())["warnings"][0]


def test_a_swarm_that_somebody_else_changes_is_tried_again():
    class Busy(Engine):
        def post(self, path, body):
            if self.busy:
                self.busy -= 1
                self.version += 1
                raise DockerError("rpc error: code = Unknown desc = update out of sequence", 500)
            super().post(path, body)

    docker = Busy("active", True, [_node("n1", "cloud1", True)])
    docker.busy = 2
    _do(docker, Desired(state="manager", advertise_addr="172.30.0.1", settings={"max_snapshots": 3}))
    assert docker.spec["Raft"] == {**SPEC["Raft"], "KeepOldSnapshots": 3}


def test_settings_of_a_swarm_that_does_not_answer_are_not_made_up():
    class Leaderless(Engine):
        def info(self):
            found = super().info()
            found["Swarm"].pop("Cluster")
            return found

    docker = Leaderless("active", True, [_node("n1", "cloud1", True)])
    engine = SwarmNodeEngine(docker, Run(), Desired(state="manager", advertise_addr="172.30.0.1", settings=TUNED), 0.3)
    found = engine.observe()
    assert node_result(found)["settings"] is None
    assert not engine.plan(found).changed
    with pytest.raises(OversshError, match="does not know its swarm's settings at present; see 'docker info'"):
        engine.perform(Step("set_swarm", "", {"settings": TUNED}))


# Join tokens


def test_join_tokens_are_rotated_once_for_each_task_that_asks():
    desired = Desired(state="manager", advertise_addr="172.30.0.1", rotate_tokens=("manager", "worker"))
    docker = Engine("active", True, [_node("n1", "cloud1", True)])
    engine, plan = _do(docker, desired)
    assert plan.labels == ["rotate the join tokens of managers and workers"]
    assert plan.diff()["after"] == "join_token_of_managers: a new one\njoin_token_of_workers: a new one\n"
    path = "/swarm/update?version=10&rotateManagerToken=true&rotateWorkerToken=true"
    assert docker.calls == [(path, SPEC)]
    assert not engine.plan(engine.observe()).changed
    assert "a join token that was rotated is void for ever" in undo(plan.steps, engine.perform)
    docker.calls.clear()
    _do(docker, Desired(state="manager", advertise_addr="172.30.0.1", rotate_tokens=("worker",), settings=TUNED))
    assert [call[0] for call in docker.calls] == [
        "/swarm/update?version=11",
        "/swarm/update?version=12&rotateWorkerToken=true",
    ]
    assert plan_in_check_mode(docker, desired).changed


def test_a_new_swarm_has_new_join_tokens_anyway():
    docker = Engine()
    engine, plan = _do(docker, Desired(state="manager", advertise_addr="172.30.0.1", rotate_tokens=("worker",)))
    assert plan.labels == [
        "make the bridge docker_gwbridge that overlay networks need",
        "initialise a swarm on 172.30.0.1:2377",
    ]
    assert not engine.plan(engine.observe()).changed
