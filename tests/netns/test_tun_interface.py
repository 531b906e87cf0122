# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""tun_interface's engine on the real kernel, in a network namespace; systemd alone is left out."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

# Runs in the namespace, where /sys shows its devices: brings one device about, and says what was done and is there.
PROGRAM = """
import fcntl, json, os, struct, sys
from ansible_collections.overssh.swarm.plugins.module_utils._linux import tun_ioctl
from ansible_collections.overssh.swarm.plugins.module_utils._tun import engine as tun_engine
from ansible_collections.overssh.swarm.plugins.module_utils._tun import model
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import apply
from ansible_collections.overssh.swarm.plugins.module_utils._linux.systemd import UnitState
from ansible_collections.overssh.swarm.plugins.module_utils._tun.managers import Managers

class NoSystemd:
    def observe_all(self, units):
        return [UnitState(None, False, "inactive") for unit in units]

def wanted(options):
    return model.Desired(
        addresses=tuple(map(model.address_from, options.pop("addresses", []))),
        routes=tuple(map(model.route_from, options.pop("routes", []))),
        persist=False,
        **options,
    )

options = json.loads(sys.argv[1])
if isinstance(options, list):
    devices = {each["name"]: wanted(each) for each in options}
    engine = tun_engine.TunInterfaceEngines(NoSystemd(), devices, "/sbin/ip", Managers(None))
    try:
        plan = engine.plan(engine.observe())
        apply(plan, engine.perform)
        again = engine.plan(engine.observe()).labels
        print(json.dumps({"done": plan.labels, "again": again, **engine.result(engine.observe())}))
    except OversshError as error:
        print(json.dumps({"error": str(error)}))
    sys.exit()
if options.pop("stale_offload", False):
    # What a program with virtio headers leaves behind: TUN_F_CSUM on a persistent device.
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, tun_ioctl.TUNSETIFF, struct.pack("16sH22x", options["name"].encode(), 0x5001))
    fcntl.ioctl(device, tun_ioctl.TUNSETOFFLOAD, 1)
    fcntl.ioctl(device, tun_ioctl.TUNSETPERSIST, 1)
    os.close(device)
busy = options.pop("busy", 0)
if busy:
    # Another process: 0x1001 opens the device as ssh does, 0x5001 and 0x5101 as a stream of one and of several lanes.
    held = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(held, tun_ioctl.TUNSETIFF, struct.pack("16sH22x", options["name"].encode(), busy))
    if busy & 0x4000:
        fcntl.ioctl(held, tun_ioctl.TUNSETOFFLOAD, 7)
desired = wanted(options)
engine = tun_engine.TunInterfaceEngine(NoSystemd(), desired, "/sbin/ip", Managers(None))
try:
    plan = engine.plan(engine.observe())
    apply(plan, engine.perform)
    again = engine.plan(engine.observe()).labels
    flags = tun_ioctl.flags(desired.name)
    print(json.dumps({"done": plan.labels, "again": again, "flags": flags, **engine.result(engine.observe())}))
except OversshError as error:
    print(json.dumps({"error": str(error)}))
"""


class Namespace:
    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *argv: str) -> str:
        done = subprocess.run(["ip", "netns", "exec", self.name, *argv], check=True, capture_output=True, text=True)
        return done.stdout

    def tun(self, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.run(sys.executable, "-c", PROGRAM, json.dumps({"name": "tun1001", "description": "cloud1", **options}))
        )
        return found

    def several(self, *devices: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(sys.executable, "-c", PROGRAM, json.dumps(devices)))
        return found


@pytest.fixture
def there() -> Iterator[Namespace]:
    name = f"overssh-tun-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        namespace = Namespace(name)
        # A new namespace takes IPv4's settings from the machine, which forwards once Docker has run on it.
        namespace.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
        yield namespace
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["ip", "netns", "delete", name], check=True)


PAIR = [{"address": "172.30.0.2", "peer": "172.30.0.1"}]
BEHIND = [{"destination": "172.30.0.0/16", "source": "172.30.0.2"}]


def test_a_device_comes_about_and_is_found_as_it_was_wanted(there: Namespace) -> None:
    found = there.tun(addresses=PAIR, routes=BEHIND, mtu=9000, txqueuelen=250, owner="nobody", forwarding=True)
    assert found.get("again") == [], found
    device = found["device"]
    assert (device["mtu"], device["txqueuelen"], device["owner"]) == (9000, 250, "nobody")
    assert (device["up"], device["carrier"], device["forwarding"]) == (True, False, True)
    shown = json.loads(there.run("ip", "-json", "-details", "address", "show", "tun1001"))[0]
    assert shown["ifalias"] == "overssh cloud1"
    assert shown["linkinfo"]["info_data"] == {
        **shown["linkinfo"]["info_data"],
        "type": "tun",
        "pi": False,
        "vnet_hdr": False,
        "persist": True,
        "user": "nobody",
    }
    assert "172.30.0.0/16 dev tun1001 proto static scope link src 172.30.0.2" in there.run("ip", "route")


