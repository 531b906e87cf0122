# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's plan: what is done, what is refused, and in which words."""

from __future__ import annotations

import dataclasses
import ipaddress
import re

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._linux.routes import Route
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.model import (
    Desired,
    Entry,
    Ground,
    Observed,
    believed,
    desired_of,
    endpoint,
    token_digest,
)
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.plan import plan_node
from hypothesis import given
from hypothesis import strategies as st

FRESH = Observed(local_state="inactive")
FIRST_MANAGER = Desired(state="manager", advertise_addr="172.30.0.1", default_addr_pool=("10.201.0.0/16",))
TOKEN = "SWMTKN-1-aaa-secretsecret"
SPOKE = Desired(
    state="worker",
    advertise_addr="172.30.0.2",
    remote_managers=("172.30.0.1:2377",),
    join_token=TOKEN,
    cluster_id="swarm1",
)


def _manager(node_id, reachability="reachable", **more):
    return Entry(node_id, node_id, "manager", "active", "ready", "172.30.0.1", reachability, **more)


def _in_swarm(*nodes, own="n1", **more):
    found = {
        "local_state": "active",
        "node_id": own,
        "node_address": "172.30.0.1",
        "role": "manager",
        "cluster_id": "swarm1",
        "listen_addr": "172.30.0.1:2377",
        "data_path_addr": "172.30.0.1",
        "data_path_port": 4789,
        "default_addr_pool": ("10.201.0.0/16",),
        "subnet_size": 24,
        "managers": ("172.30.0.1:2377",),
        "nodes": nodes or (_manager(own, leader=True),),
        "bridge": True,
        "bridge_own": True,
    }
    return Observed(**{**found, **more})


WORKER = _in_swarm(
    own="n2",
    node_address="172.30.0.2",
    role="worker",
    listen_addr="172.30.0.2:2377",
    data_path_addr="172.30.0.2",
    data_path_port=None,
    default_addr_pool=None,
    subnet_size=None,
    nodes=(Entry("other", "x", "worker", "active", "ready", ""),),
)


BRIDGE = "make the bridge docker_gwbridge that overlay networks need"


def _actions(desired, observed):
    return [step.action for step in plan_node(desired, observed).steps]


def test_a_manager_with_nobody_to_join_founds_the_swarm():
    plan = plan_node(FIRST_MANAGER, FRESH)
    assert plan.labels == [BRIDGE, "initialise a swarm on 172.30.0.1:2377"]
    assert [step.action for step in plan.inverse] == ["leave_again", "remove_bridge"]
    assert plan.after["listen_addr"] == "172.30.0.1:2377"
    assert plan.before == {"state": "left"}


def test_others_join():
    plan = plan_node(SPOKE, FRESH)
    assert plan.labels == [BRIDGE, "join the swarm at 172.30.0.1:2377 as worker 172.30.0.2"]
    assert [step.action for step in plan.inverse] == ["leave_again", "remove_bridge"]


def test_a_bridge_that_is_there_is_taken_as_it_is():
    assert _actions(FIRST_MANAGER, dataclasses.replace(FRESH, bridge=True)) == ["init"]


def test_the_token_is_nowhere_in_a_plan():
    assert "secretsecret" not in repr(plan_node(SPOKE, FRESH)) + repr(SPOKE)


def test_a_node_as_asked_for_is_left_alone():
    assert not plan_node(FIRST_MANAGER, _in_swarm()).changed
    assert not plan_node(SPOKE, WORKER).changed


def test_a_worker_needs_someone_to_join():
    with pytest.raises(OversshError, match="name one in remote_managers"):
        plan_node(Desired(state="worker", advertise_addr="172.30.0.2"), FRESH)


@pytest.mark.parametrize("state", ["manager", "worker"])
def test_a_node_of_another_swarm_is_an_error(state):
    desired = dataclasses.replace(SPOKE, state=state)
    with pytest.raises(OversshError, match=r"in another swarm, other, not in swarm1; .* state: left"):
        plan_node(desired, dataclasses.replace(WORKER, cluster_id="other"))


