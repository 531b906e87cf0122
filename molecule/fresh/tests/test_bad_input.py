# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong is told in a sentence, before anything is changed on any host; the snapshot after these says so too.

All of it is told at once, so what can be wrong together is so in one play, and each sentence is a test of its own.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import lab


def refused(playbook: str, *arguments: str, inventory: Path = lab.INVENTORY) -> str:
    """What a playbook says when it refuses, on one line; it must not have changed anything."""
    done = lab.play(playbook, *arguments, inventory=inventory)
    assert done.status != 0
    assert done.total("changed") == 0
    return " ".join(done.output.split())


@contextlib.contextmanager
def meanwhile(node: str, script: str, back: str) -> Iterator[None]:
    """A node after one shell script, and in the end after the other one."""
    lab.inside(node, script)
    try:
        yield
    finally:
        lab.inside(node, back)


def without(node: str, path: str) -> contextlib.AbstractContextManager[None]:
    """The node lacks a file meanwhile."""
    return meanwhile(node, f"mv {path} {path}.hidden", f"mv {path}.hidden {path}")


@pytest.fixture(scope="module")
def said_of_values() -> str:
    """Of values that are wrong by themselves, in a fleet without a hub, where one host is left out."""
    everywhere = {
        "overssh_hub": False,
        "overssh_address": "172.30.0.7",
        "overssh_underlay": "ten",
        "overssh_overlays": [{"name": "a"}],
        "overssh_mtu": 70000,
        "overssh_transport": "udp",
        "overssh_hubz": 1,
    }
    variables = {node: dict(everywhere) for node in lab.hosts()}
    variables["cloud1"]["overssh_hub"] = "perhaps"
    with lab.changed_inventory(variables) as inventory:
        return refused("overssh.swarm.preflight", "--limit", "localhost,cloud1,edge1", inventory=inventory)


@pytest.mark.parametrize(
    "sentence",
    [
        pytest.param("no host of the group is a hub; set overssh_hub: true", id="no-hub"),
        pytest.param("cloud1: overssh_hub is 'perhaps'; it takes true or false", id="no-bool"),
        pytest.param("overssh_address 172.30.0.7 belongs to", id="one-address-for-all"),
        pytest.param("overssh_underlay is 'ten'; it takes an IPv4 network", id="no-network"),
        pytest.param("networks that all have a subnet", id="no-subnet"),
        pytest.param("all hosts: overssh_mtu is 70000; it takes auto, or a whole number", id="mtu"),
        pytest.param("overssh_transport is 'udp'; it takes stream or tun", id="transport"),
        pytest.param("there is no variable overssh_hubz; did you mean overssh_hub", id="misspelt"),
        pytest.param("edge2: was not looked at, since the run is limited", id="limited"),
    ],
)
def test_wrong_values(said_of_values, sentence):
    assert sentence in said_of_values


@pytest.fixture(scope="module")
def small_underlay() -> str:
    """A part of the edges' own network, with one address too few for the fleet."""
    return f"{lab.hosts()['edge1']['ansible_host'].rpartition('.')[0]}.252/30"


@pytest.fixture(scope="module")
def said_of_a_plan(small_underlay) -> str:
    """Of values that are wrong together, of a host that can't be reached, and of a tun device for root only.

    Nothing listens on port 1: refused at once.
    """
    everywhere = {
        "overssh_underlay": small_underlay,
        "overssh_overlays": [{"name": "a", "subnet": small_underlay}],
        "overssh_python": "/usr/bin/python3.5",
    }
    variables = {node: dict(everywhere) for node in lab.hosts()}
    variables["edge1"] |= {"overssh_transport": "tun", "overssh_mtu": 65000, "overssh_lanes": 2, "ansible_port": 1}
    with (
        meanwhile("edge2", "chmod 0600 /dev/net/tun", "chmod 0666 /dev/net/tun"),
        lab.changed_inventory(variables) as inventory,
    ):
        return refused("overssh.swarm.preflight", inventory=inventory)


@pytest.mark.parametrize(
    "sentence",
    [
        pytest.param("edge2: overssh_underlay {underlay} has no free", id="too-small"),
        pytest.param("edge2: overssh_underlay {underlay} overlaps the host's route", id="route"),
        pytest.param("overssh_overlays: a {underlay} overlaps overssh_underlay", id="overlay-in-underlay"),
        pytest.param(
            "edge1: overssh_mtu is 65000, and the transport tun loses everything from the first packet over 16380 "
            "bytes on",
            id="mtu-of-tun",
        ),
        pytest.param("edge1: overssh_lanes is 2, and the transport tun has one lane only", id="lanes-of-tun"),
        pytest.param(
            "cloud1 and edge2: /usr/bin/python3.5, which is to run the helper of the stream transport, can't be run by "
            "an account without privileges (No such file or directory); name one",
            id="python",
        ),
        pytest.param("edge1: can't be reached over ssh:", id="unreachable"),
        pytest.param(
            "edge2: /dev/net/tun has the mode 0600, so tunnels can't open it without being root", id="tun-for-root-only"
        ),
    ],
)
def test_what_can_not_be_planned(said_of_a_plan, small_underlay, sentence):
    assert sentence.format(underlay=small_underlay) in said_of_a_plan


