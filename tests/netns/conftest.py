# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One network for all tests of this folder, its firewall empty at the start of each."""

from __future__ import annotations

import os
import shutil

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils import _nft

from .network import network


@pytest.fixture(scope="session")
def _network():
    if os.geteuid() != 0:
        pytest.fail("these tests make network namespaces and firewall rules in them, so they have to be run by root")
    missing = [program for program in ("ip", "nft", "iptables-nft") if shutil.which(program) is None]
    if missing:
        pytest.fail(f"these tests need {', '.join(missing)}; on Debian: apt-get install iproute2 nftables iptables")
    with network() as net:
        yield net


@pytest.fixture
def net(_network, monkeypatch):
    # The lock is the host's, and these tests have many hosts in one process.
    monkeypatch.setattr(_nft, "LOCK", "/nowhere")
    _network.run(["nft", "flush", "ruleset"])
    yield _network
    _network.run(["nft", "flush", "ruleset"])
