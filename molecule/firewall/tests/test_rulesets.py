# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other people's firewalls on the hub: what they block passes on the tunnels after nft_rule, and nowhere else.

Packets cross real tunnels from both spokes, come from outside to the hub's uplink, and from a second uplink, wan0, of
which the sender even has an address of the underlay. The connection that Ansible comes by is never cut.

tests/netns/test_nft_beside_docker.py does the same with every ruleset, where packets cost less.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import answering, lab, probe, rulesets, snapshot, traffic, traffic_agent

HUB, SPOKES = "cloud1", ("edge1", "edge2")
UNDERLAY = {"cloud1": "172.30.0.1", "edge1": "172.30.0.2", "edge2": "172.30.0.3"}
TUNNELS = ["tun1002", "tun1003"]
NETWORK = ["172.30.0.0/16"]
HERE = {"in_interfaces": TUNNELS, "source": NETWORK, "destination": [UNDERLAY[HUB]]}
RULES = [
    {"name": "fleet-swarm-tcp", "protocol": "tcp", "ports": [2377, 7946], **HERE},
    {"name": "fleet-swarm-udp", "protocol": "udp", "ports": [4789, 7946], **HERE},
    {"name": "fleet-transit", "path": "forward", **HERE, "destination": NETWORK, "out_interfaces": TUNNELS},
]

SWARM = ("2377/tcp", "7946/tcp", "4789/udp", "7946/udp")
OTHER = ("2378/tcp", "2377/udp")
THROUGH = ("7946/tcp", "7946/udp")
PUBLISHED = "8080/tcp"
ON_TUNNELS = {f"{spoke}: {port}" for spoke in SPOKES for port in SWARM} | {
    f"{spoke} through the hub: {port}" for spoke in SPOKES for port in THROUGH
}
# What may be open besides.
ELSEWHERE = {f"{uplink}: {port}" for uplink in ("eth0", "wan0") for port in ("22/tcp", PUBLISHED)}

STRANGER, WAN, SENDER = "172.30.9.2", "198.51.100.1", "198.51.100.2"
SECOND_UPLINK = f"""\
ip netns add world
ip link add wan0 type veth peer name up0 netns world
ip address add {WAN}/24 dev wan0
ip link set wan0 up
ip route add {STRANGER} dev wan0
ip -n world address add {SENDER}/24 dev up0
ip -n world address add {STRANGER}/32 dev up0
ip -n world link set up0 up
ip -n world route add {NETWORK[0]} via {WAN} src {STRANGER}
"""
NO_SECOND_UPLINK = "ip link delete wan0; ip netns delete world"

# Not "tunnel": nft 1.1.7 keeps that word for itself, which 1.1.3 does not.
EARLY = """\
table netdev early {
	chain arrival {
		type filter hook ingress device "tun1002" priority filter; policy accept;
		tcp dport 7946 drop
	}
}
"""
# ufw's own settings, and those of the kernel that it changes.
UFW_KEPT = """\
tar -C / -cpf /run/ufw.tar etc/ufw etc/default/ufw
sysctl $(sed -n 's/^\\(net[^=]*\\)=.*/\\1/p' /etc/ufw/sysctl.conf) >/run/ufw.sysctl
"""
UFW_BACK = """\
rm -rf /etc/ufw && tar -C / -xpf /run/ufw.tar
sysctl -q -p /run/ufw.sysctl
rm -f /run/ufw.tar /run/ufw.sysctl
"""

PROGRAM = Path(probe.__file__)
LOG = "/run/answering.log"
ANSWER = f"""\
cat >/run/answering.py <<'END'
{Path(answering.__file__).read_text(encoding="utf-8")}
END
systemd-run --quiet --collect --unit=answering --property=StandardOutput=truncate:{LOG} \\
    python3 /run/answering.py {" ".join((*SWARM, *OTHER))}
"""
NO_ANSWER = f"systemctl stop answering; rm -f /run/answering.py {LOG}"


