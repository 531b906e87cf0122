# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished site on the Debian before: its OpenSSH, and what its Docker engine can't do."""

from __future__ import annotations

from tests.scenarios import lab


def test_these_hosts_have_the_older_openssh():
    for node in lab.hosts():
        assert "OpenSSH_9.2" in lab.inside(node, "ssh -V 2>&1")


def test_an_engine_that_can_not_carry_a_swarm_over_ipv6_is_named():
    underlay = ("--extra-vars", "overssh_underlay6=fd8a:91c4:6e27::/64")
    refused = lab.play("overssh.swarm.preflight", *underlay, "--extra-vars", "overssh_swarm_family=ipv6")
    assert (refused.status, refused.total("changed")) == (2, 0)
    for node in lab.hosts():
        assert f"{node}: Docker 20.10" in refused.output
    assert "does not send containers' traffic over IPv6, as versions from 25 on do" in refused.output
