# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ipaddress import IPv4Network
from itertools import islice

from tests.lab.network import LabNetwork, free_subnets, overlapping, parse_routes

ROUTES = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    "vpn0\t0000640A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
)


def test_routes_without_the_default() -> None:
    assert parse_routes(ROUTES) == [IPv4Network("192.0.2.0/24"), IPv4Network("10.100.0.0/16")]


def test_the_first_choice_on_an_idle_machine() -> None:
    assert list(islice(free_subnets([]), 2)) == [IPv4Network("10.100.0.0/24"), IPv4Network("10.100.1.0/24")]


def test_what_is_busy_is_stepped_over() -> None:
    busy = [IPv4Network("10.100.0.0/24"), IPv4Network("10.100.1.128/25"), IPv4Network("10.100.2.5/32")]
    assert next(free_subnets(busy)) == IPv4Network("10.100.3.0/24")


def test_a_route_for_all_of_10_leaves_other_pools() -> None:
    assert next(free_subnets([IPv4Network("10.0.0.0/8")])) == IPv4Network("192.168.128.0/24")


def test_the_collection_s_own_ranges_are_never_offered() -> None:
    offered = list(free_subnets([]))
    for text in ("172.16.0.0/12", "10.200.0.0/16", "10.209.0.0/16", "10.0.0.0/16"):
        assert not any(subnet.overlaps(IPv4Network(text)) for subnet in offered)


def test_who_is_in_the_way_is_named() -> None:
    busy = [("the Docker network other", IPv4Network("10.77.0.0/16")), ("a route", IPv4Network("192.0.2.0/24"))]
    assert overlapping(IPv4Network("192.0.2.0/28"), busy) == "it overlaps 192.0.2.0/24, a route"
    assert overlapping(IPv4Network("10.78.0.0/24"), busy) is None


def test_nothing_is_left() -> None:
    assert list(free_subnets([IPv4Network("0.0.0.0/0")])) == []


def test_addresses_follow_the_gateway() -> None:
    network = LabNetwork("lab-edge", "id", IPv4Network("10.100.1.0/24"), "10.100.1.1")
    assert [network.address(number) for number in (1, 2)] == ["10.100.1.2", "10.100.1.3"]
