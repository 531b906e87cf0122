# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a tun device, and the unit that makes it again."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import Plan
from ansible_collections.overssh.swarm.plugins.module_utils._linux.systemd import UnitState
from ansible_collections.overssh.swarm.plugins.module_utils._tun import routing
from ansible_collections.overssh.swarm.plugins.module_utils._tun.managers import MANAGERS, Manager
from ansible_collections.overssh.swarm.plugins.module_utils._tun.model import (
    Address,
    Desired,
    Device,
    Observed,
    Route,
    address_from,
    route_from,
)
from ansible_collections.overssh.swarm.plugins.module_utils._tun.plan import plan_tun, steps_to
from ansible_collections.overssh.swarm.plugins.module_utils._tun.unit import unit_name, unit_text

UNIT = unit_name("tun1001")
ADDRESS = Address("172.30.0.2", 32, "172.30.0.1")
ROUTE = Route("172.30.0.0/16", "172.30.0.2")
DESIRED = Desired("tun1001", description="cloud1", owner="overssh", addresses=(ADDRESS,), routes=(ROUTE,))
TEXT = unit_text(DESIRED, "/sbin/ip")
DEVICE = Device(
    "tun1001", alias="overssh cloud1", owner="overssh", addresses=(ADDRESS,), routes=(ROUTE,), up=True, carrier=False
)
FINISHED = Observed(DEVICE, UnitState(TEXT, enabled=True, active="active"))


def plan(desired: Desired, observed: Observed) -> Plan:
    texts = {name: manager.text_for(desired.name) for name, manager in MANAGERS.items()}
    return plan_tun(desired, observed, UNIT, unit_text(desired, "/sbin/ip"), texts)


def actions(desired: Desired, observed: Observed) -> list[str]:
    return [step.action for step in plan(desired, observed).steps]


def test_a_device_is_made_from_nothing_in_an_order_that_the_kernel_takes() -> None:
    found = plan(DESIRED, Observed(None))
    assert [step.action for step in found.steps] == [
        "create_device",
        "set_alias",
        "set_up",
        "add_address",
        "add_route",
        "write_unit",
        "enable_unit",
        "restart_unit",
    ]
    assert [step.action for step in found.inverse] == [
        "stop_unit",
        "disable_unit",
        "delete_unit",
        "remove_route",
        "remove_address",
        "set_up",
        "set_alias",
        "delete_device",
    ]


def test_a_finished_device_needs_nothing() -> None:
    found = plan(DESIRED, FINISHED)
    assert not found.changed
    assert found.before == found.after


def test_no_carrier_is_no_difference() -> None:
    assert actions(DESIRED, Observed(replace(DEVICE, carrier=True), FINISHED.unit)) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mtu": 9000}, ["set_mtu", "write_unit", "restart_unit"]),
        ({"txqueuelen": 1000}, ["set_txqueuelen", "write_unit", "restart_unit"]),
        ({"owner": "nobody"}, ["set_owner", "write_unit", "restart_unit"]),
        ({"group": "overssh"}, ["set_group", "write_unit", "restart_unit"]),
        ({"forwarding": True}, ["set_forwarding", "write_unit", "restart_unit"]),
        ({"forwarding": None}, []),
        ({"forwarding6": True}, ["set_forwarding6", "write_unit", "restart_unit"]),
        ({"failover": True}, ["set_failover", "write_unit", "restart_unit"]),
        ({"failover": False}, ["write_unit", "restart_unit"]),
        ({"incoming_table": 77}, ["set_incoming_table", "write_unit", "restart_unit"]),
        ({"routes": ()}, ["remove_route", "write_unit", "restart_unit"]),
        ({"routes": (replace(ROUTE, metric=5),)}, ["add_route", "remove_route", "write_unit", "restart_unit"]),
        ({"routes": (replace(ROUTE, source=None),)}, ["add_route", "write_unit", "restart_unit"]),
        ({"addresses": ()}, ["remove_address", "write_unit", "restart_unit"]),
        ({"persist": False}, ["stop_unit", "disable_unit", "delete_unit"]),
        ({"mtu": 65000}, ["set_mtu", "write_unit", "restart_unit"]),
    ],
)
def test_what_differs_is_changed_and_nothing_else(change: dict[str, Any], expected: list[str]) -> None:
    found = plan(replace(DESIRED, **change), FINISHED)
    assert [step.action for step in found.steps] == expected
    assert all(step.inverse is not None for step in found.steps if step.action != "restart_unit")


