# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transports and lanes of a running fleet change when site is run again, and no key ever opens more than its link."""

from __future__ import annotations

import pytest

from tests.support import faults, lab
from tests.support.faults import LONGEST, MAY_END, Fault
from tests.support.lab import changed_to

EDGES = [node for node in lab.hosts() if node != lab.hub()]
HELPER = "test -e /usr/local/lib/overssh/stream && echo there || true"
EFFECTIVE = "/usr/sbin/sshd -T -C user=overssh,host=localhost,addr=127.0.0.1"


def effective() -> dict[str, str]:
    """What the hub's sshd holds for the account."""
    # From OpenSSH 10.4 on sshd spells its keywords as the manual does.
    words = (line.partition(" ") for line in lab.inside(lab.hub(), EFFECTIVE).splitlines())
    return {keyword.lower(): value for keyword, _blank, value in words}


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


OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
# Each has a device of its own at this end, which is there unless it says otherwise.
FAULTS = [
    Fault("the peer shows another host key", "{peer} shows the host key SHA256:", {"host_keys": [OTHER_KEY]}),
    Fault(
        "the peer shows another host key, and what is expected is told",
        "expected is SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA;",
        {"host_keys": [OTHER_KEY]},
    ),
    Fault(
        "the peer does not know the key",
        "{peer} refuses the key {keys}/mishap_strange for the account overssh (Permission denied",
        {"identity_file": "{keys}/mishap_strange"},
    ),
    Fault("there is no such account on the peer", "for the account mishap (Permission denied", {"user": "mishap"}),
    Fault(
        "there is no key", "there is no key {keys}/mishap_none on this host", {"identity_file": "{keys}/mishap_none"}
    ),
    Fault(
        "everybody may read the key",
        "ssh can't use the key {keys}/mishap_open (bad permissions)",
        {"identity_file": "{keys}/mishap_open"},
    ),
    Fault(
        "the key belongs to somebody else",
        "ssh can't use the key {keys}/mishap_foreign (Permission denied)",
        {"identity_file": "{keys}/mishap_foreign"},
    ),
    Fault("there is no account to run it as", "the account mishap does not exist on this host", {"run_as": "mishap"}),
    Fault(
        "nothing listens there",
        "nothing listens at 127.0.0.1 port 9 (Connection refused)",
        {**MAY_END, "host": "127.0.0.1", "port": 9},
    ),
    Fault(
        "the name is unknown", "this host can't resolve the name mishap.invalid", {**MAY_END, "host": "mishap.invalid"}
    ),
    Fault(
        "a firewall swallows the connection",
        "127.0.0.1 port 10 does not answer",
        {**MAY_END, "host": "127.0.0.1", "port": 10},
    ),
    Fault(
        "something else than sshd answers",
        "127.0.0.1 port 11 takes the connection and ends it",
        {**MAY_END, "host": "127.0.0.1", "port": 11},
    ),
    Fault("the device is missing here", "there is no device tun1998 on this host", {"device": "tun1998"}),
    Fault(
        "the device is in use here",
        "another process holds the device {real[device]} on this host",
        {**MAY_END, "device": "{real[device]}"},
    ),
    Fault(
        "the device belongs to somebody else",
        "overssh may not open the device {device} on this host, which belongs to root",
        here="ip link delete dev {device}; ip tuntap add dev {device} mode tun user root",
    ),
    Fault(
        "the device is a tap",
        "the device {device} is no plain tun device",
        here="ip link delete dev {device}; ip tuntap add dev {device} mode tap user overssh",
    ),
    Fault(
        "the device is none that ssh could open",
        "device is 'eth0'; ssh opens devices by number only",
        {"device": "eth0"},
    ),
    Fault(
        "the peer's device is in use",
        "{peer} can't open its device {real[remote_device]} (Failed to open the tunnel device)",
        MAY_END,
    ),
    Fault(
        "the key is for another device of the peer",
        "{peer} can't open its device tun1999 (Failed to open the tunnel device)",
        {**MAY_END, "remote_device": "tun1999"},
    ),
    Fault(
        "both ends have no algorithm in common",
        "{peer} and this host's ssh have no algorithm in common (no matching key exchange method found.",
        {"extra_options": {"KexAlgorithms": "diffie-hellman-group14-sha1"}},
    ),
    Fault(
        "ssh does not know the option",
        "ssh does not take extra_options: Bad configuration option: mishap",
        {"extra_options": {"Mishap": True}},
    ),
]
# These need both ends for themselves.
FOR_ROOT_ONLY = Fault("only root may open /dev/net/tun", "overssh can't open /dev/net/tun (Permission denied)")
NO_TUNNELS = Fault(
    "the peer permits no tunnels",
    "{peer} permits no tunnels to the account overssh (Server has rejected tunnel device forwarding)",
)
SHUTS_OUT = Fault(
    "the peer does not know the key, and shuts us out for it",
    "by now the peer shuts this host's address out for a while",
    {"identity_file": "{keys}/mishap_strange"},
)
SHUT_OUT = Fault(
    "the peer has shut us out before",
    "{peer} shuts this host's address out for a while ('Not allowed at this time'",
    {"wait_timeout": 5},
)
NOTHING_COMES_BACK = Fault(
    "nothing comes back through the link",
    "ssh is connected to cloud1 ({real[host]} port {real[port]}), but {real[remote_address]} does not answer through "
    "{real[device]}",
    {"name": "cloud1", "state": "restarted", "device": "{real[device]}", "connect_timeout": 10, **MAY_END},
)
ALONE = [FOR_ROOT_ONLY, NO_TUNNELS, SHUTS_OUT, SHUT_OUT, NOTHING_COMES_BACK]
PREPARED = """\
ssh-keygen -q -t ed25519 -N '' -f {keys}/mishap_strange
for key in open foreign; do install -m 0600 {keys}/id_ed25519 {keys}/mishap_$key; done
chown overssh {keys}/mishap_strange {keys}/mishap_open
chmod 0644 {keys}/mishap_open
nft 'add table inet mishap; add chain inet mishap out {{ type filter hook output priority -400; }};
     add rule inet mishap out oifname lo tcp dport 10 drop'
systemd-run --quiet --unit mishap-hangs-up python3 -c '
import socket
server = socket.create_server(("127.0.0.1", 11))
while True: server.accept()[0].close()'
"""
CLEAN = """\
for device in $(ls /sys/class/net | grep '^tun19'); do ip link delete dev $device; done
nft delete table inet mishap 2>/dev/null || true
systemctl stop mishap-hangs-up 2>/dev/null || true
rm -f {keys}/mishap_*
"""
SWALLOWED = """\
nft 'add table inet mishap; add chain inet mishap first {{ type filter hook prerouting priority -400; }};
     add rule inet mishap first iifname {real[remote_device]} icmp type echo-request drop'
"""


