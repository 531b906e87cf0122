# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every node of the lab's inventory as testinfra's hosts.

Seen through the engine that runs them, not over the ssh that is under test, and without a session of their own.
"""

from __future__ import annotations

import pytest
import testinfra

from tests.scenarios import lab


def pytest_configure(config):
    config.option.hosts = ",".join(f"docker://{lab.container(node)}" for node in lab.hosts())


@pytest.fixture
def node(host):
    """The inventory name of the node under test."""
    return host.backend.name.removeprefix(f"{lab.NAME}-")


@pytest.fixture(scope="session")
def hub():
    """The node that the others dial, and the swarm's first manager."""
    return testinfra.get_host(f"docker://{lab.container(lab.hub())}")
