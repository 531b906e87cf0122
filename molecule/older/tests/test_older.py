# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished site on the Debian before or on testing: what their programs do otherwise, and what they can't do."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.support import lab


@dataclass(frozen=True)
class Release:
    """What is known of a release: patterns of its OpenSSH and Docker, a line of sshd -T, whether Docker takes IPv6."""

    openssh: str
    docker: str
    sessions: str
    ipv6: bool


RELEASES = {
    "bookworm": Release(r"OpenSSH_9\.2", r"20\.10\.", "maxsessions 4", ipv6=False),
    # It moves on. sshd spells its keywords as the manual does from 10.4 on.
    "forky": Release(r"OpenSSH_(10\.([4-9]|\d\d)|1[1-9]\.)", r"(2[89]|[3-9]\d)\.", "MaxSessions 4", ipv6=True),
}


@pytest.fixture(scope="module")
def release() -> Release:
    return RELEASES[lab.inside(lab.hub(), '. /etc/os-release; echo "$VERSION_CODENAME"').strip()]


def test_these_hosts_have_the_programs_of_their_release(release):
    for node in lab.hosts():
        assert re.match(release.openssh, lab.inside(node, "ssh -V 2>&1"))
        assert re.match(release.docker, lab.inside(node, "docker info --format '{{.ServerVersion}}'"))


def test_sshd_spells_its_keywords_as_is_known_of_it(release):
    assert release.sessions in lab.inside(lab.hub(), "/usr/sbin/sshd -T").splitlines()


def test_an_engine_that_can_not_carry_a_swarm_over_ipv6_is_named(release):
    underlay = ("--extra-vars", "overssh_underlay6=fd8a:91c4:6e27::/64")
    refused = lab.play("overssh.swarm.preflight", *underlay, "--extra-vars", "overssh_swarm_family=ipv6")
    assert (refused.status, refused.total("changed")) == (2, 0)
    # Said once for all nodes.
    assert ("all hosts: Docker 20.10" in refused.output) != release.ipv6
    sentence = "does not send containers' traffic over IPv6, as versions from 25 on do"
    assert (sentence in refused.output) != release.ipv6
    assert "a swarm can't follow a change of addresses" in refused.output