def test_the_join_token_tells_another_swarm_by_its_root_certificate():
    desired = dataclasses.replace(SPOKE, cluster_id=None)
    assert not plan_node(desired, dataclasses.replace(WORKER, root_ca_digest="aaa")).changed
    with pytest.raises(OversshError, match="not in the one of the join token"):
        plan_node(desired, dataclasses.replace(WORKER, root_ca_digest="bbb"))


def test_the_managers_known_tell_another_swarm_where_nothing_else_does():
    desired = dataclasses.replace(SPOKE, cluster_id=None, join_token=None)
    assert not plan_node(desired, WORKER).changed
    with pytest.raises(OversshError, match=r"of 10\.0\.0\.9:2377, not in that of 172\.30\.0\.1:2377"):
        plan_node(desired, dataclasses.replace(WORKER, managers=("10.0.0.9:2377",)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"advertise_addr": "172.30.0.7"}, "its advertise_addr is 172.30.0.1, not 172.30.0.7"),
        ({"listen_addr": "172.30.0.1:2378"}, "its listen_addr is 172.30.0.1:2377, not 172.30.0.1:2378"),
        ({"data_path_addr": "172.30.0.7"}, "its data_path_addr is 172.30.0.1, not 172.30.0.7"),
        ({"data_path_port": 4790}, "its data_path_port is 4789, not 4790"),
        ({"default_addr_pool": ("10.9.0.0/16",)}, "its default_addr_pool is 10.201.0.0/16, not 10.9.0.0/16"),
        ({"subnet_size": 25}, "its subnet_size is 24, not 25"),
    ],
)
def test_what_a_swarm_cant_follow_is_never_ignored(change, words):
    desired = dataclasses.replace(FIRST_MANAGER, **change)
    with pytest.raises(OversshError) as caught:
        plan_node(desired, _in_swarm())
    assert words in str(caught.value)
    assert "on_change: recreate" in str(caught.value)


def test_what_is_not_asked_for_is_not_compared():
    desired = Desired(state="manager", advertise_addr="172.30.0.1")
    assert not plan_node(desired, _in_swarm(listen_addr="0.0.0.0:2377", data_path_port=4790)).changed


def test_recreating_the_last_manager_needs_force_too():
    desired = dataclasses.replace(FIRST_MANAGER, data_path_port=4790, on_change="recreate")
    with pytest.raises(OversshError, match=r"last manager of the swarm swarm1.*set force: true"):
        plan_node(desired, _in_swarm())
    assert _actions(dataclasses.replace(desired, force=True), _in_swarm()) == ["leave", "init"]


def test_a_worker_that_moves_leaves_and_joins_with_consent():
    desired = dataclasses.replace(SPOKE, advertise_addr="172.30.0.5", on_change="recreate")
    assert _actions(desired, WORKER) == ["leave", "join"]


def test_a_new_join_cant_change_what_the_whole_swarm_has():
    desired = dataclasses.replace(
        SPOKE, state="manager", advertise_addr="172.30.0.1", data_path_port=4790, on_change="recreate", force=True
    )
    with pytest.raises(OversshError, match="swarm has other settings: its data_path_port is 4789, not 4790"):
        plan_node(desired, _in_swarm())


def test_a_worker_is_not_promoted_from_itself():
    desired = dataclasses.replace(SPOKE, state="manager")
    with pytest.raises(OversshError, match="'docker node promote n2', or set on_change: recreate"):
        plan_node(desired, WORKER)
    assert _actions(dataclasses.replace(desired, on_change="recreate"), WORKER) == ["leave", "join"]


THREE = (_manager("n1"), _manager("n2", leader=True), _manager("n3"))


def test_a_manager_among_others_becomes_a_worker():
    desired = dataclasses.replace(SPOKE, advertise_addr="172.30.0.1")
    plan = plan_node(desired, _in_swarm(*THREE))
    assert [step.action for step in plan.steps] == ["demote"]
    assert (plan.before["state"], plan.after["state"]) == ("manager", "worker")


def test_a_manager_is_made_a_worker_before_it_leaves():
    assert _actions(Desired(state="left"), _in_swarm(*THREE)) == ["demote", "leave", "remove_bridge"]