def test_a_new_device_does_not_forward_where_the_host_does(there: Namespace) -> None:
    there.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    found = there.tun(addresses=PAIR, forwarding=False)
    assert found.get("again") == [], found
    assert found["device"]["forwarding"] is False


def test_what_differs_is_reconciled(there: Namespace) -> None:
    there.tun(addresses=PAIR, routes=BEHIND)
    there.run("ip", "address", "add", "10.9.9.9/32", "dev", "tun1001")
    there.run("ip", "route", "add", "10.8.0.0/16", "dev", "tun1001")
    there.run("ip", "link", "set", "tun1001", "mtu", "1400")
    found = there.tun(addresses=PAIR, routes=BEHIND)
    assert found.get("again") == [], found
    assert found["done"] == [
        "set mtu of tun1001 to 1500",
        "remove the address 10.9.9.9/32 from tun1001",
        "remove the route 10.8.0.0/16 from tun1001",
    ]


def test_a_new_address_takes_its_routes_along(there: Namespace) -> None:
    there.tun(addresses=PAIR, routes=BEHIND)
    found = there.tun(
        addresses=[{"address": "172.30.0.9", "peer": "172.30.0.1"}],
        routes=[{"destination": "172.30.0.0/16", "source": "172.30.0.9"}],
    )
    assert found.get("again") == [], found
    assert [route["source"] for route in found["device"]["routes"]] == ["172.30.0.9"]


def test_ipv6_works_too(there: Namespace) -> None:
    found = there.tun(
        addresses=[{"address": "fd30::2", "peer": "fd30::1"}], routes=[{"destination": "fd30::/64", "metric": 50}]
    )
    assert found.get("again") == [], found
    assert "tentative" not in there.run("ip", "address", "show", "tun1001")


def test_metrics_and_a_device_that_is_down(there: Namespace) -> None:
    first = there.tun(addresses=PAIR, routes=[{**BEHIND[0], "metric": 100}])
    assert first["again"] == []
    assert first["device"]["routes"][0]["metric"] == 100
    second = there.tun(addresses=PAIR, routes=BEHIND, up=False)
    assert second["again"] == []
    assert second["device"]["up"] is False


def test_stale_offload_flags_are_seen_and_cleared(there: Namespace) -> None:
    there.tun(addresses=PAIR)
    found = there.tun(addresses=PAIR, stale_offload=True)
    assert found["done"] == ["clear the stale offload flags of tun1001"]
    assert found.get("again") == [], found


def test_a_device_in_use_keeps_its_owner_and_says_why(there: Namespace) -> None:
    there.tun(addresses=PAIR)
    found = there.tun(addresses=PAIR, owner="nobody", busy=0x1001)
    assert found["error"] == "tun1001 is in use by another process; stop the link that runs over it first"


SSH, STREAM, LANES = 0x1001, 0x5001, 0x5101


@pytest.mark.parametrize(("busy", "several"), [(STREAM, False), (LANES, True)])
@pytest.mark.parametrize("up", [True, False])
def test_the_offload_flags_of_a_running_stream_are_its_own(
    there: Namespace, busy: int, several: bool, up: bool
) -> None:
    there.tun(addresses=PAIR, multi_queue=several, up=up)
    found = there.tun(addresses=PAIR, multi_queue=several, up=up, busy=busy)
    assert found["done"] == [], found
    assert found["device"]["carrier"] is True
    assert found["flags"] & 0x4000


def test_the_offload_flags_of_a_killed_stream_are_cleared(there: Namespace) -> None:
    there.tun(addresses=PAIR, multi_queue=True)
    there.tun(addresses=PAIR, multi_queue=True, busy=LANES)  # its holder ends with it, and resets nothing
    found = there.tun(addresses=PAIR, multi_queue=True)
    assert found["done"] == ["clear the stale offload flags of tun1001"]
    assert found.get("again") == [], found
    assert found["device"]["multi_queue"] is True


