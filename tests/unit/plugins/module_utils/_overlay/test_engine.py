# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Overlay networks: what is made, what is refused, and who is named when one can't be removed."""

from __future__ import annotations

import dataclasses
import ipaddress
import json

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import apply, undo
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import DockerError
from ansible_collections.overssh.swarm.plugins.module_utils._linux.devices import Address, Device
from ansible_collections.overssh.swarm.plugins.module_utils._linux.routes import Route
from ansible_collections.overssh.swarm.plugins.module_utils._overlay import engine as overlay_engine
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.engine import OverlayNetworkEngine
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.info import info
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.model import (
    MANAGED,
    MTU,
    Desired,
    Observed,
    OverlayNetwork,
    Subnet,
    desired_of,
    network_of,
)
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.mtu import remarks
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.plan import plan_network, refuse_overlap
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.several import OverlayNetworkEngines
from hypothesis import given
from hypothesis import strategies as st

VXLAN = "com.docker.network.driver.overlay.vxlanid_list"
WANTED = Desired(name="o1", subnets=(Subnet("10.200.0.0/24"),), underlay="172.30.0.0/16")
MANAGER = Observed(manager=True, state="active", data_path_addr="172.30.0.1", underlay_mtu=1500)
# As `docker network inspect` of a network that this collection made answers.
INSPECTED: dict = {
    "Name": "o1",
    "Id": "net1",
    "Scope": "swarm",
    "Driver": "overlay",
    "IPAM": {"Driver": "default", "Options": None, "Config": [{"Subnet": "10.200.0.0/24", "Gateway": "10.200.0.1"}]},
    "Internal": False,
    "Attachable": True,
    "Ingress": False,
    "Options": {MTU: "1500", VXLAN: "4097"},
    "Labels": {MANAGED: "true"},
}
# As it answers while the swarm has found no subnet for it.
UNALLOCATED = {
    **INSPECTED,
    "Driver": "",
    "IPAM": {"Driver": "", "Options": None, "Config": None},
    "Options": None,
}
THERE = dataclasses.replace(MANAGER, network=network_of(INSPECTED))


def test_a_network_is_made_with_the_underlays_mtu_and_our_label():
    plan = plan_network(WANTED, MANAGER)
    assert plan.labels == ["make the overlay network o1 on 10.200.0.0/24"]
    body = plan.steps[0].args["body"]
    assert body["Options"] == {MTU: "1500"}
    assert body["Labels"] == {MANAGED: "true"}
    assert body["IPAM"]["Config"] == [{"Subnet": "10.200.0.0/24"}]
    assert (body["Driver"], body["Attachable"], body["Internal"]) == ("overlay", True, False)
    assert plan.inverse[0].args["name"] == "o1"


def test_every_option_reaches_the_engine():
    desired = desired_of(
        {
            "name": "o2",
            "subnet": "10.210.0.0/24",
            "gateway": "10.210.0.254",
            "ip_range": "10.210.0.128/25",
            "attachable": False,
            "internal": True,
            "encrypted": True,
            "mtu": "9000",
            "labels": {"team": 7},
            "options": {VXLAN: 5000},
        }
    )
    body = plan_network(desired, MANAGER).steps[0].args["body"]
    assert body["IPAM"]["Config"] == [
        {"Subnet": "10.210.0.0/24", "Gateway": "10.210.0.254", "IPRange": "10.210.0.128/25"}
    ]
    assert body["Options"] == {VXLAN: "5000", MTU: "9000", "encrypted": ""}
    assert body["Labels"] == {"team": "7", MANAGED: "true"}
    assert (body["Attachable"], body["Internal"]) == (False, True)


def test_a_network_as_asked_for_is_left_alone_whoever_made_it():
    assert not plan_network(WANTED, THERE).changed
    foreign = {**INSPECTED, "Labels": None, "Options": {VXLAN: "4097"}}  # without an MTU, the driver takes 1500
    assert not plan_network(WANTED, dataclasses.replace(MANAGER, network=network_of(foreign))).changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"subnets": (Subnet("10.200.1.0/24"),)}, "its subnet is 10.200.0.0/24, not 10.200.1.0/24"),
        ({"subnets": (Subnet("10.200.0.0/24", gateway="10.200.0.9"),)}, "its gateway is 10.200.0.1, not 10.200.0.9"),
        (
            {"subnets": (Subnet("10.200.0.0/24", ip_range="10.200.0.128/25"),)},
            "its ip_range is none, not 10.200.0.128/25",
        ),
        ({"attachable": False}, "its attachable is on, not off"),
        ({"internal": True}, "its internal is off, not on"),
        ({"encrypted": True}, "its encrypted is off, not on"),
        ({"mtu": 9000}, "its mtu is 1500, not 9000"),
        ({"labels": {"team": "a"}}, "its label team is none, not a"),
        ({"options": {"x": "y"}}, "its option x is none, not y"),
    ],
)
def test_what_docker_cant_change_needs_consent(change, words):
    desired = dataclasses.replace(WANTED, **change)
    with pytest.raises(OversshError) as caught:
        plan_network(desired, THERE)
    assert words in str(caught.value)
    assert "on_change: recreate" in str(caught.value)
    plan = plan_network(dataclasses.replace(desired, on_change="recreate"), THERE)
    assert [step.action for step in plan.steps] == ["remove", "create"]
    again = plan.inverse[-1].args["body"]
    assert again["IPAM"]["Config"] == INSPECTED["IPAM"]["Config"]
    assert (again["Options"], again["Labels"]) == (INSPECTED["Options"], INSPECTED["Labels"])