def test_a_host_that_can_be_reached_is_not_said_to_be_unreachable(said_of_a_plan):
    assert "cloud1: can't" not in said_of_a_plan
    assert "edge2: can't" not in said_of_a_plan


@pytest.mark.parametrize(
    ("playbook", "arguments", "sentence"),
    [
        (
            "site",
            ["--start-at-task", "Join the swarm"],
            "'Join the swarm' leaves out what tasks after it need",
        ),
        ("verify", ["--skip-tags", "always"], "--skip-tags always leaves out preflight"),
        (
            "teardown",
            ["--tags", "firewall"],
            "--tags firewall names a part of site, and this playbook is run",
        ),
    ],
)
def test_a_run_that_would_begin_in_the_middle_is_refused_before_it_begins(playbook, arguments, sentence):
    done = lab.play(f"overssh.swarm.{playbook}", *arguments)
    assert done.status != 0
    assert sentence in " ".join(done.output.split())
    assert "TASK [" not in done.output
    assert "undefined" not in done.output


def test_what_fails_in_a_loop_begins_with_its_sentence():
    done = lab.play("overssh.swarm.site", "--check", "--extra-vars", "firewall_owner=firewalld")
    first = done.output.split("failed: [")[1]
    assert "firewalld has no table in this host" in first[:200]


def test_a_group_that_is_not_there():
    said = refused("overssh.swarm.preflight", "--extra-vars", "overssh_group=nosuch")
    assert "The inventory has no group 'nosuch'" in said


def test_one_machine_under_two_names():
    with lab.changed_inventory({"bravo": lab.hosts()["edge2"]}) as there:
        said = refused("overssh.swarm.preflight", inventory=there)
    assert "edge2 and bravo are one machine, to which these names lead" in said


def test_one_host_is_no_fleet():
    with lab.changed_inventory({}, only=[lab.hub()]) as inventory:
        said = refused("overssh.swarm.preflight", inventory=inventory)
    assert "the group has 1 host; a fleet takes two or more." in said


ENCRYPTED = json.dumps({"overssh_overlays": [{"name": "secret", "subnet": "10.202.0.0/24", "encrypted": True}]})
# As Docker asks for it, in a network of a process that ends.
ASK_FOR_ESP = """\
aead='aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 64'
state="src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 mode transport $aead"
unshare --net ip xfrm state add $state >/dev/null 2>&1 && echo yes || echo no
"""


def test_encrypted_networks_take_a_kernel_with_esp():
    """The nodes have the kernel of this machine, so they all have ESP or none has."""
    if lab.inside("edge1", ASK_FOR_ESP).strip() == "yes":
        assert lab.play("overssh.swarm.preflight", "--extra-vars", ENCRYPTED).status == 0
        return
    said = refused("overssh.swarm.preflight", "--extra-vars", ENCRYPTED)
    assert "all hosts: the kernel has no ESP, so that containers there would reach no others on the encrypted" in said


# The lab's hub is hardened for all accounts, which is no obstacle; a Match block that is read first is one.
MATCH_BLOCK = "/etc/ssh/sshd_config.d/20-accounts.conf"
# For new connections; Ansible's own goes on.
OUTPUT = "chain ip filter OUTPUT"
NO_WAY_OUT = """\
iptables -A OUTPUT -o lo -j ACCEPT
iptables -A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
iptables -P OUTPUT DROP
"""
NO_SWARM = """\
docker swarm leave --force
for try in $(seq 50); do docker network rm docker_gwbridge && exit; sleep 0.2; done
exit 1
"""


@pytest.fixture(scope="module")
def said_of_hosts() -> str:
    """Of a fleet with trouble on every host; by site, which goes no further than preflight."""
    address = lab.hosts()["edge2"]["ansible_host"]
    docker = "docker.socket docker.service"
    lines = "AllowUsers ops\\nMatch User *,!ops\\n    PermitTTY yes\\n    ForceCommand /bin/false\\n"
    match = f"printf '{lines}' >{MATCH_BLOCK}"
    holder = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 4789)); time.sleep(600)"
    with (
        meanwhile("cloud1", match, f"rm {MATCH_BLOCK}"),
        meanwhile("cloud1", f"systemctl stop {docker}", f"systemctl start {docker}"),
        meanwhile("cloud1", f'systemd-run --quiet --unit=vpnd python3 -c "{holder}"', "systemctl stop vpnd"),
        without("edge1", "/usr/sbin/nft"),
        without("edge1", "/dev/net/tun"),
        without("edge1", "/run/systemd/system"),
        without("edge1", "/usr/lib/python3/dist-packages/pyroute2"),
        meanwhile("edge2", f"docker swarm init --advertise-addr {address}", NO_SWARM),
        meanwhile("edge2", NO_WAY_OUT, f"iptables -P OUTPUT ACCEPT; nft 'flush {OUTPUT}; delete {OUTPUT}'"),
        meanwhile("edge2", "ip tuntap add dev tun1001 mode tun", "ip link delete tun1001"),
    ):
        return refused("overssh.swarm.site")