def nft_rule(**arguments) -> dict:
    done = lab.task(HUB, "overssh.swarm.nft_rule", **arguments)
    assert not done["failed"], done["msg"]
    return done


def opened() -> set[str]:
    """From where which ports answer, each sender at the same time."""
    hub = UNDERLAY[HUB]
    uplink, second = str(lab.hosts()[HUB]["ansible_host"]), "ip netns exec world "
    ports = (*SWARM, *OTHER)
    looks: dict[str, tuple] = {
        "eth0": (None, "", uplink, ("22/tcp", PUBLISHED, *ports)),
        "wan0": (HUB, second, WAN, ("22/tcp", PUBLISHED, *ports)),
        "wan0 as a node": (HUB, second, hub, SWARM),
        "wan0 through the hub": (HUB, second, UNDERLAY["edge1"], THROUGH),
    }
    for spoke, other in (SPOKES, SPOKES[::-1]):
        looks[spoke] = (spoke, "", hub, ports, True)
        looks[f"{spoke} through the hub"] = (spoke, "", UNDERLAY[other], THROUGH, True)
    with ThreadPoolExecutor(len(looks)) as pool:
        asked = {who: pool.submit(answers, *look) for who, look in looks.items()}
    found = {f"{who}: {port}": word for who, future in asked.items() for port, word in future.result().items()}
    intercepted = [name for name, word in found.items() if word == "intercepted"]
    if intercepted:
        warnings.warn(f"somebody else than the node took a connection: {', '.join(intercepted)}", stacklevel=2)
    return {name for name, word in found.items() if word == "open"}


def answers(
    node: str | None, prefix: str, address: str, ports: tuple[str, ...], strict: bool = False
) -> dict[str, str]:
    """What the probe tells, from a node or, for None, from here, which is a router of the hub's network.

    strict: only what answers on the nodes for these tests counts as open.
    """
    words = [*(["--answering"] if strict else []), address, *ports]
    if node is None:
        command = [sys.executable, str(PROGRAM), *words]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    program = PROGRAM.read_text(encoding="utf-8")
    return json.loads(lab.inside(node, f"{prefix}python3 - {' '.join(words)} <<'END'\n{program}\nEND\n"))


def dialled() -> dict[str, str]:
    """What tells one connection of each spoke's link from the next."""
    return {spoke: lab.inside(spoke, "systemctl show --property MainPID overssh-link-cloud1") for spoke in SPOKES}


def played(playbook: str) -> None:
    """A playbook, with success."""
    assert lab.play(playbook).status == 0


def looks() -> dict[str, list[str]]:
    """What the hub looks like."""
    return {aspect: snapshot.take(HUB, aspect) for aspect in snapshot.SCRIPTS}


