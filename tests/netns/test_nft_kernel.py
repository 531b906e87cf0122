# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the model of a ruleset says of packets, compared with what the kernel does to them, for generated rulesets."""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter

from ansible_collections.overssh.swarm.plugins.module_utils._firewall import engine as firewall_engine
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.accept import states_at
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.conditions import Packet
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.traversal import Reader, Walker, drops
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.netns.firewall import task

# Where a packet comes from: the neighbour, its address, the host's, and the device that it comes in by.
WAYS = {
    "peer": ("172.30.2.2", "172.30.2.1", "tun1002"),
    "world": ("198.51.100.2", "198.51.100.1", "wan0"),
}
PORTS = range(1000, 1006)
# What a rule looks at that the model knows nothing of.
NOT_TOLD = ("meta mark", "limit")
# Every chain lets this through first: what was sent before it has come, or never will.
LAST = 9
EXAMPLES = 100
CASES = EXAMPLES * len(WAYS) * len(PORTS)

port = st.sampled_from(PORTS)
several_ports = st.lists(port, min_size=2, max_size=3, unique=True).map(
    lambda ports: f"{{ {', '.join(map(str, ports))} }}"
)
port_match = st.builds(
    "udp dport {}{}".format,
    st.sampled_from(["", "", "!= "]),
    st.one_of(port.map(str), several_ports, st.just("1001-1003"), st.just("@ports")),
)
match = st.one_of(
    port_match,
    st.sampled_from(
        [
            'iifname "tun1002"',
            'iifname != "tun1002"',
            'iifname "tun*"',
            'iifname { "wan0", "eth7" }',
            "ip saddr 172.30.2.2",
            "ip saddr 172.30.0.0/16",
            "ip saddr != 198.51.100.0/24",
            "ip saddr @friends",
            "ip daddr 172.30.2.1",
            "meta l4proto udp",
            "meta l4proto { tcp, icmp }",
            "tcp dport 1001",
            "ct state new",
            "ct state established,related",
            "ct state { new, invalid }",
            "fib daddr type local",
            "meta mark 0",
            "limit rate 1000000/second burst 10000 packets",
        ]
    ),
)


def verdict(later: list[str]) -> st.SearchStrategy[str]:
    """A verdict; later: the chains that may be called."""
    plain = ["accept", "drop", "drop", "return", "counter", "reject"]
    calls = [f"{word} {chain}" for word in ("jump", "goto") for chain in later]
    maps = ["udp dport vmap { 1000 : accept, 1001-1002 : drop }", 'iifname vmap { "tun1002" : accept, "wan0" : drop }']
    maps += [f"ip saddr vmap {{ 172.30.2.2 : jump {later[0]}, 198.51.100.2 : drop }}"] if later else []
    return st.sampled_from(plain + calls + maps)


def rules(later: list[str]) -> st.SearchStrategy[list[str]]:
    one = st.builds(
        lambda matches, end: " ".join([*matches, end]),
        st.lists(match, max_size=2, unique_by=lambda each: each.split()[0]),
        verdict(later),
    )
    # nft refuses a rule that can never match.
    return st.lists(one.filter(lambda text: not ("udp" in text and "tcp" in text)), max_size=5)


@st.composite
def rulesets(draw: st.DrawFn) -> str:
    """A table with sets, up to two chains that others call, and up to three that packets come by."""
    family = draw(st.sampled_from(["inet", "ip"]))
    lines = [f"table {family} generated {{"]
    lines += ["set ports { type inet_service; elements = { 1000, 1004 }; }"]
    lines += ["set friends { type ipv4_addr; elements = { 172.30.2.2 }; }"]
    called: list[str] = []
    for name in draw(st.sampled_from([[], ["deep"], ["deep", "middle"]])):
        lines += [f"chain {name} {{", *draw(rules(called)), "}"]
        called = [name, *called]
    hooks = [
        ("input", 0),
        *draw(st.sampled_from([[], [("prerouting", -150)], [("input", 10)], [("prerouting", -300)]])),
    ]
    for number, (hook, priority) in enumerate(hooks):
        policy = draw(st.sampled_from(["accept", "accept", "drop"]))
        lines += [f"chain base{number} {{ type filter hook {hook} priority {priority}; policy {policy};"]
        lines += [f"udp dport {LAST} accept", *draw(rules(called)), "}"]
    # `reject` is for chains that packets for the host come by last.
    text = "\n".join([*lines, "}"])
    return text.replace("reject", "drop") if "prerouting" in text else text