def test_the_last_manager_leaves_only_with_force_and_the_loss_is_named():
    nodes = (_manager("n1"), Entry("n2", "edge1", "worker", "active", "ready", ""))
    with pytest.raises(
        OversshError, match=r"lost with its services.*1 other node in it would stay behind.*force: true"
    ):
        plan_node(Desired(state="left"), _in_swarm(*nodes))
    plan = plan_node(Desired(state="left", force=True), _in_swarm(*nodes))
    assert [step.action for step in plan.steps] == ["leave", "remove_bridge"]
    assert plan.steps[0].args["force"] is True


def test_a_manager_that_the_quorum_needs_leaves_only_with_force():
    nodes = (_manager("n1"), _manager("n2"), _manager("n3", "unreachable"))
    with pytest.raises(OversshError, match="without a quorum: of its 2 other managers only 1 can be reached"):
        plan_node(Desired(state="left"), _in_swarm(*nodes))
    # Nobody could agree to make it a worker, so it just goes.
    assert _actions(Desired(state="left", force=True), _in_swarm(*nodes)) == ["leave", "remove_bridge"]


@pytest.mark.parametrize("state", ["locked", "error", "pending"])
def test_a_manager_that_does_not_run_is_not_thrown_away_without_force(state):
    observed = Observed(local_state=state, role="manager", error="no leader")
    with pytest.raises(OversshError, match=r"does not run here at present \(Docker says: no leader\).*force: true"):
        plan_node(Desired(state="left"), observed)
    assert _actions(Desired(state="left", force=True), observed) == ["leave"]


@pytest.mark.parametrize("state", ["error", "pending"])
def test_a_worker_that_does_not_run_may_leave(state):
    assert _actions(Desired(state="left"), Observed(local_state=state, role="worker")) == ["leave"]


def test_a_worker_leaves_and_takes_the_bridge_along():
    assert _actions(Desired(state="left"), WORKER) == ["leave", "remove_bridge"]


def test_having_left_is_unchanged_and_a_bridge_in_use_stays():
    assert not plan_node(Desired(state="left"), FRESH).changed
    left = Observed(local_state="inactive", bridge=True, bridge_own=True)
    assert _actions(Desired(state="left"), left) == ["remove_bridge"]
    assert not plan_node(Desired(state="left"), dataclasses.replace(left, bridge_used=True)).changed
    assert not plan_node(Desired(state="left"), dataclasses.replace(left, bridge_own=False)).changed


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("locked", "unlock it with 'docker swarm unlock'"),
        (
            "pending",
            r"has not started on it yet \(Docker says: bind failed\).*managers it knows \(172\.30\.0\.9:2377\)",
        ),
        ("error", r"can't take part in it \(Docker says: bind failed\).*'systemctl restart docker'"),
    ],
)
def test_each_state_of_an_unusable_swarm_has_its_sentence(state, words):
    observed = Observed(local_state=state, role="worker", error="bind failed", managers=("172.30.0.9:2377",))
    with pytest.raises(OversshError, match=words):
        plan_node(SPOKE, observed)


def test_a_broken_swarm_is_left_for_a_new_one_with_consent():
    desired = dataclasses.replace(SPOKE, on_change="recreate")
    assert _actions(desired, Observed(local_state="error", role="worker", bridge=True)) == ["leave", "join"]
    with pytest.raises(OversshError, match="force: true"):
        plan_node(desired, Observed(local_state="error", role="manager"))


def test_availability_is_changed_on_managers_only():
    desired = dataclasses.replace(FIRST_MANAGER, availability="drain")
    plan = plan_node(desired, _in_swarm())
    assert plan.labels == ["set this node's availability to drain"]
    assert plan.inverse[0].args == {"availability": "active"}
    assert not plan_node(dataclasses.replace(SPOKE, availability="drain"), WORKER).changed


