# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet whose underlay carries less than it did: the networks over it are told of, and made anew with consent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.support import lab

OVERLAY = "overssh.swarm.overlay"
CONSENT = ("--extra-vars", "overlay_on_change=recreate")
SMALL = 1300


@pytest.fixture
def shrunk() -> Iterator[int]:
    """One end of one link has a smaller MTU, and nothing puts it back; which one it had."""
    (link,) = json.loads(lab.inside("edge1", "ip -json link show tun1001"))
    lab.inside("edge1", f"systemctl stop overssh-watch; ip link set tun1001 mtu {SMALL}")
    yield link["mtu"]
    lab.inside("edge1", f"ip link set tun1001 mtu {link['mtu']}; systemctl start overssh-watch")
    lab.inside("edge1", "docker image prune --force --all >/dev/null")
    lab.inside(lab.hub(), "docker service ls --quiet | xargs --no-run-if-empty docker service rm >/dev/null")
    assert lab.play(OVERLAY, *CONSENT).status == 0


def mtu(network: str) -> int:
    (found,) = json.loads(lab.inside(lab.hub(), f"docker network inspect {network}"))
    return int((found["Options"] or {}).get("com.docker.network.driver.mtu", 1500))


def test_an_underlay_that_shrank(shrunk):
    before = shrunk
    lab.inside(
        lab.hub(), "docker service create --detach --no-resolve-image --name web --publish 8080:80 overssh.invalid/none"
    )

    refused = lab.play(OVERLAY)
    said = re.sub(r"\s+", " ", refused.output)
    assert refused.status != 0
    for network in ("overssh", "ingress"):
        assert f"{network} is there, but its mtu is {before} where only {SMALL} fits through the underlay" in said
    assert "services publish ports through it, as now web" in said
    assert (mtu("overssh"), mtu("ingress")) == (before, before)

    lab.inside(lab.hub(), "docker service rm web")
    mended = lab.play(OVERLAY, *CONSENT)
    assert mended.status == 0
    assert (mtu("overssh"), mtu("ingress")) == (SMALL, SMALL)
    assert lab.play(OVERLAY).total("changed") == 0