def arrived(net, places: dict[tuple[str, int], None]) -> set[tuple[str, int]]:
    """Which of the packets, each by its source and its port, come to a socket of the host."""
    there = set()
    sockets = {}
    try:
        with net.inside("host"):
            for number in (*PORTS, LAST):
                sockets[number] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sockets[number].bind(("", number))
        for source, (_address, host, _device) in WAYS.items():
            with net.inside(source), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
                for number in [number for name, number in places if name == source]:
                    try:
                        sending.sendto(source.encode(), (host, number))
                    except OSError:  # an answer of `reject` to the one before
                        sending.sendto(source.encode(), (host, number))
                for _attempt in range(2):
                    try:
                        sending.sendto(source.encode(), (host, LAST))
                        break
                    except OSError:
                        continue
            sockets[LAST].settimeout(20)
            assert sockets[LAST].recv(16) == source.encode()
        for number in PORTS:
            sockets[number].setblocking(False)
            while True:
                try:
                    there.add((sockets[number].recv(16).decode(), number))
                except BlockingIOError:
                    break
    finally:
        for each in sockets.values():
            each.close()
    return there


def foreseen(net) -> dict[tuple[str, int], str]:
    """What the model says of each packet: passes, dropped, or unsure."""
    ruleset = firewall_engine.Nft(net.run).ruleset()
    walker = Walker(ruleset, Reader(ruleset))
    found = {}
    for source, (address, host, device) in WAYS.items():
        for number in PORTS:
            answer = "passes"
            for hook in ("prerouting", "input"):
                for base in ruleset.base_chains(hook, {"ip", "inet"}):
                    packet = Packet(
                        family="ip",
                        state=states_at(hook, base.priority)[0],
                        hook=hook,
                        iif=device,
                        oif="",
                        protocol="udp",
                        port=(number, number),
                        source=ipaddress.ip_network(address),
                        destination=ipaddress.ip_network(host),
                    )
                    answer = worse(answer, fate(walker, base, packet))
            found[source, number] = answer
    return found


def fate(walker, base, packet) -> str:
    """Of a packet in one base chain."""
    unsure = False
    for event in walker.walk(base.key, packet):
        ends = drops(event, base)
        if ends and event.certain and not unsure:
            return "dropped"
        unsure = unsure or ends or not event.certain
    return "unsure" if unsure and drops_somewhere(walker, base, packet) else "passes"


def drops_somewhere(walker, base, packet) -> bool:
    return any(drops(event, base) for event in walker.walk(base.key, packet))


def worse(one: str, other: str) -> str:
    return max(one, other, key=["passes", "unsure", "dropped"].index)


TOLD: Counter[str] = Counter()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rulesets(), st.sampled_from(sorted(WAYS)), port)
def test_the_kernel_does_what_the_model_says_and_an_accept_takes_effect(net, ruleset, source, number):
    net.run(["nft", "flush", "ruleset"])
    net.run(["nft", "-f", "-"], ruleset)
    everything = dict.fromkeys((source, number) for source in WAYS for number in PORTS)
    said = foreseen(net)
    before = arrived(net, everything)
    if any(word in ruleset for word in NOT_TOLD):
        # The walk does not tell of what may have been accepted before.
        said = {place: "unsure" if answer == "dropped" else answer for place, answer in said.items()}
    for place, answer in said.items():
        TOLD[answer] += 1
        assert answer == "unsure" or (place in before) == (answer == "passes"), (place, answer)
    listing = net.listing()
    accept = {"name": "x", "protocol": "udp", "ports": [str(number)], "in_interfaces": [WAYS[source][2]]}
    done = task(net, **accept)
    after = arrived(net, everything)
    assert after == before | {(source, number)}
    assert done["needed"] or (source, number) in before
    assert task(net, **accept)["steps"] == []
    task(net, state="absent", name="x")
    assert net.listing() == listing


def test_enough_was_compared_and_most_of_it_is_certain():
    assert sum(TOLD.values()) >= 500, TOLD
    assert TOLD["unsure"] < sum(TOLD.values()) / 4, TOLD
    assert min(TOLD["passes"], TOLD["dropped"]) > 50, TOLD