def test_auto_follows_the_smallest_underlay_of_all_nodes():
    others = dataclasses.replace(WANTED, underlay_mtus=(1400, 9000))
    assert plan_network(others, MANAGER).steps[0].args["body"]["Options"][MTU] == "1400"
    own = dataclasses.replace(MANAGER, underlay_mtu=1300)
    assert plan_network(others, own).steps[0].args["body"]["Options"][MTU] == "1300"
    exact = dataclasses.replace(others, mtu=9000)
    assert plan_network(exact, own).steps[0].args["body"]["Options"][MTU] == "9000"


def test_auto_leaves_room_for_the_larger_header_where_the_swarm_runs_over_ipv6():
    six = dataclasses.replace(MANAGER, data_path_addr="fd8a:91c4:6e27::1")
    assert plan_network(WANTED, six).steps[0].args["body"]["Options"][MTU] == "1480"


def test_auto_needs_no_node_of_its_own_in_check_mode():
    others = dataclasses.replace(WANTED, underlay_mtus=(65000, 1500))
    plan = plan_network(others, Observed(manager=False, state="inactive", check_mode=True))
    assert plan.after["mtu"] == 1500


def test_a_network_that_loses_large_packets_is_a_difference():
    desired = dataclasses.replace(WANTED, underlay_mtus=(1300,))
    with pytest.raises(OversshError, match="its mtu is 1500 where only 1300 fits through the underlay, so that large"):
        plan_network(desired, THERE)
    assert plan_network(dataclasses.replace(desired, on_change="recreate"), THERE).after["mtu"] == 1300


def test_a_network_that_could_be_faster_is_a_difference_only_with_consent():
    wide = dataclasses.replace(THERE, underlay_mtu=9000)
    assert not plan_network(WANTED, wide).changed
    (words,) = remarks(WANTED, wide)
    assert "o1 has an MTU of 1500 where 9000 fits" in words
    assert "on_change: recreate" in words
    agreed = dataclasses.replace(WANTED, on_change="recreate")
    assert plan_network(agreed, wide).after["mtu"] == 9000
    assert remarks(agreed, wide) == []


@pytest.mark.parametrize("mtu", [576, 1300, 1500, 9000, 65535])
def test_one_that_fits_or_is_to_be_exact_brings_no_remark(mtu):
    there = dataclasses.replace(THERE, underlay_mtu=1500)
    assert remarks(dataclasses.replace(WANTED, mtu=mtu), there) == []
    assert remarks(WANTED, there) == []
    assert remarks(dataclasses.replace(WANTED, state="absent"), dataclasses.replace(there, underlay_mtu=None)) == []
    assert remarks(WANTED, dataclasses.replace(MANAGER, underlay_mtu=9000)) == []


def test_auto_without_a_device_is_refused():
    with pytest.raises(OversshError, match=r"node's address 172\.30\.0\.1, and no device of this host has it"):
        plan_network(WANTED, dataclasses.replace(MANAGER, underlay_mtu=None))
    assert plan_network(dataclasses.replace(WANTED, mtu=1500), dataclasses.replace(MANAGER, underlay_mtu=None)).changed


@pytest.mark.parametrize(
    ("observed", "words"),
    [
        (Observed(manager=False, state="active"), "this host is a worker of its swarm"),
        (Observed(manager=False, state="inactive"), "this host is in no swarm"),
        (Observed(manager=False, state="locked"), "a swarm whose state here is locked"),
    ],
)
def test_only_managers_make_networks(observed, words):
    with pytest.raises(OversshError, match=words):
        plan_network(WANTED, observed)


