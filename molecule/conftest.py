# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every node of the lab's inventory as testinfra's hosts.

Seen through the engine that runs them, not over the ssh that is under test, and without a session of their own.
"""

from __future__ import annotations

import os

import pytest
import testinfra

from tests.lab.settings import CONTAINERS
from tests.support import lab

pytest_plugins = ["tests.suite.plugin"]

# The other scenarios begin on fresh nodes, or run site themselves.
ON_A_FINISHED_SITE = {
    "awx",
    "exposure",
    "faults",
    "transports",
    "older",
    "failover",
    "reboot",
    "key_rotation",
    "topologies",
    "grow_and_shrink",
    "services",
}


def pytest_configure(config):
    # A node with a kernel of its own is no container; its tests enter it by lab.inside().
    nodes = lab.hosts() if lab.SETTINGS.kind == CONTAINERS else ()
    config.option.hosts = ",".join(f"docker://{lab.container(node)}" for node in nodes)


@pytest.fixture
def node(host):
    """The inventory name of the node under test."""
    return host.backend.name.removeprefix(f"{lab.NAME}-")


@pytest.fixture(scope="session")
def hub():
    """The node that the others dial, and the swarm's first manager."""
    return testinfra.get_host(f"docker://{lab.container(lab.hub())}")


@pytest.fixture(scope="session", autouse=True)
def beginning():
    """Bring the lab where the scenario begins, unless the one before it has left it there."""
    if os.environ.get("MOLECULE_SCENARIO_NAME") in ON_A_FINISHED_SITE and not lab.is_finished():
        assert lab.play("overssh.swarm.site").status == 0
