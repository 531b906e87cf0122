# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mistake of a fleet is said once, and of whom it is true."""

from __future__ import annotations

from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet.once import once

HOSTS = ["a", "b", "c"]


def test_what_is_true_of_all_hosts_is_said_once() -> None:
    assert once([f"{host}: x is 1; it takes 2." for host in HOSTS], HOSTS) == ["all hosts: x is 1; it takes 2."]


def test_what_is_true_of_some_names_these() -> None:
    said = ["a: no nft.", "fleet: odd.", "b: no tun.", "c: no nft.", "b: no nft."]
    assert once(said[:-1], HOSTS) == ["a and c: no nft.", "fleet: odd.", "b: no tun."]
    assert once(said, [*HOSTS, "d"])[0] == "a, c and b: no nft."


def test_what_is_said_of_the_fleet_stays_and_is_said_once() -> None:
    assert once(["no hub.", "overlays: a is twice.", "no hub."], HOSTS) == ["no hub.", "overlays: a is twice."]
    assert once(["a: no nft."], ["a"]) == ["a: no nft."]
    assert once([], HOSTS) == []
