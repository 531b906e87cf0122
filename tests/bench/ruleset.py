# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A large ruleset as one finds them: a filter of nft, beside it what a banning daemon and a service proxy make with
iptables. The same on every run.
"""

from __future__ import annotations

from collections.abc import Iterator

RULES = 10_000
BANNED, BANS = 10, 100
SERVICES = 300
NOT_ROUTED = 200
ROLES, PEERS = 40, 50
CUSTOMERS, CUSTOMER_RULES = 100, 20

# How a filter of nft begins and ends, its middle left out.
HEAD = ("iif lo accept", "ct state vmap { established : accept, related : accept, invalid : drop }")
GUARDS = (
    "ip saddr @friends tcp dport 22 accept",
    "iifname eth0 ip saddr @scanners drop",
    "iifname eth0 tcp flags & (syn | ack) == syn tcp dport { 23, 2323, 5555 } add @scanners { ip saddr } drop",
)
ICMP = 'meta l4proto { icmp, ipv6-icmp } limit rate 50/second burst 20 packets counter accept comment "ping"'
TAIL = (
    'limit rate 5/minute burst 5 packets log prefix "refused: "',
    "counter reject with icmpx admin-prohibited",
)


def address(first: int, number: int) -> str:
    """The address of that number in the network first.0.0.0/8."""
    return f"{first}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def iptables() -> str:
    """Chains of banned addresses, and services with two endpoints each, for iptables-nft-restore."""
    return "\n".join(["*filter", *_bans(), "COMMIT", "*nat", *_services(), "COMMIT", ""])


def _bans() -> Iterator[str]:
    yield from (":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]")
    yield from (f":f2b-jail{jail} - [0:0]" for jail in range(BANNED))
    for jail in range(BANNED):
        yield f"-A INPUT -p tcp -m multiport --dports {jail + 20},{jail + 8020} -j f2b-jail{jail}"
        for ban in range(BANS - 1):
            yield f"-A f2b-jail{jail} -s {address(203, jail * 1000 + ban)}/32 -j REJECT"
        yield f"-A f2b-jail{jail} -j RETURN"


def _services() -> Iterator[str]:
    yield from (":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", ":KUBE-SERVICES - [0:0]")
    for service in range(SERVICES):
        yield from (f":KUBE-{kind}{service} - [0:0]" for kind in ("SVC", "SEP-A", "SEP-B"))
    yield from (f'-A {chain} -m comment --comment "services" -j KUBE-SERVICES' for chain in ("PREROUTING", "OUTPUT"))
    for service in range(SERVICES):
        words = f'-m comment --comment "shop/service{service}:http"'
        where = f"-d {address(10, service + 1)}/32 -p tcp {words} -m tcp --dport {8000 + service % 50}"
        yield f"-A KUBE-SERVICES {where} -j KUBE-SVC{service}"
        half = "-m statistic --mode random --probability 0.5"
        yield f"-A KUBE-SVC{service} {words} {half} -j KUBE-SEP-A{service}"
        yield f"-A KUBE-SVC{service} {words} -j KUBE-SEP-B{service}"
        for number, end in enumerate("AB"):
            endpoint = address(10, 65536 + 2 * service + number)
            yield f"-A KUBE-SEP-{end}{service} -s {endpoint}/32 {words} -j MARK --set-xmark 0x4000/0x4000"
            yield f"-A KUBE-SEP-{end}{service} -p tcp {words} -m tcp -j DNAT --to-destination {endpoint}:8080"


def nft(rules: int = RULES) -> str:
    """The filter of nft, in its language; rules: how many there are together with those of iptables."""
    others = sum(line.startswith("-A") for line in iptables().splitlines())
    sets = ["set friends { type ipv4_addr; flags interval; elements = { " + ", ".join(_friends()) + " } }"]
    sets.append("set scanners { type ipv4_addr; flags dynamic, timeout; timeout 1h; size 65536; }")
    fixed = _chains([])
    missing = rules - others - sum(len(rows) for _name, _base, rows in fixed)
    chains = _chains([_known(number) for number in range(missing)])
    body = [f"  {row}" for row in sets]
    # Those that are called come before those that call them.
    for name, base, rows in reversed(chains):
        body += [f"  chain {name} {{", *([f"    {base}"] if base else []), *(f"    {row}" for row in rows), "  }"]
    return "\n".join(["table inet filter {", *body, "}", ""])


def _friends() -> Iterator[str]:
    return (f"{address(100, number << 10)}/24" for number in range(200))


def _known(number: int) -> str:
    """One of the rules that people add one by one."""
    source, port, words = address(198, number * 7), 1024 + number * 13 % 40000, f'comment "known {number}"'
    return (
        f"ip saddr {source} tcp dport {port} counter accept {words}",
        f"ip saddr {source} udp dport {{ {port}, {port + 1} }} accept {words}",
        f'iifname "eth{number % 4}" ip saddr {source}/29 tcp dport {port}-{port + 9} ct state new accept {words}',
        f"ip6 saddr 2001:db8:{number:x}::/48 tcp dport {port} counter accept {words}",
        f"ip saddr {source} counter drop {words}",
    )[number % 5]


def _chains(known: list[str]) -> list[tuple[str, str, list[str]]]:
    """Each chain with what makes it a base chain, and its rules; callers first."""
    jumps = [f'iifname "vlan{number}" jump customer{number}' for number in range(CUSTOMERS)]
    return [
        (
            "raw",
            "type filter hook prerouting priority raw; policy accept;",
            [f"ip saddr {address(192, number << 8)}/24 counter drop" for number in range(NOT_ROUTED)],
        ),
        (
            "input",
            "type filter hook input priority filter; policy drop;",
            [*HEAD, *GUARDS, *_roles(), *known, ICMP, *TAIL],
        ),
        ("forward", "type filter hook forward priority filter; policy drop;", [HEAD[1], *jumps, *TAIL]),
        (
            "output",
            "type filter hook output priority filter; policy accept;",
            ["oif lo accept", 'oifname "eth0" ip daddr 192.0.2.0/24 tcp dport 25 counter reject with tcp reset'],
        ),
        *((f"customer{number}", "", _of_customer(number)) for number in range(CUSTOMERS)),
        *((f"role{role}", "", _of_role(role)) for role in range(ROLES)),
    ]


def _roles() -> Iterator[str]:
    """The ports of each role lead to its chain, by a map or by a rule."""
    half = ROLES // 2
    yield f"tcp dport vmap {{ {', '.join(f'{3000 + role} : jump role{role}' for role in range(half))} }}"
    yield from (f"udp dport {3000 + role} jump role{role}" for role in range(half, ROLES))


def _of_role(role: int) -> list[str]:
    peers = (address(172, (role << 12) + peer) for peer in range(PEERS - 1))
    return [*(f"ip saddr {peer} counter accept" for peer in peers), "drop"]


def _of_customer(number: int) -> list[str]:
    rows = range(CUSTOMER_RULES)
    return [
        f"ip daddr {address(10, (number << 12) + row)} tcp dport {{ 80, 443, {5000 + row} }} accept" for row in rows
    ]