@pytest.mark.parametrize(
    ("change", "found", "words"),
    [
        ({}, {"unknown": ("account overssh",)}, "there is no account overssh on this host; make it first"),
        (
            {"forwarding6": True},
            {"host_forwards6": False},
            "forwarding6 of tun1001 can't be set to true: this kernel is older than 6.17 and forwards IPv6 for the "
            "whole host or not at all; it goes by net.ipv6.conf.all.forwarding",
        ),
        (
            {"owner": "nobody"},
            {"device": replace(DEVICE, carrier=True)},
            "tun1001 is in use by another process; stop the link that runs over it first",
        ),
        ({}, {"device": replace(DEVICE, carrier=True, offload=True)}, "tun1001 is in use by another process"),
    ],
)
def test_what_this_host_will_refuse_stands_in_the_plan(
    change: dict[str, Any], found: dict[str, Any], words: str
) -> None:
    for observed in (replace(FINISHED, **found), replace(Observed(None), **found)):
        with pytest.raises(OversshError, match=f"^{re.escape(words)}"):
            plan(replace(DESIRED, **change), observed)
    assert actions(replace(DESIRED, present=False, **change), replace(FINISHED, **found))[-1] == "delete_device"


def test_a_device_of_several_queues_that_is_down_can_get_another_owner() -> None:
    wanted = replace(DESIRED, multi_queue=True, up=False)
    for up, refused in ((False, False), (True, True)):
        found = Observed(replace(DEVICE, multi_queue=True, carrier=True, up=up, owner="nobody"))
        with pytest.raises(OversshError, match="is in use") if refused else contextlib.nullcontext():
            assert "set_owner" in actions(wanted, found)


def test_a_host_that_passes_ipv6_on_does_so_for_the_device() -> None:
    assert plan(replace(DESIRED, forwarding6=True), replace(Observed(None), host_forwards6=True)).changed
    assert not plan(DESIRED, replace(FINISHED, host_forwards6=True)).changed


def test_a_change_is_taken_back_to_what_was() -> None:
    found = plan(replace(DESIRED, mtu=9000), FINISHED)
    assert [(step.action, step.args.get("value")) for step in found.inverse] == [
        ("write_unit", None),
        ("set_mtu", 1500),
    ]
    assert found.inverse[0].args["text"] == TEXT


def test_a_route_that_takes_the_place_of_another_is_taken_back_to_it() -> None:
    found = plan(replace(DESIRED, routes=(replace(ROUTE, source=None),)), FINISHED)
    assert found.steps[0].inverse is not None
    assert (found.steps[0].inverse.action, found.steps[0].inverse.args) == ("add_route", {"route": ROUTE})


def test_a_device_that_is_down_keeps_no_routes() -> None:
    down = Observed(replace(DEVICE, up=False, routes=()), FINISHED.unit)
    assert "add_route" not in actions(replace(DESIRED, up=False), down)


@pytest.mark.parametrize(
    ("carrier", "vnet_header", "expected"),
    [
        (False, False, ["clear_offload"]),
        (False, True, ["clear_offload"]),  # what a killed helper leaves
        (True, False, None),  # ssh -w runs over it, and loses packets
        (True, True, []),  # a stream runs over it
    ],
)
def test_stale_offload_is_cleared_and_that_of_a_running_stream_is_not(
    carrier: bool, vnet_header: bool, expected: list[str] | None
) -> None:
    found = Observed(replace(DEVICE, offload=True, carrier=carrier, vnet_header=vnet_header), FINISHED.unit)
    if expected is None:
        # The kernel clears them for whoever has the device alone.
        with pytest.raises(OversshError, match="tun1001 is in use by another process; stop the link"):
            plan(DESIRED, found)
    else:
        assert actions(DESIRED, found) == expected


@pytest.mark.parametrize("several", [True, False])
def test_a_device_with_the_other_number_of_queues_is_replaced_where_no_process_holds_it(several: bool) -> None:
    desired = replace(DESIRED, multi_queue=several)
    found = plan(desired, Observed(replace(DEVICE, multi_queue=not several), FINISHED.unit))
    assert [step.action for step in found.steps] == [
        "delete_device",
        "create_device",
        "set_alias",
        "set_up",
        "add_address",
        "add_route",
        *(["write_unit", "restart_unit"] if several else []),
    ]
    assert found.steps[1].args["multi_queue"] is several
    assert found.after["multi_queue"] is several
    assert actions(desired, Observed(replace(DEVICE, multi_queue=several), replace(FINISHED.unit, text=TEXT))) == (
        ["write_unit", "restart_unit"] if several else []
    )