class Held:
    """An ssh connection to the hub that stays open."""

    def __init__(self) -> None:
        options = (f"UserKnownHostsFile={lab.STATE / 'known_hosts'}", "IdentitiesOnly=yes", "ControlPath=none")
        words = [word for option in options for word in ("-o", option)]
        command = ["ssh", "-i", str(lab.STATE / "id_ed25519"), *words, f"ops@{lab.hosts()[HUB]['ansible_host']}", "cat"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def lives(self) -> bool:
        """Whether what is said comes back within a few seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"still there?\n")
        return bool(select.select([self.process.stdout], [], [], 5)[0]) and bool(self.process.stdout.read(64))


@pytest.fixture(scope="module")
def fleet() -> Iterator[None]:
    """Tunnels between the nodes, whom nothing else has been done to; in the end they are as they were."""
    before = looks()
    with contextlib.ExitStack() as later:
        later.callback(played, "overssh.swarm.teardown")
        for playbook in ("overssh.swarm.firewall", "overssh.swarm.tunnel"):
            played(playbook)
        nft_rule(state="absent", all=True, confirm="none")
        later.callback(lab.inside, HUB, NO_SECOND_UPLINK)
        lab.inside(HUB, SECOND_UPLINK)
        for node in UNDERLAY:
            later.callback(lab.inside, node, NO_ANSWER)
            lab.inside(node, ANSWER)
            lab.wait_for(node, f"grep -q ready {LOG}", 10)
        later.callback(traffic.stop, HUB)
        traffic.start(HUB, "serve", f"--publish {PUBLISHED.partition('/')[0]}:{traffic_agent.PORT}")
        yield
    # Tables of iptables-legacy go with the network namespace only.
    lab.machine("restart", HUB, "--time", "10")
    lab.wait_for(HUB, "systemctl is-system-running | grep -qx running", 60)
    deadline = time.monotonic() + 20
    while (after := looks()) != before and time.monotonic() < deadline:
        time.sleep(0.5)  # an address is looked for on the network before it counts
    assert after == before


@pytest.fixture(autouse=True)
def untouched(fleet: None) -> Iterator[None]:
    """A test leaves the rules as they were, and neither an operator's connection nor a link is cut meanwhile."""
    before, links, held = rulesets.listing(HUB), dialled(), Held()
    assert held.lives()
    yield
    assert held.lives()
    held.process.terminate()
    assert dialled() == links
    assert snapshot.ruleset(rulesets.listing(HUB)) == snapshot.ruleset(before)
    assert STRANGER not in lab.inside("edge1", f"cat {LOG}")


@contextlib.contextmanager
def proven(
    still: frozenset[str] = frozenset(), persist: bool = False, confirm: str = "none"
) -> Iterator[tuple[dict, set[str]]]:
    """Blocked before, passing after on the tunnels and nowhere else, and after the body as it was.

    The body gets what nft_rule said, and what answers once nothing is in the way any more. still: what stays blocked;
    persist: with what keeps the rules for the next boot, which takes longer; confirm: auto connects to the hub anew
    after each change, which takes longer too, and is what test_confirm.py is about.
    """
    text, before = rulesets.listing(HUB), opened()
    assert "eth0: 22/tcp" in before
    assert before <= ELSEWHERE
    try:
        done = nft_rule(rules=RULES, persist=persist, confirm=confirm)
        assert (done["changed"], done["pending"]) == (True, False)
        assert opened() == before | (ON_TUNNELS - still)
        assert nft_rule(rules=RULES, persist=persist, confirm=confirm)["steps"] == []
        yield done, before | ON_TUNNELS
    finally:
        taken = nft_rule(state="absent", all=True, confirm=confirm)
    assert taken["changed"]
    assert rulesets.listing(HUB) == text


@pytest.mark.parametrize("name", ["policy_drop.nft", "iptables_vendor.v4"])
def test_opens_the_tunnels_and_nothing_else(name):
    with rulesets.loaded(HUB, name), proven():
        pass


def test_a_published_port_works_before_meanwhile_and_after():
    with rulesets.loaded(HUB, rulesets.DOCKERS):
        before = opened()
        assert f"eth0: {PUBLISHED}" in before
        with proven(persist=True, confirm="auto"):
            pass
        assert opened() == before


def test_what_is_dropped_on_arrival_passes_too():
    with rulesets.loaded(HUB, "policy_drop.nft"):
        rulesets.load(HUB, EARLY)
        with proven() as (done, _open):
            assert "netdev" in {each["family"] for each in done["placements"]}


@pytest.fixture
def ufw() -> Iterator[None]:
    """The hub with ufw switched on, as its manual says to do from afar."""
    if not lab.inside(HUB, "command -v ufw || true"):
        pytest.fail("this test needs nodes with ufw: bring the lab up with LAB_PACKAGES=ufw")
    with rulesets.without_own(HUB):
        lab.inside(HUB, UFW_KEPT)
        try:
            lab.inside(HUB, "ufw allow 22/tcp; ufw --force enable; ufw status | grep -q 'Status: active'")
            yield
        finally:
            lab.inside(HUB, f"ufw --force disable; {UFW_BACK}")


def test_ufw_also_when_it_is_reloaded(ufw):
    with proven(persist=True) as (done, everything):
        assert done["owners"] == ["docker", "iptables", "ufw"]
        lab.inside(HUB, "ufw reload")
        lab.wait_for(HUB, f"test $(nft list ruleset | grep -c overssh:) = {len(done['placements'])}", 5)
        assert opened() == everything


@pytest.fixture
def firewalld() -> Iterator[None]:
    """The hub with firewalld as its package has it, which lets ssh in."""
    if not lab.inside(HUB, "command -v firewall-cmd || true"):
        pytest.fail("this test needs nodes with firewalld: bring the lab up with LAB_PACKAGES=firewalld")
    with rulesets.without_own(HUB):
        lab.inside(HUB, "tar -C / -cpf /run/firewalld.tar etc/firewalld; systemctl start firewalld")
        try:
            lab.wait_for(HUB, "firewall-cmd --quiet --state", 30)
            yield
        finally:
            lab.inside(HUB, "systemctl stop firewalld; rm -rf /etc/firewalld; tar -C / -xpf /run/firewalld.tar")


def test_firewalld_also_when_it_is_reloaded(firewalld):
    """What is in the way is a zone, so the tunnels get their own."""

    def reloaded() -> list[str]:
        lab.inside(HUB, "firewall-cmd --quiet --reload")
        return sorted(lab.inside(HUB, "nft -s list table inet firewalld").splitlines())

    text, before = reloaded(), opened()
    assert "eth0: 22/tcp" in before
    assert before <= ELSEWHERE
    lab.inside(HUB, "firewall-cmd --quiet --add-port=9999/tcp")
    refused = lab.task(HUB, "overssh.swarm.nft_rule", rules=RULES)
    assert "would lose ports of public, which nobody made permanent" in refused["msg"]
    lab.inside(HUB, "firewall-cmd --quiet --remove-port=9999/tcp")
    done = nft_rule(rules=RULES)
    assert (done["changed"], done["pending"]) == (True, False)
    assert {"docker", "firewalld", "iptables"} <= set(done["owners"])
    assert opened() == before | ON_TUNNELS
    assert nft_rule(rules=RULES)["steps"] == []
    reloaded()
    assert opened() == before | ON_TUNNELS
    assert nft_rule(rules=RULES[:1], exclusive_prefix="fleet-", confirm="manual", rollback_timeout=8)["pending"]
    lab.wait_for(HUB, "firewall-cmd --policy=overssh-transit --list-rich-rules | grep -q accept", 30)
    lab.wait_for(HUB, "test -e /var/lib/overssh/checkpoint/firewall-fleet/rolled_back", 30)
    lab.task(HUB, "overssh.swarm.checkpoint", name="firewall-fleet", state="absent")
    assert nft_rule(rules=RULES)["steps"] == [], "the host has taken it back"
    assert nft_rule(state="absent", all=True)["changed"]
    assert opened() == before
    assert lab.inside(HUB, "grep -rls overssh /etc/firewalld || true") == ""
    assert reloaded() == text


def test_what_iptables_legacy_drops_is_told_and_left():
    def told(done: dict) -> list[str]:
        return [note for note in done["notes"] if "legacy" in note]

    with rulesets.loaded(HUB, "policy_drop.nft"):
        try:
            lab.inside(HUB, "iptables-legacy -A INPUT -i tun1002 -p tcp --dport 7946 -j DROP")
            with proven(still=frozenset({"edge1: 7946/tcp"})) as (done, everything):
                assert "iptables-legacy" in done["owners"]
                assert told(done) == [
                    "iptables-legacy may drop packets of fleet-swarm-tcp, by '-A INPUT -i tun1002 -p tcp -m tcp "
                    "--dport 7946 -j DROP' in the table filter; nft has no say there, so let them pass with "
                    "iptables-legacy too"
                ]
                lab.inside(HUB, "iptables-legacy -I INPUT -i tun1002 -p tcp --dport 7946 -j ACCEPT")
                assert opened() == everything
                assert told(nft_rule(rules=RULES, persist=False)) == []
        finally:
            lab.inside(HUB, "iptables-legacy -F INPUT")