def test_check_mode_takes_the_swarm_for_granted():
    plan = plan_network(WANTED, Observed(manager=False, state="inactive", check_mode=True))
    assert plan.after["mtu"] == "auto"
    assert plan.changed


def test_absent():
    gone = Desired(name="o1", state="absent")
    assert not plan_network(gone, MANAGER).changed
    assert not plan_network(gone, Observed(manager=False, state="inactive")).changed
    assert plan_network(gone, THERE).labels == ["remove the overlay network o1"]


def test_a_foreign_network_is_removed_only_with_consent():
    gone = Desired(name="o1", state="absent")
    foreign = dataclasses.replace(MANAGER, network=network_of({**INSPECTED, "Labels": {}}))
    with pytest.raises(OversshError, match="was not made by this collection"):
        plan_network(gone, foreign)
    assert plan_network(dataclasses.replace(gone, on_change="recreate"), foreign).changed


@pytest.mark.parametrize("state", ["present", "absent"])
def test_networks_of_the_host_and_ingress_are_never_touched(state):
    bridge = OverlayNetwork("o1", "b", "bridge", "local", (Subnet("10.1.0.0/16"),))
    with pytest.raises(OversshError, match="o1 is a bridge network of this host"):
        plan_network(
            dataclasses.replace(WANTED, state=state, on_change="recreate"), dataclasses.replace(MANAGER, network=bridge)
        )
    with pytest.raises(OversshError, match=r"ingress is the engine's own ingress network; .* set ingress: true"):
        plan_network(dataclasses.replace(WANTED, name="ingress", state=state), MANAGER)
    renamed = dataclasses.replace(MANAGER, network=network_of({**INSPECTED, "Ingress": True}))
    with pytest.raises(OversshError, match="o1 is the engine's own ingress network"):
        plan_network(dataclasses.replace(WANTED, state=state), renamed)


@pytest.mark.parametrize(
    ("neighbour", "words"),
    [
        (
            {"others": (OverlayNetwork("b1", "b", "bridge", "local", (Subnet("10.200.0.0/16"),)),)},
            "the subnet 10.200.0.0/24 of o1 overlaps 10.200.0.0/16 of the Docker network b1",
        ),
        (
            {"routes": (Route(ipaddress.ip_network("10.200.0.128/25"), "eth1"),)},
            "overlaps the route 10.200.0.128/25 of this host (device eth1)",
        ),
        (
            {"resolvers": ("no-address", "fd00::53", "10.200.0.53")},
            "the name server 10.200.0.53 of this host is in the subnet 10.200.0.0/24 of o1, so that containers there",
        ),
    ],
)
@pytest.mark.parametrize("network", [None, network_of(INSPECTED)])
def test_an_overlap_is_refused_and_both_are_named(neighbour, words, network):
    with pytest.raises(OversshError) as caught:
        plan_network(WANTED, dataclasses.replace(MANAGER, network=network, **neighbour))
    assert words in str(caught.value)


def test_the_underlay_is_refused_as_a_subnet():
    desired = dataclasses.replace(WANTED, subnets=(Subnet("172.30.9.0/24"),))
    with pytest.raises(OversshError, match=r"subnet 172\.30\.9\.0/24 of o1 overlaps the underlay 172\.30\.0\.0/16"):
        plan_network(desired, MANAGER)


_NETWORKS = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)).map(
    lambda pair: ipaddress.ip_network(pair, strict=False)
)