@pytest.mark.parametrize(
    "sentence",
    [
        pytest.param("edge1: the program nft is missing; install the package nftables.", id="nft"),
        pytest.param("edge1: /dev/net/tun is missing; load the kernel module tun.", id="tun"),
        pytest.param("edge1: systemd does not run here", id="systemd"),
        pytest.param("edge1: the Python library pyroute2 is missing", id="pyroute2"),
        pytest.param("cloud1: the Docker engine does not run on this host", id="docker"),
        pytest.param(f"cloud1: sshd's AllowUsers ({MATCH_BLOCK} line 1) leaves out overssh", id="account"),
        pytest.param("cloud1: python3 (vpnd.service) has UDP port 4789, which VXLAN needs", id="port"),
        pytest.param("drops it, by the policy drop of ip filter OUTPUT; accept tcp port", id="egress"),
        pytest.param("edge2: tun1001 exists and is not ours; set overssh_tun_base", id="device"),
    ],
)
def test_what_a_host_lacks_or_has_of_others(said_of_hosts, sentence):
    assert sentence in said_of_hosts


def test_a_swarm_of_somebody_else(said_of_hosts):
    address = lab.hosts()["edge2"]["ansible_host"]
    assert f"edge2: is in a swarm already, as {address}, which is not in overssh_underlay" in said_of_hosts


@pytest.mark.parametrize(
    ("keyword", "value", "needed", "line"),
    [("PermitTTY", "yes", "no", 3), ("ForceCommand", "/bin/false", "none", 4)],
)
def test_an_sshd_that_would_not_hold_to_our_match_block(said_of_hosts, keyword, value, needed, line):
    assert (
        f"cloud1: sshd's {keyword} is {value} for overssh, by a Match block in {MATCH_BLOCK} line {line} that is read "
        f"before ours, and has to be {needed}; take the account out of that block, as in Match User *,!overssh."
    ) in said_of_hosts


@pytest.fixture(scope="module")
def said_in_the_end() -> str:
    """By a preflight that passes, of a fleet with what may become an obstacle."""
    pools = '{"default-address-pools": [{"base": "10.200.0.0/15", "size": 24}]}'
    with (
        meanwhile("cloud1", "echo exit >/etc/ssh/sshrc", "rm /etc/ssh/sshrc"),
        meanwhile("cloud1", f"echo net.ipv4.ip_forward=0 >{SYSCTL}", f"rm {SYSCTL}"),
        meanwhile("cloud1", f"echo 'overssh - nproc 3' >{LIMITS}", f"rm {LIMITS}"),
        # Docker of this release does not tell what it runs with, so what it is told counts.
        meanwhile("edge1", f"echo '{pools}' >/etc/docker/daemon.json", "rm /etc/docker/daemon.json"),
    ):
        done = lab.play("overssh.swarm.preflight")
    assert (done.status, done.total("changed")) == (0, 0)
    return " ".join(done.output.split())


SYSCTL, LIMITS = "/etc/sysctl.d/90-hardened.conf", "/etc/security/limits.d/90-hardened.conf"


@pytest.mark.parametrize(
    "sentence",
    [
        pytest.param("Found: 3 hosts fit to take part, Docker", id="found"),
        pytest.param("Plan: edge1 and edge2 dial cloud1 at", id="plan"),
        pytest.param("site would make 2 links, start a swarm on cloud1, join edge1 and edge2", id="steps"),
        pytest.param("give docker_gwbridge the subnet 10.200.1.0/24 on edge1", id="bridge"),
        pytest.param("edge1: Docker takes the subnets of bridge networks out of 10.200.0.0/15", id="pools"),
        pytest.param("cloud1: /etc/ssh/sshrc runs at every login", id="sshrc"),
        pytest.param(f"cloud1: net.ipv4.ip_forward = 0 in {SYSCTL} line 1 takes effect again", id="sysctl"),
        pytest.param(f"cloud1: PAM sets nproc to 3 for the tunnels' account ({LIMITS} line 1)", id="limits"),
    ],
)
def test_a_preflight_that_passes_says_what_it_found(said_in_the_end, sentence):
    # The callback of this project doubles quotes and breaks lines.
    assert sentence in said_in_the_end.replace("''", "'")