def test_a_device_of_several_queues_comes_about(there: Namespace) -> None:
    found = there.tun(addresses=PAIR, routes=BEHIND, mtu=65535, owner="nobody", multi_queue=True)
    assert found.get("again") == [], found
    assert (found["device"]["multi_queue"], found["device"]["mtu"]) == (True, 65535)
    shown = json.loads(there.run("ip", "-json", "-details", "link", "show", "tun1001"))[0]
    assert shown["linkinfo"]["info_data"]["multi_queue"] is True
    again = there.tun(addresses=PAIR, routes=BEHIND, mtu=65535, owner="games", multi_queue=True)
    assert again.get("again") == [], again
    assert again["done"] == ["set owner of tun1001 to games"]


@pytest.mark.parametrize("several", [True, False])
def test_the_other_number_of_queues_makes_a_device_anew_with_all_it_had(there: Namespace, several: bool) -> None:
    wanted = {"addresses": PAIR, "routes": BEHIND, "mtu": 9000, "owner": "nobody", "forwarding": True}
    there.tun(**wanted, multi_queue=not several)
    found = there.tun(**wanted, multi_queue=several)
    assert found["done"][:2] == ["remove the device tun1001 that was there", "create the device tun1001"]
    assert found.get("again") == [], found
    assert found["device"]["multi_queue"] is several
    assert found["device"]["routes"][0]["source"] == "172.30.0.2"


@pytest.mark.parametrize(("busy", "several"), [(SSH, False), (LANES, True)])
def test_a_device_in_use_is_made_anew_with_the_users_word(there: Namespace, busy: int, several: bool) -> None:
    there.tun(addresses=PAIR, multi_queue=several)
    refused = there.tun(addresses=PAIR, multi_queue=not several, busy=busy)
    assert "tun1001 is in use and was made with" in refused["error"]
    assert "set on_change: recreate to have it replaced" in refused["error"]
    found = there.tun(addresses=PAIR, multi_queue=not several, busy=busy, on_change="recreate")
    assert found.get("again") == [], found
    assert (found["device"]["multi_queue"], found["device"]["carrier"]) == (not several, False)


def test_a_device_of_several_queues_in_use_keeps_its_owner_and_its_flags(there: Namespace) -> None:
    there.tun(addresses=PAIR, multi_queue=True)
    found = there.tun(addresses=PAIR, multi_queue=True, owner="nobody", busy=LANES)
    assert "tun1001 is in use by another process; stop the link that runs over it first" in found["error"]


def test_a_replacement_of_ours_that_fails_brings_the_old_device_back(there: Namespace) -> None:
    old = there.tun(addresses=PAIR, routes=BEHIND, mtu=9000, owner="nobody")
    found = there.tun(routes=[{"destination": "10.8.0.0/16", "via": "192.0.2.1"}], owner="nobody", multi_queue=True)
    assert "everything done before was rolled back" in found["error"], found
    again = there.tun(addresses=PAIR, routes=BEHIND, mtu=9000, owner="nobody")
    assert again["done"] == []
    assert again["device"] == old["device"]


def test_an_owner_is_taken_away_by_making_the_device_anew(there: Namespace) -> None:
    there.tun(addresses=PAIR, owner="nobody", group="games")
    assert "belongs to nobody" in there.tun(addresses=PAIR)["error"]
    found = there.tun(addresses=PAIR, on_change="recreate")
    assert found.get("again") == [], found
    assert (found["device"]["owner"], found["device"]["group"]) == (None, None)


def test_a_replacement_that_fails_says_that_the_old_device_is_gone(there: Namespace) -> None:
    there.run("ip", "tuntap", "add", "dev", "tun1001", "mode", "tun")
    found = there.tun(routes=[{"destination": "10.8.0.0/16", "via": "192.0.2.1"}], on_change="recreate")
    assert "left behind: could not bring the device tun1001 back that was there" in found["error"]


def test_an_unknown_owner_leaves_no_device(there: Namespace) -> None:
    found = there.tun(owner="no-such-account")
    assert found["error"] == "there is no account no-such-account on this host; make it first"
    assert "tun1001" not in there.run("ip", "link")


def test_a_step_that_fails_takes_the_device_away_again(there: Namespace) -> None:
    found = there.tun(addresses=PAIR, routes=[{"destination": "10.8.0.0/16", "via": "192.0.2.1"}])
    assert "could not add the route 10.8.0.0/16 via 192.0.2.1 to tun1001" in found["error"]
    assert "everything done before was rolled back" in found["error"]
    assert "tun1001" not in there.run("ip", "link")


def test_absent_leaves_nothing(there: Namespace) -> None:
    there.tun(addresses=PAIR, routes=BEHIND)
    assert there.tun(present=False)["done"] == ["remove the device tun1001"]
    assert there.tun(present=False)["done"] == []
    assert "tun1001" not in there.run("ip", "link")