@given(_NETWORKS, _NETWORKS)
def test_refused_means_that_an_address_is_in_both(one, other):
    shared = max(one.network_address, other.network_address) <= min(one.broadcast_address, other.broadcast_address)
    observed = dataclasses.replace(MANAGER, routes=(Route(other, "eth0"),))
    try:
        refuse_overlap("o1", [Subnet(str(one))], None, observed)
    except OversshError:
        assert shared
    else:
        assert not shared


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"subnet": "10.200.0.1/24"}, "subnet is 10.200.0.1/24"),
        ({"subnet": "fd00::/64"}, "it takes an IPv4 network"),
        ({"gateway": "10.200.0.1"}, "give subnet too"),
        ({"subnet": "10.200.0.0/24", "gateway": "10.201.0.1"}, "not within the subnet 10.200.0.0/24"),
        ({"subnet": "10.200.0.0/24", "gateway": "hub"}, "gateway is hub"),
        ({"subnet": "10.200.0.0/24", "ip_range": "10.201.0.0/25"}, "not within the subnet"),
        ({"subnet": "10.200.0.0/24", "gateway": "10.200.0.0"}, "is the network's own address of the subnet"),
        ({"subnet": "10.200.0.0/24", "gateway": "10.200.0.255"}, "is the broadcast address of the subnet"),
        ({"subnets": [{"subnet": "10.200.0.1/24"}]}, "subnet is 10.200.0.1/24"),
        ({"subnets": [{"subnet": ""}]}, "an entry of subnets has no subnet"),
        ({"subnet": "10.200.0.0/24", "subnets": [{"subnet": "10.201.0.0/24"}]}, "subnet beside subnets"),
        ({"gateway": "10.200.0.1", "subnets": [{"subnet": "10.200.0.0/24"}]}, "gateway beside subnets"),
        (
            {"subnets": [{"subnet": "10.200.0.0/24"}, {"subnet": "10.200.0.128/25"}]},
            "the subnets 10.200.0.0/24 and 10.200.0.128/25 of o1 overlap",
        ),
        ({"mtu": "500"}, "mtu is 500; it takes auto"),
        ({"mtu": "big"}, "mtu is big"),
        ({"underlay_mtus": [1500, 68]}, "underlay_mtus is 68; it takes a number of bytes from 576"),
        ({"options": {MTU: "1500"}}, "said with the option mtu"),
        ({"options": {"encrypted": ""}}, "said with the option encrypted"),
        ({"underlay": "tun"}, "underlay is tun"),
    ],
)
def test_a_wrong_option_is_named(params, words):
    with pytest.raises(OversshError) as caught:
        desired_of({"name": "o1", **params})
    assert words in str(caught.value)


def test_a_new_network_leaves_the_swarm_something_of_its_pools():
    pools = ("10.199.0.0/16", "10.200.0.0/24")
    with pytest.raises(OversshError, match=r"10\.200\.0\.0/24 of o1 takes the whole address pool 10\.200\.0\.0/24"):
        plan_network(WANTED, dataclasses.replace(MANAGER, pools=pools))
    moved = dataclasses.replace(WANTED, subnets=(Subnet("10.192.0.0/12"),), on_change="recreate")
    with pytest.raises(OversshError, match=r"10\.192\.0\.0/12 of o1 takes the whole address pool 10\.199\.0\.0/16"):
        plan_network(moved, dataclasses.replace(THERE, pools=pools))
    assert not plan_network(WANTED, dataclasses.replace(THERE, pools=pools)).changed
    # A part of a pool Docker leaves out of it.
    assert plan_network(WANTED, dataclasses.replace(MANAGER, pools=("10.0.0.0/8",))).changed


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("O1", "the swarm has the network o1, and takes O1 for the same name"),
        ("sjl0ypcn5gfe", "the name sjl0ypcn5gfe is also the beginning of the ID of the network o1"),
        ("sjl0ypcn5gfepmqh3nxtgdrzs", "is also the beginning of the ID of the network o1"),
        ("sjl", ""),
    ],
)
def test_a_name_that_stands_for_another_network_is_refused(name, words):
    other = network_of({**INSPECTED, "Id": "sjl0ypcn5gfepmqh3nxtgdrzs"})
    beside = dataclasses.replace(MANAGER, others=(other,))
    desired = dataclasses.replace(WANTED, name=name, subnets=(Subnet("10.201.0.0/24"),))
    if not words:
        assert plan_network(desired, beside).changed
        return
    with pytest.raises(OversshError) as caught:
        plan_network(desired, beside)
    assert words in str(caught.value)
    there = dataclasses.replace(THERE, network=dataclasses.replace(network_of(INSPECTED), name=name))
    assert not plan_network(dataclasses.replace(desired, subnets=()), dataclasses.replace(there, others=())).changed


@pytest.mark.parametrize("network", [None, network_of({**INSPECTED, "Options": {MTU: "1500", "encrypted": ""}})])
def test_an_encrypted_network_needs_a_kernel_with_esp(network):
    desired = dataclasses.replace(WANTED, encrypted=True)
    observed = dataclasses.replace(MANAGER, network=network)
    with pytest.raises(OversshError) as caught:
        plan_network(desired, dataclasses.replace(observed, esp=False))
    assert "o1 is to be encrypted, and the kernel of this host has no ESP" in str(caught.value)
    assert str(caught.value).endswith("load the kernel module esp4, or leave encrypted out")
    for esp in (True, None):
        plan_network(desired, dataclasses.replace(observed, esp=esp))


@pytest.mark.parametrize(
    ("change", "esp"),
    [({"encrypted": True}, False), ({}, None), ({"encrypted": True, "state": "absent"}, None)],
)
def test_the_kernel_is_asked_for_esp_only_where_it_matters(change, esp):
    class Lacking(Run):
        def __call__(self, argv, data=None, check=True):
            if argv[0] == "unshare":
                return Answer(2, "", "Error: Requested AEAD algorithm not found.")
            return super().__call__(argv, data, check)

    desired = dataclasses.replace(WANTED, **change)
    assert OverlayNetworkEngine(Engine(), Lacking(), desired, 1).observe().esp is esp


