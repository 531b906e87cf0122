# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher looks after devices on the real kernel; a script in systemd's place runs the lines of the units."""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._tun.model import Address, Desired, Route
from ansible_collections.overssh.swarm.plugins.module_utils._tun.unit import unit_text

from tests.netns.watcher import watching

# In seconds; the second one is how soon Docker's gossip gives a node up.
READY, BACK = 30.0, 4.0
SYSTEMCTL = """#!/bin/sh
case $1 in
    is-enabled) echo enabled ;;
    restart)
        ! rm "$UNITS/broken" 2>/dev/null || exit 1
        sed -n 's/^ExecStart=//p' "$UNITS/$2" | sed 's/[$][$]/$/g' | while read -r line; do sh -c "$line"; done ;;
    try-restart) echo "$2" >>"$UNITS/restarted" ;;
esac
"""
DEVICES = (
    Desired(
        "tun1001",
        mtu=9000,
        txqueuelen=700,
        addresses=(Address("172.30.0.2", 32, "172.30.0.1"), Address("fd00:30::2", 128)),
        routes=(Route("172.30.0.0/16", "172.30.0.2", 2000), Route("fd00:30::/64", metric=1024)),
        forwarding=True,
        failover=True,
        incoming_table=7946,
    ),
    Desired(
        "tun1002",
        addresses=(Address("172.30.0.2", 32),),
        routes=(Route("172.31.0.0/16", table=7946),),
        forwarding=False,
    ),
)
RULES_GONE = "ip rule flush; ip rule add prio 32766 lookup main; ip rule add prio 32767 lookup default"
PICTURE = """
ip -br address show | grep tun | sort
for family in -4 -6; do
    ip $family rule
    ip $family route show table all | grep tun | sed 's/ linkdown//; s/ dead//' | sort
done
cd /sys/class/net; head tun*/mtu tun*/tx_queue_len
cd /proc/sys/net/ipv4/conf; head tun*/forwarding tun*/rp_filter tun*/ignore_routes_with_linkdown
"""


@dataclass(frozen=True)
class Host:
    """A namespace with the devices and the watcher at work."""

    name: str
    folder: Path
    watcher: subprocess.Popen[bytes]

    def run(self, script: str) -> str:
        """What a shell script prints there."""
        return inside(self.name, self.folder, script)

    @property
    def picture(self) -> str:
        """Everything that a device has to have."""
        return self.run(PICTURE)

    def said(self) -> str:
        """The watcher's words."""
        return (self.folder / "said").read_text(encoding="utf-8")

    def wait_for(self, words: str, patience: float = READY) -> None:
        """Until the watcher has said this."""
        deadline = time.monotonic() + patience
        while words not in self.said():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def comes_back(self, picture: str) -> None:
        """Everything is as it was within the time."""
        deadline = time.monotonic() + BACK
        while self.picture != picture:
            lines = difflib.ndiff(picture.splitlines(), self.picture.splitlines())
            differ = "\n".join(line for line in lines if not line.startswith(" "))
            assert time.monotonic() < deadline, f"{self.said()}{differ}"
            time.sleep(0.05)


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "UNITS": str(folder / "units"), "PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin"}


def inside(name: str, folder: Path, script: str) -> str:
    command = ["ip", "netns", "exec", name, "sh", "-c", script]
    return subprocess.run(command, env=environment(folder), check=True, capture_output=True, text=True).stdout


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    name = f"overssh-tun-{os.getpid()}"
    units = tmp_path / "units"
    units.mkdir()
    (tmp_path / "systemctl").write_text(SYSTEMCTL, encoding="utf-8")
    (tmp_path / "systemctl").chmod(0o755)
    for device in DEVICES:
        (units / f"overssh-{device.name}.service").write_text(unit_text(device, "/sbin/ip"), encoding="utf-8")
    (units / "overssh-link-cloud1.service").write_text("Wants=overssh-tun1001.service\n", encoding="utf-8")
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        inside(name, tmp_path, "ip link set lo up")
        for device in DEVICES:
            inside(name, tmp_path, f"systemctl restart overssh-{device.name}.service")
        with watching(name, units, tmp_path, tmp_path / "nft", environment(tmp_path)) as watcher:
            here = Host(name, tmp_path, watcher)
            # It listens before it looks for the first time.
            inside(name, tmp_path, "ip link set tun1001 mtu 1500")
            here.wait_for("put back on tun1001: the MTU 9000")
            yield here
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        pytest.param("ip address flush dev tun1001", "the address 172.30.0.2 peer 172.30.0.1/32", id="addresses"),
        pytest.param("ip -6 address flush dev tun1001", "the address fd00:30::2/128", id="IPv6 addresses"),
        pytest.param("ip route flush dev tun1001", "the way to the peer of 172.30.0.2 peer 172.30.0.1/32", id="routes"),
        pytest.param("ip -6 route del fd00:30::/64", "the route fd00:30::/64 metric 1024", id="IPv6 route"),
        pytest.param("ip route flush table 7946", "the route 172.31.0.0/16 table 7946", id="a table"),
        pytest.param("ip route replace 172.30.0.0/16 dev lo metric 2000", "the route 172.30.0.0/16", id="replaced"),
        pytest.param(
            RULES_GONE,
            "the 4 rule iif tun1001",
            id="rules",
        ),
        pytest.param("ip link set tun1001 mtu 1400", "the MTU 9000", id="MTU"),
        pytest.param("ip link set tun1001 txqueuelen 10", "the queue 700", id="queue"),
        pytest.param("ip link set tun1001 down", "the state up", id="down"),
        pytest.param("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_forward=0", "forwarding=1", id="forwarding"),
        pytest.param("sysctl -qw net.ipv4.conf.tun1001.rp_filter=1", "rp_filter=2", id="source check"),
        pytest.param("ip link del tun1001", "the device itself", id="device"),
    ],
)
def test_what_others_undo_is_back_in_time(host: Host, deed: str, told: str) -> None:
    before = host.picture
    host.run(deed)
    host.comes_back(before)
    host.wait_for(told)
    if "link del" in deed:
        restarted = host.folder / "units" / "restarted"
        assert restarted.read_text(encoding="ascii") == "overssh-link-cloud1.service\n"


