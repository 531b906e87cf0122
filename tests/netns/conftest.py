# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One network for all tests of this folder, its firewall empty at the start of each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import engine as firewall_engine
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import docker_chains
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import record as nftables_record

from .network import network

# The networks of these tests, by the process that made them.
OURS = re.compile(r"overssh-(?:nft|legacy|tun|watch|near|far)-([0-9]+)(?:-[a-z]+)?")


def pytest_sessionstart(session):
    """One sentence for all of them where they can't be run."""
    if session.config.option.collectonly:
        return
    if os.geteuid() != 0:
        words = "these tests make network namespaces and firewall rules in them, so they have to be run by root"
        pytest.exit(words, returncode=2)
    missing = [program for program in ("ip", "nft", "iptables-nft") if shutil.which(program) is None]
    if missing:
        words = f"these tests need {', '.join(missing)}; on Debian: apt-get install iproute2 nftables iptables"
        pytest.exit(words, returncode=2)
    remove_left_behind()


def remove_left_behind():
    """Namespaces are named after the process that made them; one that was killed could not remove its own."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    for name in (line.split()[0] for line in listed.splitlines() if line):
        maker = OURS.fullmatch(name)
        if maker and not os.path.exists(f"/proc/{maker[1]}"):
            subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.fixture(scope="session")
def _network():
    with network() as net:
        yield net


@pytest.fixture(autouse=True)
def _record(monkeypatch, tmp_path):
    """The record is the host's too, and the Docker that runs there."""
    monkeypatch.setattr(docker_chains, "PID_FILE", str(tmp_path / "pid"))
    monkeypatch.setattr(nftables_record, "PLACED_FILE", str(tmp_path / "placed"))


@pytest.fixture
def net(_network, monkeypatch):
    # The lock is the host's, and these tests have many hosts in one process.
    monkeypatch.setattr(firewall_engine, "LOCK", "/nowhere")
    _network.run(["nft", "flush", "ruleset"])
    yield _network
    _network.run(["nft", "flush", "ruleset"])