def test_two_networks_of_one_name_are_told():
    twin = OverlayNetwork("o1", "64ee2551a98c4f5d1d87", "bridge", "local")
    with pytest.raises(OversshError) as caught:
        plan_network(WANTED, dataclasses.replace(THERE, others=(twin,)))
    assert "two networks here are called o1, the swarm's and a bridge network of this host alone" in str(caught.value)
    assert str(caught.value).endswith("remove the latter with 'docker network rm 64ee2551a98c'")
    assert plan_network(Desired(name="o1", state="absent"), dataclasses.replace(THERE, others=(twin,))).changed


TWO = {
    "name": "o2",
    "subnets": [
        {"subnet": "10.210.0.0/24", "gateway": "10.210.0.254", "ip_range": "10.210.0.128/25"},
        {"subnet": "10.211.0.0/24", "gateway": None, "ip_range": None},
    ],
}


def test_a_network_has_several_subnets():
    plan = plan_network(desired_of(TWO), MANAGER)
    assert plan.labels == ["make the overlay network o2 on 10.210.0.0/24 and 10.211.0.0/24"]
    assert plan.steps[0].args["body"]["IPAM"]["Config"] == [
        {"Subnet": "10.210.0.0/24", "Gateway": "10.210.0.254", "IPRange": "10.210.0.128/25"},
        {"Subnet": "10.211.0.0/24"},
    ]
    assert plan.after["subnets"] == [
        {"subnet": "10.210.0.0/24", "gateway": "10.210.0.254", "ip_range": "10.210.0.128/25"},
        {"subnet": "10.211.0.0/24"},
    ]


# As Docker 26.1 answers, in another order.
INSPECTED_TWO = {
    **INSPECTED,
    "Name": "o2",
    "IPAM": {
        "Config": [
            {"Subnet": "10.211.0.0/24", "Gateway": "10.211.0.1"},
            {"Subnet": "10.210.0.0/24", "IPRange": "10.210.0.128/25", "Gateway": "10.210.0.254"},
        ]
    },
    "Options": {MTU: "1500", VXLAN: "4097,4098"},
}


@pytest.mark.parametrize(
    ("subnets", "words"),
    [
        (TWO["subnets"], ""),
        (TWO["subnets"][::-1], ""),
        ([], ""),
        (TWO["subnets"][:1], "its subnets are 10.211.0.0/24 and 10.210.0.0/24, not 10.210.0.0/24"),
        (
            [TWO["subnets"][0], {"subnet": "10.211.0.0/24", "gateway": "10.211.0.9"}],
            "its gateway in 10.211.0.0/24 is 10.211.0.1, not 10.211.0.9",
        ),
        (
            [TWO["subnets"][1], {"subnet": "10.210.0.0/24", "ip_range": "10.210.0.0/25"}],
            "its ip_range in 10.210.0.0/24 is 10.210.0.128/25, not 10.210.0.0/25",
        ),
    ],
)
def test_each_subnet_is_compared_with_the_one_that_is_there(subnets, words):
    observed = dataclasses.replace(MANAGER, network=network_of(INSPECTED_TWO))
    desired = desired_of({**TWO, "subnets": subnets})
    if not words:
        assert not plan_network(desired, observed).changed
        return
    with pytest.raises(OversshError) as caught:
        plan_network(desired, observed)
    assert words in str(caught.value)
    again = plan_network(dataclasses.replace(desired, on_change="recreate"), observed).inverse[-1].args["body"]
    assert again["IPAM"]["Config"] == INSPECTED_TWO["IPAM"]["Config"]


def test_every_subnet_is_looked_at_for_overlaps():
    with pytest.raises(OversshError, match=r"10\.211\.0\.0/24 of o2 overlaps the underlay 10\.211\.0\.0/16"):
        plan_network(desired_of({**TWO, "underlay": "10.211.0.0/16"}), MANAGER)
    neighbour = network_of({**INSPECTED_TWO, "Name": "o3", "Id": "net3"})
    with pytest.raises(OversshError, match=r"10\.210\.0\.0/24 of o1 overlaps 10\.210\.0\.0/24 of the Docker network"):
        plan_network(
            dataclasses.replace(WANTED, subnets=(Subnet("10.210.0.0/24"),)),
            dataclasses.replace(MANAGER, others=(neighbour,)),
        )