def test_a_certificate_that_lags_behind_its_role_is_not_settled():
    assert WORKER.settled
    assert not dataclasses.replace(WORKER, certificate_role="manager").settled
    assert not Observed(local_state="pending").settled
    assert Observed(local_state="error", role="manager", certificate_role="manager").settled


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("advertise_addr", "tun1001", "advertise_addr is tun1001, which is no IP address"),
        ("data_path_addr", "edge1", "data_path_addr is edge1, which is no IP address"),
        ("listen_addr", "172.30.0.1:0", "listen_addr is 172.30.0.1:0; it takes an IP address with a port"),
        ("listen_addr", "172.30.0.1:many", "listen_addr is 172.30.0.1:many"),
        ("remote_managers", ["172.30.0.1:2377", "hub"], "remote_managers is hub"),
        ("default_addr_pool", ["10.201.0.1/16"], "default_addr_pool takes networks"),
        ("bridge_mtu", 68, "bridge_mtu is 68; it takes a number of bytes from 576 to 65535"),
    ],
)
def test_a_wrong_option_is_named(option, value, words):
    with pytest.raises(OversshError) as caught:
        desired_of({"state": "worker", option: value})
    assert words in str(caught.value)


def test_addresses_have_one_spelling():
    desired = desired_of(
        {"state": "worker", "listen_addr": "fd00:0::1", "remote_managers": ["172.30.0.1", "[fd00::2]:2400"]}
    )
    assert desired.listen_addr == "[fd00::1]:2377"
    assert desired.remote_managers == ("172.30.0.1:2377", "[fd00::2]:2400")


def test_a_token_without_the_usual_form_says_nothing():
    assert token_digest("SWMTKN-1-abc-def") == "abc"
    assert token_digest("SWMTKN-2-1-abc-def") == "abc"
    assert token_digest("nonsense") is None
    assert token_digest(None) is None


_STATES = st.sampled_from(["inactive", "pending", "active", "error", "locked"])


@given(
    _STATES,
    st.sampled_from(["manager", "worker", None]),
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), unique_by=lambda one: one[0]),
)
def test_no_swarm_is_ever_lost_without_force(state, role, managers):
    nodes = tuple(_manager(name, "reachable" if up else "unreachable") for name, up in managers)
    observed = Observed(local_state=state, role=role, node_id="a", nodes=nodes if role == "manager" else ())
    try:
        steps = plan_node(Desired(state="left"), observed).steps
    except OversshError:
        return
    if any(step.action == "leave" for step in steps) and role == "manager":
        others = [up for name, up in managers if name != "a"]
        assert sum(others) > len(others) / 2
        assert steps[0].action == "demote"
    assert not any(step.args.get("force") for step in steps)


def test_endpoints_are_split():
    assert endpoint("172.30.0.1") == ("172.30.0.1", 2377)
    assert endpoint("172.30.0.1:99") == ("172.30.0.1", 99)
    assert endpoint("[fd00::1]") == ("fd00::1", 2377)
    assert endpoint("fd00::1") == ("fd00::1", 2377)


LISTED = {"other": "ready", "manager": "ready"}


@pytest.mark.parametrize("state", ["active", "pending", "error", "locked"])
@pytest.mark.parametrize("role", ["worker", "manager"])
def test_a_node_that_its_managers_have_removed_joins_anew_whatever_it_believes(state, role):
    removed = dataclasses.replace(WORKER, local_state=state, role=role)
    desired = dataclasses.replace(SPOKE, state=role, members=LISTED)
    plan = plan_node(desired, removed)
    assert plan.labels == [
        "take this node out of the swarm swarm1, whose managers have removed it",
        f"join the swarm at 172.30.0.1:2377 as {role} 172.30.0.2",
    ]
    assert plan.steps[0].args == {"force": True, "comes_back": True}
    assert not plan_node(desired, dataclasses.replace(removed, local_state="active", node_id="other")).changed


def test_a_node_that_managers_of_another_swarm_do_not_list_is_left_alone():
    elsewhere = dataclasses.replace(WORKER, cluster_id="swarm2")
    with pytest.raises(OversshError, match="this node is in another swarm, swarm2, not in swarm1"):
        plan_node(dataclasses.replace(SPOKE, members=LISTED), elsewhere)


