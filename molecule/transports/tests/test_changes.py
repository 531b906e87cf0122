# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transports and lanes of a running fleet change when site is run again, and no key ever opens more than its link."""

from __future__ import annotations

import pytest

from tests.scenarios import lab
from tests.scenarios.lab import changed_to

EDGES = [node for node in lab.hosts() if node != lab.hub()]
HELPER = "test -e /usr/local/lib/overssh/stream.py && echo there || true"
EFFECTIVE = "/usr/sbin/sshd -T -C user=overssh,host=localhost,addr=127.0.0.1"


def effective() -> dict[str, str]:
    """What the hub's sshd holds for the account."""
    return dict(line.split(" ", 1) for line in lab.inside(lab.hub(), EFFECTIVE).splitlines() if " " in line)


def shell(node: str) -> str:
    return lab.inside(node, "getent passwd overssh").strip().rpartition(":")[2]


def devices() -> dict[str, str]:
    """The hub's devices by the edge at their other end, with the flags that they were made with."""
    listed = lab.inside(lab.hub(), "for device in /sys/class/net/tun*; do cat $device/ifalias $device/tun_flags; done")
    words = listed.split("\n")
    found = {words[at].split()[1]: words[at + 1] for at in range(0, len(words) - 1, 2)}
    return {peer: flags for peer, flags in found.items() if peer in EDGES}


def tunnel(node: str, device: int) -> tuple[str, str]:
    """What becomes of the attempt to open a device of the hub from a node as a tunnel of ssh -w, and ssh's words."""
    said = lab.inside(
        node,
        "timeout 10 ssh -F /etc/overssh/links/cloud1.conf -o Tunnel=point-to-point -o ExitOnForwardFailure=yes -N"
        f" -w any:{device} cloud1 2>&1 </dev/null && echo status 0 || echo status $?",
    )
    assert "Authenticated to" in said, "nothing is proven unless the key was taken"
    return said.split()[-1], said


@pytest.fixture(scope="module")
def mixed():
    """edge1 has a stream of two lanes, and edge2 a tunnel of ssh -w."""
    changed_to({"edge1": {"overssh_lanes": 2}, "edge2": {"overssh_transport": "tun"}})


@pytest.mark.usefixtures("mixed")
class TestBothTransports:
    """On one hub."""

    def test_sshd_permits_what_both_need(self):
        found = effective()
        assert (found["permittunnel"], found["maxsessions"], found["forcecommand"]) == ("point-to-point", "1", "none")

    def test_the_device_of_two_lanes_has_two_queues(self):
        many = 0x0100  # IFF_MULTI_QUEUE
        assert {peer: bool(int(flags, 16) & many) for peer, flags in devices().items()} == {
            "edge1": True,
            "edge2": False,
        }

    def test_the_helper_is_where_it_has_something_to_do(self):
        assert {node: lab.inside(node, HELPER).strip() for node in lab.hosts()} == {
            "cloud1": "there",
            "edge1": "there",
            "edge2": "",
        }
        assert {node: shell(node) for node in lab.hosts()} == {
            "cloud1": "/bin/sh",
            "edge1": "/bin/sh",
            "edge2": "/bin/false",
        }

    def test_a_channel_that_is_dead_behind_a_live_ssh_is_noticed(self):
        """A packet of more than 16380 bytes kills it, and ssh goes on answering keepalives."""
        ends = (("edge2", "tun1001"), ("cloud1", "tun1003"))
        started = "systemctl show overssh-link-cloud1.service --property=MainPID --value"
        before = lab.inside("edge2", started).strip()
        mtu = lab.inside("edge2", "cat /sys/class/net/tun1001/mtu").strip()
        try:
            for node, device in ends:
                lab.inside(node, f"ip link set {device} mtu 20000")
            lab.inside("edge2", "ping -q -c 2 -W 1 -s 18000 172.30.0.1 || true")
        finally:
            for node, device in ends:
                lab.inside(node, f"ip link set {device} mtu {mtu}")
        lab.wait_for("edge2", f"test $({started}) != {before} && ping -q -c 1 -W 1 172.30.0.1", 30)
        assert "overssh-watch: ended: nothing has come back over tun1001 for 3 s" in lab.inside(
            "edge2", "journalctl --unit=overssh-link-cloud1.service --output=cat --no-pager"
        )

    @pytest.mark.parametrize(("node", "device"), [("edge1", 1003), ("edge2", 1002)])
    def test_no_key_opens_the_device_of_another_node(self, node, device):
        status, said = tunnel(node, device)
        assert status == "255", said

    @pytest.mark.parametrize("what", ["cloud1 id", "cloud1", "-s cloud1 sftp"])
    def test_the_key_of_a_tunnel_gives_no_session(self, what):
        said = lab.inside(
            "edge2",
            f"timeout 10 ssh -F /etc/overssh/links/cloud1.conf -o Tunnel=no {what} 2>/tmp/err </dev/null"
            " && echo status 0 || echo status $?; cat /tmp/err; rm /tmp/err",
        )
        assert "Authenticated to" in said
        assert said.startswith("status 1\n"), said


def test_a_fleet_of_tunnels_alone_keeps_nothing_of_streams():
    changed_to({node: {"overssh_transport": "tun"} for node in EDGES}, again=False)
    found = effective()
    assert (found["permittunnel"], found["maxsessions"], found["forcecommand"]) == ("point-to-point", "0", "/bin/false")
    assert {lab.inside(node, HELPER).strip() for node in lab.hosts()} == {""}
    assert {shell(node) for node in lab.hosts()} == {"/bin/false"}


def test_every_way_in_which_a_tunnel_can_fail_is_told():
    done = lab.play(str(lab.PROJECT / "molecule" / "resources" / "link_errors.yml"))
    assert done.status == 0
    assert done.recap["edge1"]["ok"] > 100


def test_a_fleet_of_streams_alone_permits_no_tunnel():
    changed_to({}, again=False)
    found = effective()
    assert (found["permittunnel"], found["maxsessions"], found["disableforwarding"]) == ("no", "1", "yes")