def test_a_network_tells_all_its_subnets():
    (found,) = info(Engine([INSPECTED_TWO]))["networks"]
    assert (found["subnet"], found["gateway"], found["ip_range"]) == ("10.211.0.0/24", "10.211.0.1", None)
    assert found["subnets"][1] == {
        "subnet": "10.210.0.0/24",
        "gateway": "10.210.0.254",
        "ip_range": "10.210.0.128/25",
    }


@pytest.mark.parametrize(
    ("options", "mtu", "container_mtu"),
    [({}, 1500, 1450), ({MTU: "9000"}, 9000, 8950), ({MTU: "1499", "encrypted": ""}, 1499, 1420)],
)
def test_the_containers_mtu_is_what_the_driver_leaves(options, mtu, container_mtu):
    network = network_of({**INSPECTED, "Options": options})
    assert (network.mtu, network.container_mtu) == (mtu, container_mtu)


# Against an engine that remembers


class Engine:
    """As much of a manager's Docker engine as networks need. busy: how often a removal meets tasks that use it."""

    def __init__(self, networks=(), busy=0, allocates=True):
        self.found = list(networks)
        self.busy = busy
        self.allocates = allocates
        self.attached = []

    def info(self):
        swarm = {"LocalNodeState": "active", "ControlAvailable": True, "NodeAddr": "172.30.0.1"}
        return {"Swarm": swarm, "DockerRootDir": "/nowhere"}

    def networks(self):
        return self.found

    def post(self, path, body):
        made = {**body, "Id": f"id-{body['Name']}"}
        made["IPAM"] = {"Config": body["IPAM"].get("Config") or [{"Subnet": "10.201.1.0/24"}]}
        self.found.append(made if self.allocates else {**made, "Driver": "", "IPAM": {"Config": None}})

    def remove_network(self, wanted):
        if self.busy:
            self.busy -= 1
            raise DockerError(f"rpc error: code = FailedPrecondition desc = network {wanted} is in use by task t1", 400)
        self.found = [one for one in self.found if wanted not in (one["Id"], one["Name"])]

    def inspect_network(self, wanted):
        for one in self.found:
            if wanted in (one["Id"], one["Name"]):
                return {**one, "Peers": [{"Name": "x", "IP": "172.30.0.1"}]}
        raise DockerError(f"network {wanted} not found", 404)

    def nodes(self):
        return [{"ID": "n2", "Description": {"Hostname": "edge1"}}]

    def services(self):
        return [{"ID": "s1", "Spec": {"Name": "web"}}]

    def containers(self, all, filters):  # noqa: A002
        return []

    def tasks(self, filters=None):
        hidden = filters == {"runtime": "attachment"}
        return [task for task in self.attached if ("ServiceID" not in task) == hidden]


@pytest.fixture(autouse=True)
def tunnel(monkeypatch):
    found = (Device("tun1002", 1400, addresses=(Address("172.30.0.1", 32),)),)
    monkeypatch.setattr(overlay_engine, "read_devices", lambda: found)
    monkeypatch.setattr(overlay_engine, "read_resolvers", lambda: ["192.0.2.53"])


class Run:
    """`ip` on a node that has a route that the network hides."""

    def __call__(self, argv, data=None, check=True):
        return Answer(0, json.dumps([{"dst": "10.201.0.0/16", "dev": "eth1"}]), "")


ATTACHMENT = {
    "ID": "t1",
    "NodeID": "n2",
    "Spec": {
        "NetworkAttachmentSpec": {"ContainerID": "64ee2551a98c4f5d1d87"},
        "Networks": [{"Target": "net1"}],
        "Runtime": "attachment",
    },
    "Status": {"State": "running"},
    "DesiredState": "running",
    "NetworksAttachments": [{"Network": {"ID": "net1"}, "Addresses": ["10.200.0.2/24"]}],
}
TASK = {**ATTACHMENT, "ID": "t2", "ServiceID": "s1", "Spec": {"Networks": [{"Target": "net1"}]}}
ENDED = {**ATTACHMENT, "ID": "t3", "Status": {"State": "shutdown"}, "DesiredState": "shutdown"}
ELSEWHERE = {**ATTACHMENT, "ID": "t4", "Spec": {}, "NetworksAttachments": [{"Network": {"ID": "net2"}}]}


def _do(docker, desired, timeout=0.5, **more):
    engine = OverlayNetworkEngine(docker, Run(), desired, timeout, **more)
    plan = engine.plan(engine.observe())
    apply(plan, engine.perform)
    return engine, plan


