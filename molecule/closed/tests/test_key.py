# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's key opens its one tunnel on the hub, and nothing else; tried from the node, as its link is configured."""

from __future__ import annotations

import pytest

from tests.scenarios import lab

SSH = "timeout 15 ssh -F /etc/overssh/links/cloud1.conf"
LET_IN = "Authenticated to"


def attempt(command: str) -> tuple[int, str, str]:
    """Status, output and errors of a command on edge1."""
    found = lab.inside("edge1", f"status=0; {command} >/tmp/out 2>/tmp/err </dev/null || status=$?; echo $status")
    out, err = (lab.inside("edge1", f"cat /tmp/{name}; rm /tmp/{name}") for name in ("out", "err"))
    return int(found), out, err


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("cloud1 id", id="a-command"),
        pytest.param("cloud1", id="a-shell"),
        pytest.param("-tt cloud1", id="a-terminal"),
        pytest.param("-s cloud1 sftp", id="sftp"),
        pytest.param("-W 127.0.0.1:22 cloud1", id="a-connection-from-the-hub"),
        pytest.param("-W /var/run/docker.sock cloud1", id="a-unix-socket-of-the-hub"),
        pytest.param("-N -R 12345:127.0.0.1:22 cloud1", id="a-port-of-the-hub"),
    ],
)
def test_it_gives_no(what):
    status, out, err = attempt(f"{SSH} -o Tunnel=no {what}")
    assert LET_IN in err, "nothing is proven unless the key was taken"
    assert status == 255, "ssh itself has to end it; 124 would be the time limit of an accepted session"
    assert out == ""


@pytest.mark.parametrize("device", ["1003", "1777", "any"])
def test_it_opens_no_other_tunnel(device):
    # As root on the node, who may make a local device for it.
    status, _out, err = attempt(f"{SSH} -N -w any:{device} cloud1")
    assert LET_IN in err
    assert status == 255
    assert "Tunnel forwarding failed" in err


def test_the_unit_runs_in_a_sandbox():
    exposure = lab.inside("edge1", "systemd-analyze security overssh-link-cloud1.service --no-pager | tail -1")
    assert float(exposure.split("overssh-link-cloud1.service:")[1].split()[0]) <= 3.0