SECOND = {"name": "tun1003", "addresses": [{"address": "172.30.0.2", "peer": "172.30.0.3"}]}


def way(there: Namespace, destination: str, *more: str) -> str:
    """The device that packets to this address leave by."""
    route: dict[str, str] = json.loads(there.run("ip", "-json", "route", "get", destination, *more))[0]
    return route["dev"]


def comes_to_go(there: Namespace, ways: dict[str, str]) -> None:
    """The kernel tells routes of a lost carrier up to a second later (its link watch)."""
    deadline = time.monotonic() + 10
    while (found := {each: way(there, each) for each in ways}) != ways:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_routes_of_ipv6_give_way_too(there: Namespace) -> None:
    there.run("ip", "link", "set", "lo", "up")
    wide = {"destination": "fd8a::/64", "source": "fd8a::2"}
    for number, metric in ((1, 100), (3, 200)):
        found = there.tun(
            name=f"tun100{number}",
            addresses=[{"address": "fd8a::2", "peer": f"fd8a::{number}"}],
            routes=[{**wide, "metric": metric}],
            failover=True,
        )
        assert found.get("again") == [], found
    own = {"name": "tun1002", "addresses": [{"address": "fd8a::2"}], "routes": [{**wide, "metric": 1_000_000}]}
    assert there.tun(**own).get("again") == []
    with holding(there, "tun1001"), holding(there, "tun1003"):
        comes_to_go(there, {"fd8a::9": "tun1001", "fd8a::3": "tun1003"})
    with holding(there, "tun1003"):
        comes_to_go(there, {"fd8a::9": "tun1003", "fd8a::1": "tun1003"})
        assert "local fd8a::2" in there.run("ip", "-6", "route", "get", "fd8a::2")
    comes_to_go(there, {"fd8a::9": "tun1002", "fd8a::1": "tun1002"})


def test_routes_give_way_while_nothing_runs_over_the_device(there: Namespace) -> None:
    there.run("ip", "link", "set", "lo", "up")
    there.tun(addresses=PAIR, routes=BEHIND)
    there.tun(**SECOND, routes=[{**BEHIND[0], "metric": 100}], failover=True)
    assert way(there, "172.30.0.9") == "tun1001", "neither has a tunnel, and the first one stays"
    found = there.tun(addresses=PAIR, routes=BEHIND, failover=True)
    assert found["done"] == ["set failover of tun1001 to on"]
    with holding(there, "tun1001"), holding(there, "tun1003"):
        comes_to_go(there, {"172.30.0.9": "tun1001", "172.30.0.3": "tun1003"})
    with holding(there, "tun1003"):
        comes_to_go(there, {"172.30.0.9": "tun1003", "172.30.0.1": "tun1003"})
    with holding(there, "tun1001"):
        comes_to_go(there, {"172.30.0.9": "tun1001", "172.30.0.3": "tun1001"})
    again = there.tun(addresses=PAIR, routes=BEHIND, failover=False)
    assert again.get("again") == [], again
    assert there.run("sysctl", "-n", "net.ipv4.conf.tun1001.rp_filter") == there.run(
        "sysctl", "-n", "net.ipv4.conf.default.rp_filter"
    )


@contextlib.contextmanager
def holding(there: Namespace, device: str) -> Iterator[None]:
    """A tunnel over the device."""
    words = "import fcntl, os, struct, sys; d = os.open('/dev/net/tun', os.O_RDWR); "
    words += f"fcntl.ioctl(d, 0x400454CA, struct.pack('16sH22x', b'{device}', 0x1001)); print(flush=True); input()"
    argv = ["ip", "netns", "exec", there.name, sys.executable, "-c", words]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tunnel:
        assert tunnel.stdout is not None
        assert tunnel.stdout.readline() == b"\n"
        try:
            yield
        finally:
            tunnel.communicate(b"\n", timeout=10)