def test_a_network_is_there_and_stays_as_it_is():
    docker = Engine()
    engine, plan = _do(docker, WANTED)
    engine.wait()
    result = engine.result(engine.observe())["network"]
    assert (result["subnet"], result["mtu"], result["container_mtu"]) == ("10.200.0.0/24", 1400, 1350)
    assert result["managed"] is True
    assert not engine.plan(engine.observe()).changed
    assert undo(plan.steps, engine.perform) == " (everything done before was rolled back)"
    assert docker.found == []


def test_name_servers_and_the_swarms_pools_are_seen():
    class Pooled(Engine):
        def info(self):
            swarm = super().info()["Swarm"]
            return {"Swarm": {**swarm, "Cluster": {"DefaultAddrPool": ["10.201.0.0/16"]}}, "DockerRootDir": "/nowhere"}

    observed = OverlayNetworkEngine(Pooled(), Run(), WANTED, 1).observe()
    assert (observed.resolvers, observed.pools) == (("192.0.2.53",), ("10.201.0.0/16",))


def test_a_subnet_that_never_comes_is_told():
    engine, _plan = _do(Engine(allocates=False), WANTED)
    with pytest.raises(OversshError, match="allocation of a subnet for the network o1 did not happen"):
        engine.wait()


def test_without_waiting_an_unallocated_network_is_as_good_as_made():
    engine, _plan = _do(Engine(allocates=False), WANTED, wait=False)
    engine.wait()
    assert not engine.plan(engine.observe()).changed
    assert engine.result(engine.observe())["network"]["allocated"] is False


def test_a_subnet_out_of_the_swarms_pool_that_hides_a_route_is_refused():
    engine, _plan = _do(Engine(), dataclasses.replace(WANTED, subnets=()))
    with pytest.raises(OversshError, match=r"10\.201\.1\.0/24 of o1 overlaps the route 10\.201\.0\.0/16"):
        engine.wait()


def test_a_removal_waits_for_those_who_use_the_network():
    docker = Engine([INSPECTED], busy=1)
    engine, _plan = _do(docker, Desired(name="o1", state="absent"))
    assert docker.found == []
    assert engine.result(engine.observe()) == {"network": None}


def test_what_fits_is_told():
    engine = OverlayNetworkEngine(Engine(), Run(), dataclasses.replace(WANTED, underlay_mtus=(1350, 9000)), 1)
    assert engine.result(engine.observe()) == {"network": None, "underlay_mtu": 1350, "warnings": []}


def test_those_who_use_it_are_named():
    docker = Engine([INSPECTED], busy=1000)
    docker.attached = [ATTACHMENT, TASK, ENDED, ELSEWHERE]
    with pytest.raises(OversshError) as caught:
        _do(docker, Desired(name="o1", state="absent"), timeout=0)
    words = str(caught.value)
    assert "container 64ee2551a98c on edge1 (task t1, running), service web on edge1 (task t2, running)" in words
    assert "t3" not in words
    assert "t4" not in words


def test_the_engines_own_copy_has_to_go_too():
    class Slow(Engine):
        asked = 0

        def remove_network(self, wanted):
            self.asked += 1
            if self.asked < 2:
                return  # the swarm has removed it, and a container of this host still holds the engine's copy
            super().remove_network(wanted)

    docker = Slow([INSPECTED])
    _do(docker, Desired(name="o1", state="absent"))
    assert docker.asked == 2


def test_a_local_network_of_the_same_name_does_not_hide_the_swarms():
    docker = Engine([{**INSPECTED, "Id": "local", "Scope": "local", "Driver": "bridge"}, INSPECTED])
    observed = OverlayNetworkEngine(docker, Run(), WANTED, 1).observe()
    assert observed.network is not None
    assert observed.network.network_id == "net1"


def test_networks_are_listed_with_what_is_attached():
    docker = Engine(
        [INSPECTED, UNALLOCATED | {"Name": "o2", "Id": "net2"}, {"Name": "bridge", "Id": "b", "Driver": "bridge"}]
    )
    docker.attached = [ATTACHMENT, TASK]
    listed = info(docker)["networks"]
    assert [one["name"] for one in listed] == ["o1", "o2"]
    assert [one["allocated"] for one in listed] == [True, False]
    assert listed[0]["peers"] == ["172.30.0.1"]
    assert [(one["service"], one["container"], one["addresses"]) for one in listed[0]["endpoints"]] == [
        ("", "64ee2551a98c", ["10.200.0.2/24"]),
        ("web", "", ["10.200.0.2/24"]),
    ]
    assert listed[0]["vxlan_id"] == 4097
    assert [one["name"] for one in info(docker, "o2")["networks"]] == ["o2"]