def test_a_device_in_use_with_the_other_number_of_queues_is_replaced_with_the_users_word() -> None:
    held = Observed(replace(DEVICE, carrier=True), FINISHED.unit)
    several = replace(DESIRED, multi_queue=True)
    with pytest.raises(OversshError, match=r"tun1001 is in use and was made with one queue.*on_change: recreate"):
        plan(several, held)
    assert actions(replace(several, on_change="recreate"), held)[:2] == ["delete_device", "create_device"]
    with pytest.raises(OversshError, match="was made with several queues, and only a new device has one"):
        plan(DESIRED, Observed(replace(DEVICE, carrier=True, multi_queue=True), FINISHED.unit))


def test_a_device_of_ours_that_was_removed_can_be_made_again_as_it_was() -> None:
    old = replace(DEVICE, mtu=9000, group="overssh", forwarding=True)
    steps = {step.action: step.args.get("value", step.args) for step in steps_to(old)}
    assert steps == {
        "create_device": {"owner": "overssh", "group": "overssh", "multi_queue": False},
        "set_alias": "overssh cloud1",
        "set_mtu": 9000,
        "add_address": {"address": ADDRESS},
        "set_up": True,
        "set_forwarding": True,
        "set_forwarding6": False,
        "set_failover": False,
        "add_route": {"route": ROUTE},
    }


@pytest.mark.parametrize("alias", ["", "my vpn"])
def test_a_foreign_device_is_refused(alias: str) -> None:
    foreign = Observed(replace(DEVICE, alias=alias))
    with pytest.raises(OversshError, match=r"tun1001 exists and overssh.swarm did not make it"):
        plan(DESIRED, foreign)
    found = actions(replace(DESIRED, on_change="recreate"), foreign)
    assert found[:2] == ["delete_device", "create_device"]


def test_a_foreign_device_stays_when_ours_is_to_be_absent() -> None:
    assert actions(replace(DESIRED, present=False), Observed(replace(DEVICE, alias="my vpn"))) == []


def test_a_device_with_other_flags_is_replaced_with_the_users_word() -> None:
    tap = Observed(replace(DEVICE, is_tun=False), FINISHED.unit)
    with pytest.raises(OversshError, match="other flags than OpenSSH needs"):
        plan(DESIRED, tap)
    assert actions(replace(DESIRED, on_change="recreate"), tap)[0] == "delete_device"


@pytest.mark.parametrize(
    ("change", "reason"), [({"owner": "overssh"}, "belongs to overssh"), ({"group": "net"}, "belongs to the group net")]
)
def test_an_owner_is_taken_away_only_with_the_users_word(change: dict[str, Any], reason: str) -> None:
    anybodys = replace(DESIRED, owner=None)
    found = Observed(replace(DEVICE, **{"owner": None, **change}), FINISHED.unit)
    with pytest.raises(OversshError, match=f"tun1001 {reason}.*on_change: recreate"):
        plan(anybodys, found)
    steps = plan(replace(anybodys, on_change="recreate"), found)
    assert [step.action for step in steps.steps][:2] == ["delete_device", "create_device"]
    assert steps.inverse[-1].action == "restore_device"


@pytest.mark.parametrize("description", ["two\nlines", 'a "quote"', "50%", "$HOME", "x" * 248])
def test_a_description_that_the_unit_can_not_hold_is_refused(description: str) -> None:
    with pytest.raises(OversshError, match="description is "):
        plan(replace(DESIRED, description=description), Observed(None))


def test_two_routes_of_which_the_kernel_keeps_one_are_refused() -> None:
    with pytest.raises(OversshError, match=r"routes has two to 172\.30.0.0/16 with metric 0"):
        plan(replace(DESIRED, routes=(ROUTE, replace(ROUTE, source=None))), Observed(None))


def test_absent_removes_unit_and_device_and_is_quiet_without() -> None:
    gone = replace(DESIRED, present=False)
    assert actions(gone, FINISHED) == ["stop_unit", "disable_unit", "delete_unit", "delete_device"]
    assert actions(gone, Observed(None)) == []


@pytest.mark.parametrize("name", ["tap0", "tun", "tun01", "eth0", "tun1 ", "tun1001\n"])
def test_a_name_that_is_no_tun_is_refused(name: str) -> None:
    with pytest.raises(OversshError, match="is no tunN"):
        plan(replace(DESIRED, name=name), Observed(None))


@pytest.mark.parametrize("mtu", [575, 65536])
def test_an_mtu_that_no_tun_device_has_is_refused(mtu: int) -> None:
    with pytest.raises(OversshError, match=f"mtu is {mtu}; a tun device takes 576 to 65535 bytes, and up to 16380"):
        plan(replace(DESIRED, mtu=mtu), Observed(None))