def test_what_comes_in_goes_by_its_own_table_alone(there: Namespace) -> None:
    there.run("ip", "link", "set", "lo", "up")
    there.run("ip", "link", "add", "out0", "type", "bridge")
    there.run("ip", "addr", "add", "192.0.2.1/24", "dev", "out0")
    there.run("ip", "link", "set", "out0", "up")
    there.run("sysctl", "-qw", "net.ipv4.conf.out0.forwarding=1")
    there.run("ip", "route", "add", "default", "via", "192.0.2.9")
    neighbour = {"destination": "172.30.0.3/32", "source": "172.30.0.2", "table": 77}
    there.tun(**SECOND, routes=[*BEHIND, neighbour], forwarding=True)
    found = there.tun(addresses=PAIR, incoming_table=77, forwarding=True)
    assert found.get("again") == [], found
    assert found["device"]["incoming_table"] == 77
    comes_in = ("from", "172.30.0.1", "iif", "tun1001")
    assert way(there, "172.30.0.3", *comes_in) == "tun1003"
    assert "local 172.30.0.2" in there.run("ip", "route", "get", "172.30.0.2", *comes_in)
    for destination in ("172.30.0.9", "8.8.8.8"):
        with pytest.raises(subprocess.CalledProcessError):
            way(there, destination, *comes_in)
    assert way(there, "172.30.0.9", "from", "172.30.0.3", "iif", "out0") == "tun1003", "others are not concerned"
    assert there.tun(addresses=PAIR, incoming_table=78, forwarding=True)["again"] == []
    assert there.tun(addresses=PAIR, forwarding=True)["done"] == ["set incoming_table of tun1001 to none"]
    there.tun(addresses=PAIR, incoming_table=77)
    there.tun(present=False)
    for family in ("-4", "-6"):
        assert "tun1001" not in there.run("ip", family, "rule")


def test_ipv6_is_passed_on_by_device(there: Namespace) -> None:
    """The host as a whole does not begin to route."""
    there.run("ip", "link", "set", "lo", "up")
    there.run("ip", "link", "add", "out0", "type", "bridge")
    there.run("ip", "link", "set", "out0", "up")
    pair = [{"address": "fd8a::2", "peer": "fd8a::1"}]
    second = {"name": "tun1003", "addresses": [{"address": "fd8a::2", "peer": "fd8a::3"}]}
    neighbour = {"destination": "fd8a::3/128", "source": "fd8a::2", "table": 77}
    there.tun(**second, routes=[neighbour], forwarding6=True)
    found = there.tun(addresses=pair, incoming_table=77, forwarding6=True)
    assert found.get("again") == [], found
    assert found["device"]["forwarding6"] is True
    assert (
        there.run("sysctl", "-n", "net.ipv6.conf.all.forwarding", "net.ipv6.conf.out0.forwarding").split() == ["0"] * 2
    )
    assert way(there, "fd8a::3", "from", "fd8a::1", "iif", "tun1001") == "tun1003"
    with pytest.raises(subprocess.CalledProcessError):
        way(there, "fd8a::9", "from", "fd8a::1", "iif", "tun1001")
    assert there.tun(addresses=pair, incoming_table=77, forwarding6=False)["done"] == [
        "set forwarding6 of tun1001 to off"
    ]


def test_another_kind_of_interface_of_that_name_is_left_alone(there: Namespace) -> None:
    there.run("ip", "link", "add", "tun1001", "type", "bridge")
    assert there.tun()["error"] == "tun1001 exists and is no tun device; take another number"


def test_several_devices_come_and_go_in_one_plan(there: Namespace) -> None:
    hub = [{"name": f"tun100{number}", "description": f"edge{number}", "addresses": PAIR} for number in (1, 2)]
    found = there.several(*hub)
    assert found.get("again") == [], found
    assert [device["name"] for device in found["devices"]] == ["tun1001", "tun1002"]
    assert there.several(*hub)["done"] == []
    found = there.several({"name": "tun1001", "present": False}, {**hub[1], "mtu": 9000})
    assert found["done"] == ["remove the device tun1001", "set mtu of tun1002 to 9000"]
    assert [(device["name"], device["mtu"]) for device in found["devices"]] == [("tun1002", 9000)]


def test_one_of_several_devices_that_can_not_come_takes_all_back(there: Namespace) -> None:
    far = [{"destination": "10.8.0.0/16", "via": "192.0.2.1"}]
    found = there.several({"name": "tun1001", "addresses": PAIR}, {"name": "tun1002", "routes": far})
    assert "could not add the route 10.8.0.0/16 via 192.0.2.1 to tun1002" in found["error"]
    assert "(everything done before was rolled back)" in found["error"]
    assert "tun" not in there.run("ip", "-brief", "link")


def test_one_of_several_devices_that_is_somebody_elses_leaves_all_as_they_are(there: Namespace) -> None:
    there.run("ip", "tuntap", "add", "dev", "tun1002", "mode", "tun")
    found = there.several({"name": "tun1001"}, {"name": "tun1002"})
    assert found["error"].startswith("tun1002 exists and overssh.swarm did not make it")
    assert "tun1001" not in there.run("ip", "-brief", "link")