def test_only_a_manager_knows_what_is_attached(monkeypatch):
    docker = Engine([INSPECTED])
    docker.attached = [ATTACHMENT]
    assert [len(one["endpoints"]) for one in info(docker)["networks"]] == [1]
    monkeypatch.setattr(docker, "info", lambda: {"Swarm": {"ControlAvailable": False}})
    found = info(docker)
    assert (found["manager"], [one["endpoints"] for one in found["networks"]]) == (False, [[]])


def test_networks_that_others_have_made_are_left_out_where_that_is_asked_for():
    docker = Engine([INSPECTED, INSPECTED | {"Name": "theirs", "Id": "net3", "Labels": {}}])
    assert [one["name"] for one in info(docker)["networks"]] == ["o1", "theirs"]
    assert [one["name"] for one in info(docker, managed=True)["networks"]] == ["o1"]


# Several networks in one task

BESIDE = dataclasses.replace(WANTED, name="o2", subnets=(Subnet("10.200.1.0/24"),))


def together(docker, *desired, timeout=0.5):
    return OverlayNetworkEngines([OverlayNetworkEngine(docker, Run(), one, timeout) for one in desired])


def test_several_networks_are_made_by_one_plan_and_looked_at_once():
    docker = Engine()
    engine = together(docker, WANTED, BESIDE)
    plan = engine.plan(engine.observe())
    assert plan.labels == [
        "make the overlay network o1 on 10.200.0.0/24",
        "make the overlay network o2 on 10.200.1.0/24",
    ]
    assert plan.before == {"o1": {"state": "absent"}, "o2": {"state": "absent"}}
    apply(plan, engine.perform)
    engine.wait()
    found = engine.observe()
    assert not engine.plan(found).changed
    assert engine.in_effect(found)
    result = engine.result(found)
    assert [network["subnet"] for network in result["networks"]] == ["10.200.0.0/24", "10.200.1.0/24"]
    assert (result["underlay_mtu"], result["warnings"]) == (1400, [])


def test_one_that_fails_takes_those_before_it_back():
    class Full(Engine):
        def post(self, path, body):
            if body["Name"] == "o2":
                raise DockerError("no more room", 500)
            super().post(path, body)

    docker = Full()
    engine = together(docker, WANTED, BESIDE)
    with pytest.raises(OversshError, match=r"could not make the overlay network o2.*everything done before was rolled"):
        apply(engine.plan(engine.observe()), engine.perform)
    assert docker.found == []


def test_every_network_that_is_refused_is_told():
    engine = together(
        Engine([INSPECTED]),
        dataclasses.replace(WANTED, internal=True),
        dataclasses.replace(BESIDE, subnets=(Subnet("172.30.9.0/24"),)),
    )
    with pytest.raises(OversshError) as caught:
        engine.plan(engine.observe())
    assert "the network o1 is there, but its internal is off, not on" in str(caught.value)
    assert ". the subnet 172.30.9.0/24 of o2 overlaps the underlay" in str(caught.value)


def test_networks_that_overlap_each_other_are_refused_before_any_is_made():
    engine = together(Engine(), WANTED, dataclasses.replace(BESIDE, subnets=(Subnet("10.200.0.128/25"),)))
    with pytest.raises(
        OversshError, match=r"10\.200\.0\.128/25 of o2 overlaps 10\.200\.0\.0/24 of the Docker network o1"
    ):
        engine.plan(engine.observe())


def test_a_network_may_take_the_subnet_that_another_gives_up():
    moved = dataclasses.replace(WANTED, subnets=(Subnet("10.200.2.0/24"),), on_change="recreate")
    engine = together(Engine([INSPECTED]), moved, dataclasses.replace(BESIDE, subnets=(Subnet("10.200.0.0/24"),)))
    assert len(engine.plan(engine.observe()).steps) == 3
    gone = dataclasses.replace(WANTED, state="absent")
    engine = together(Engine([INSPECTED]), gone, dataclasses.replace(BESIDE, subnets=(Subnet("10.200.0.0/24"),)))
    assert len(engine.plan(engine.observe()).steps) == 2


def test_a_network_that_is_named_twice_is_refused():
    with pytest.raises(OversshError, match="networks has o1 more than once"):
        together(Engine(), WANTED, BESIDE, WANTED)


def test_a_network_out_of_the_swarms_pool_is_looked_at_again():
    engine = OverlayNetworkEngine(Engine([INSPECTED]), Run(), dataclasses.replace(WANTED, subnets=()), 1)
    assert not engine.in_effect(engine.observe())
    engine = OverlayNetworkEngine(Engine([UNALLOCATED]), Run(), WANTED, 1)
    assert not engine.in_effect(engine.observe())