def test_ipv6_takes_larger_packets() -> None:
    address = (Address("fd00::2", 128, "fd00::1"),)
    with pytest.raises(
        OversshError, match="mtu is 1279, and addresses has one of IPv6, which takes 1280 bytes or more"
    ):
        plan(replace(DESIRED, mtu=1279, addresses=address), Observed(None))
    assert plan(replace(DESIRED, mtu=1280, addresses=address), Observed(None)).steps


@pytest.mark.parametrize("host_forwards", [False, True])
def test_an_older_kernel_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, host_forwards: bool) -> None:
    """Linux 6.17 and later can forward IPv6 by device, and nothing older runs here."""
    switches = {"/proc/sys/net/ipv6/conf/all/forwarding": f"{host_forwards:d}\n"}
    monkeypatch.setattr(routing, "read_text", switches.get)
    monkeypatch.setattr(routing.os.path, "exists", switches.__contains__)
    assert routing.forwarding_6("tun1001") is host_forwards
    routing.set_forwarding_6("tun1001", host_forwards)
    with pytest.raises(
        OversshError, match=r"this kernel is older than 6\.17 and forwards IPv6 for the whole host or not"
    ):
        routing.set_forwarding_6("tun1001", not host_forwards)


def test_the_unit_says_the_same_as_the_module() -> None:
    both = unit_text(replace(DESIRED, forwarding6=True, addresses=(Address("fd00::2", 128, "fd00::1"),)), "/sbin/ip")
    assert "ExecStart=/sbin/ip address replace fd00::2 peer fd00::1/128 dev tun1001 nodad\n" in both
    assert "echo 1 >/proc/sys/net/ipv6/conf/tun1001/force_forwarding'\n" in both
    assert "|| exec /sbin/ip tuntap add dev tun1001 mode tun user overssh'\n" in TEXT
    assert "ExecStart=/sbin/ip address replace 172.30.0.2 peer 172.30.0.1/32 dev tun1001\n" in TEXT
    assert "ExecStart=/sbin/ip route replace 172.30.0.0/16 src 172.30.0.2 dev tun1001 proto static\n" in TEXT
    assert "Before=network.target docker.service" in TEXT
    assert "After=systemd-networkd.service\nPartOf=systemd-networkd.service\n" in TEXT
    several = unit_text(replace(DESIRED, multi_queue=True), "/sbin/ip")
    assert "|| exec /sbin/ip tuntap add dev tun1001 mode tun user overssh multi_queue'\n" in several


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"address": "172.30.0.2", "peer": "172.30.0.1"}, ADDRESS),
        ({"address": "172.30.0.2/24"}, Address("172.30.0.2", 24)),
        ({"address": "FD00::0002", "peer": "fd00::1"}, Address("fd00::2", 128, "fd00::1")),
    ],
)
def test_addresses_are_read(options: dict[str, Any], expected: Address) -> None:
    assert address_from(options) == expected


@pytest.mark.parametrize("options", [{"address": "nowhere"}, {"address": "172.30.0.2", "peer": "fd00::1"}])
def test_what_is_no_address_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OversshError, match="addresses: "):
        address_from(options)


def test_routes_are_read() -> None:
    assert route_from({"destination": "172.30.0.0/16", "source": "172.30.0.2", "metric": None}) == ROUTE
    assert route_from({"destination": "fd00::/64"}).metric == 1024
    with pytest.raises(OversshError, match=r"routes: 172.30.0.1/16 has host bits set"):
        route_from({"destination": "172.30.0.1/16"})


@pytest.mark.parametrize("manager", MANAGERS.values(), ids=list(MANAGERS))
def test_a_manager_is_told_before_the_device_is_made_and_no_more_after_it_is_gone(manager: Manager) -> None:
    fresh = plan(DESIRED, Observed(None, manager_files={manager.name: None})).steps
    assert fresh[0].action == "write_network"
    assert fresh[0].args == {"manager": manager.name, "text": manager.text_for("tun1001")}
    assert [step.action for step in fresh[1:]] == actions(DESIRED, Observed(None))
    finished = replace(FINISHED, manager_files={manager.name: manager.text_for("tun1001")})
    assert actions(DESIRED, finished) == []
    # It may have had the device, and takes away what it has when it lets go of it.
    assert actions(DESIRED, replace(FINISHED, manager_files={manager.name: None})) == ["write_network", "restart_unit"]
    gone = plan(replace(DESIRED, present=False), finished).steps[-1]
    assert (gone.action, gone.args) == ("write_network", {"manager": manager.name, "text": None})
    assert actions(replace(DESIRED, persist=False), finished)[0] == "write_network"