@pytest.fixture(scope="module")
def tunnel_faults() -> faults.Told:
    """What was said of each, provoked on edge1; the real link is there the whole time, and is left as it was."""
    (real,) = faults.links()
    usual = {
        "transport": "tun",
        "watchdog": False,
        "host": "{real[host]}",
        "port": real["port"],
        "identity_file": "{keys}/id_ed25519",
        "host_keys": faults.host_keys(),
        "device": "{device}",
        "remote_device": "{real[remote_device]}",
        "remote_address": "{real[remote_address]}",
        "connect_timeout": 3,
        "wait_timeout": LONGEST,
    }
    told, (sample, *_) = faults.Told(), faults.attempts(FAULTS, real, usual)
    hub = lab.hub()

    def tried(*wanted: Fault) -> None:
        tries = faults.attempts(wanted, real, usual)
        made = [f"ip tuntap add dev {{device}} mode tun user overssh\n{each.fault.here}\n" for each in tries]
        lab.inside("edge1", "".join(each.format(script) for each, script in zip(tries, made)))
        told.attempt(*tries)
        lab.inside("edge1", "".join(each.format("ip link delete dev {device}\n") for each in tries))

    try:
        lab.inside("edge1", sample.format(PREPARED))
        with faults.sshd("PerSourcePenalties no"):
            tried(*FAULTS)
            with faults.only_root_opens_tunnels("edge1"):
                tried(FOR_ROOT_ONLY)
        with faults.sshd("PerSourcePenalties no\nMatch User overssh\n    PermitTunnel no"):
            tried(NO_TUNNELS)
        with faults.sshd("PerSourcePenalties authfail:20s min:1s max:20s"):
            for fault in (SHUTS_OUT, SHUT_OUT):
                tried(fault)
            # We may dial the hub from the same address.
            lab.task(hub, "ansible.builtin.wait_for_connection", timeout=60)
        lab.inside(hub, sample.format(SWALLOWED))
        tried(NOTHING_COMES_BACK)
    finally:
        lab.inside("edge1", sample.format(CLEAN))
        lab.inside(hub, "nft delete table inet mishap 2>/dev/null || true")
    return told


@pytest.mark.parametrize("fault", [*FAULTS, *ALONE], ids=lambda fault: fault.why)
def test_every_way_in_which_a_tunnel_can_fail_is_told(tunnel_faults, fault):
    tunnel_faults.holds(fault)


def test_nothing_of_a_tunnel_that_failed_stays(tunnel_faults):
    assert tunnel_faults.left == [["cloud1"]] * len([FAULTS, *ALONE])
    (real,) = faults.links()
    assert real["rtt_ms"] is not None


def test_a_fleet_of_streams_alone_permits_no_tunnel():
    changed_to({}, again=False)
    found = effective()
    assert (found["permittunnel"], found["maxsessions"], found["disableforwarding"]) == ("no", "1", "yes")
