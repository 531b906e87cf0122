# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A line that is too slow for the largest packets is told of when it is dialled, and nothing fails for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.support import lab

TOLD = "{node}: the line to cloud1 is slow: it carried about"


@contextlib.contextmanager
def uplink(rate: str) -> Iterator[None]:
    """edge1 sends no faster than this meanwhile."""
    lab.inside("edge1", f"tc qdisc add dev eth0 root tbf rate {rate} burst 16kb latency 200ms")
    try:
        yield
    finally:
        # The kernel gave the device a queue for it.
        lab.inside("edge1", "tc qdisc replace dev eth0 root noqueue; ip link set dev eth0 txqueuelen 0")


def dialled_anew(*nodes: str) -> str:
    """What the play says, on one line, that brings these nodes' links up again."""
    for node in nodes:
        lab.inside(node, "systemctl stop overssh-link-cloud1")
    done = lab.play("overssh.swarm.tunnel")
    assert done.status == 0
    assert {node: done.recap[node]["changed"] for node in nodes} == dict.fromkeys(nodes, 1)
    return " ".join(done.output.split())


def test_a_slow_line_is_told_of_and_a_fast_one_is_not():
    with uplink("8mbit"):
        said = dialled_anew("edge1", "edge2")
    assert TOLD.format(node="edge1") in said
    assert TOLD.format(node="edge2") not in said
    # It stays true, and is said by whatever looks at the fleet later, without being measured again.
    done = lab.play("overssh.swarm.preflight")
    assert "Warning: " + TOLD.format(node="edge1") in " ".join(done.output.split())
    dialled_anew("edge1")
    assert TOLD.format(node="edge1") not in " ".join(lab.play("overssh.swarm.preflight").output.split())


def test_a_host_without_ping_is_dialled_all_the_same():
    lab.inside("edge1", "mv /usr/bin/ping /usr/bin/ping.hidden")
    try:
        assert TOLD.format(node="edge1") not in dialled_anew("edge1")
    finally:
        lab.inside("edge1", "mv /usr/bin/ping.hidden /usr/bin/ping")