def test_what_could_not_be_put_back_is_tried_again(host: Host) -> None:
    """Also where the kernel tells of others' changes all the time."""
    before = host.picture
    (host.folder / "units" / "broken").touch()
    chatter = "while :; do ip link set lo mtu 65000; ip link set lo mtu 65536; sleep 0.2; done"
    host.run(f"timeout 60 sh -c '{chatter}' >/dev/null 2>&1 & echo $! >{host.folder}/chatter")
    try:
        host.run("ip link set tun1001 mtu 1400")
        host.wait_for("still missing on tun1001: the MTU 9000")
        host.comes_back(before)
    finally:
        host.run(f"kill $(cat {host.folder}/chatter)")


def test_what_is_not_ours_is_not_looked_at_and_costs_nothing(host: Host) -> None:
    def spent() -> int:
        fields = Path(f"/proc/{host.watcher.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    host.run("ip address add 192.0.2.9/32 dev tun1002; ip route add 198.51.100.0/24 dev tun1002")
    said, before = host.said(), spent()
    host.run("for each in 1 2 3 4 5; do ip link add near type veth peer far; ip link del near; done")
    host.run("ip address del 192.0.2.9/32 dev tun1002")
    time.sleep(2)
    assert host.said() == said
    # Clock ticks, a hundred a second.
    assert spent() - before <= 5


def test_a_change_of_ours_is_left_to_its_end(host: Host) -> None:
    """The module holds the folder of the units while it works; what the units say then is what counts."""
    unit = host.folder / "units" / "overssh-tun1001.service"
    folder = os.open(unit.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    host.run("ip link set tun1001 mtu 8000")
    time.sleep(1.5)
    unit.write_text(unit.read_text(encoding="utf-8").replace("mtu 9000", "mtu 8000"), encoding="utf-8")
    os.rename(unit, unit.with_suffix(".new"))
    os.rename(unit.with_suffix(".new"), unit)
    said = host.said()
    os.close(folder)
    host.run("ip link set tun1001 txqueuelen 10")
    host.wait_for("the queue 700")
    assert "MTU" not in host.said()[len(said) :]
    assert host.run("cat /sys/class/net/tun1001/mtu").strip() == "8000"


def test_who_undoes_the_same_thing_again_and_again_is_named_and_left_alone(host: Host) -> None:
    for number in range(1, 6):
        host.run("ip address del 172.30.0.2/32 dev tun1002")
        deadline = time.monotonic() + READY
        while host.said().count("put back on tun1002: the address 172.30.0.2/32") < number:
            assert time.monotonic() < deadline, host.said()
            time.sleep(0.02)
    host.run("ip address del 172.30.0.2/32 dev tun1002")
    host.wait_for("the address 172.30.0.2/32 of tun1002 was undone 6 times within 60 s by ")
    left = json.loads((host.folder / "left_alone.json").read_text(encoding="utf-8"))
    assert ("tun1002", "the address 172.30.0.2/32") in {(each["subject"], each["what"]) for each in left}
    assert all("process" in each["by"] for each in left)
    before = host.run("ip -br address show tun1002")
    # The rest is looked after as before.
    host.run("ip link set tun1001 mtu 1400")
    time.sleep(2)
    assert host.run("cat /sys/class/net/tun1001/mtu").strip() == "9000"
    assert host.run("ip -br address show tun1002") == before