def test_a_first_manager_that_the_others_have_removed_is_told_to_join_them():
    with pytest.raises(
        OversshError, match="the swarm swarm1, whose managers have removed it; to join it anew, name one"
    ):
        plan_node(dataclasses.replace(FIRST_MANAGER, members=LISTED), _in_swarm())


@pytest.mark.parametrize(
    ("observed", "members", "taken"),
    [
        (_in_swarm(local_state="error", error="timeout"), {}, True),
        (_in_swarm(_manager("n1", "unreachable"), local_state="error", error="timeout"), {}, False),
        (dataclasses.replace(WORKER, local_state="error"), {"n2": "ready"}, True),
        (dataclasses.replace(WORKER, local_state="error"), {"n2": "down"}, False),
        (dataclasses.replace(WORKER, local_state="error"), {}, False),
        (dataclasses.replace(WORKER, local_state="locked"), {"n2": "ready"}, False),
    ],
)
def test_managers_are_believed_that_a_node_works_which_its_engine_calls_broken(observed, members, taken):
    found = believed(observed, members)
    assert (found.local_state == "active", found.doubted) == (taken, taken)


def test_a_node_in_doubt_needs_nothing_done():
    found = believed(_in_swarm(local_state="error", error="timeout"), {})
    assert not plan_node(FIRST_MANAGER, found).changed


HAS = Ground(frozenset({"172.30.0.1"}), (Route(ipaddress.ip_network("10.9.0.0/16"), "eth1"),))


@pytest.mark.parametrize(
    ("desired", "ground", "words"),
    [
        ({"advertise_addr": "172.30.0.7"}, {}, "advertise_addr is 172.30.0.7, and no device of this host has that"),
        ({"listen_addr": "172.30.0.8:2377"}, {}, "listen_addr is 172.30.0.8, and no device of this host has that"),
        ({"data_path_addr": "172.30.0.9"}, {}, "data_path_addr is 172.30.0.9, and no device of this host has that"),
        ({}, {"gossip": True}, "something on this host listens on 172.30.0.1 port 7946 already"),
        ({"default_addr_pool": ("10.0.0.0/8",)}, {}, "default_addr_pool 10.0.0.0/8 overlaps the route 10.9.0.0/16"),
    ],
)
def test_what_this_host_can_not_give_to_a_swarm_is_refused(desired, ground, words):
    wanted, ground = dataclasses.replace(FIRST_MANAGER, **desired), dataclasses.replace(HAS, **ground)
    with pytest.raises(OversshError, match=f"^{re.escape(words)}"):
        plan_node(wanted, dataclasses.replace(FRESH, ground=ground))
    assert not plan_node(dataclasses.replace(wanted, state="left"), dataclasses.replace(FRESH, ground=ground)).changed


def test_where_a_swarm_can_come_about():
    assert plan_node(FIRST_MANAGER, dataclasses.replace(FRESH, ground=HAS)).changed
    everywhere = dataclasses.replace(FIRST_MANAGER, listen_addr="0.0.0.0:2377")
    assert plan_node(everywhere, dataclasses.replace(FRESH, ground=HAS)).changed
    unknown = dataclasses.replace(HAS, addresses=None)
    away = dataclasses.replace(FIRST_MANAGER, advertise_addr="172.30.0.7")
    assert plan_node(away, dataclasses.replace(FRESH, ground=unknown)).changed
    # Only the first manager brings the pool.
    joins = dataclasses.replace(SPOKE, advertise_addr="172.30.0.1", default_addr_pool=("10.0.0.0/8",))
    assert plan_node(joins, dataclasses.replace(FRESH, ground=HAS)).changed


def test_a_node_that_comes_in_again_has_its_gossip_until_it_has_left():
    moves = dataclasses.replace(FIRST_MANAGER, subnet_size=25, on_change="recreate", force=True)
    found = _in_swarm(ground=dataclasses.replace(HAS, gossip=True))
    assert [step.action for step in plan_node(moves, found).steps] == ["leave", "init"]
    with pytest.raises(OversshError, match="no device of this host has that address; bring the tunnel up first"):
        plan_node(dataclasses.replace(moves, advertise_addr="172.30.0.7"), found)
