# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's key opens its one link on the hub, and nothing else; tried from the node, as its link is configured."""

from __future__ import annotations

import pytest

from tests.support import lab

SSH = "timeout 15 ssh -F /etc/overssh/links/cloud1.conf"
LET_IN = "Authenticated to"
SERVE = "/usr/bin/python3 -I -B /usr/local/lib/overssh/stream serve"


def attempt(command: str, typed: str = "") -> tuple[int, str, str]:
    """Status, output and errors of a command on edge1 that gets something to read."""
    lab.inside("edge1", f"cat >/tmp/in <<'TYPED'\n{typed}\nTYPED\n")
    found = lab.inside("edge1", f"status=0; {command} >/tmp/out 2>/tmp/err </tmp/in || status=$?; echo $status")
    out, err = (lab.inside("edge1", f"cat /tmp/{name}; rm /tmp/{name}") for name in ("out", "err"))
    lab.inside("edge1", "rm /tmp/in")
    return int(found), out, err


@pytest.fixture(scope="module", autouse=True)
def the_link_itself_stays_up():
    """None of these attempts is noticed by the link whose key is used."""
    started = "systemctl show -p NRestarts,ExecMainPID,ExecMainStartTimestamp overssh-link-cloud1"
    before = lab.inside("edge1", started)
    yield
    assert lab.inside("edge1", started) == before


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("cloud1 id", id="a-command"),
        pytest.param("cloud1", id="a-shell"),
        pytest.param(f"cloud1 {SERVE} --device tun1003", id="the-helper-for-another-device"),
    ],
)
def test_whatever_is_asked_for_the_helper_answers(what):
    status, out, err = attempt(f"{SSH} {what}", "id; echo $0")
    assert LET_IN in err, "nothing is proven unless the key was taken"
    assert (status, out) == (2, "")
    assert "printed 'id; echo $0' before the first frame" in err


def test_it_gives_no_file_transfer():
    # sshd passes a subsystem's errors on to nobody; the helper's status is that it refuses what is no link.
    status, out, err = attempt(f"{SSH} -s cloud1 sftp", "id")
    assert LET_IN in err, "nothing is proven unless the key was taken"
    assert (status, out) == (2, "")


def test_it_gives_no_terminal():
    status, out, err = attempt(f"{SSH} -tt cloud1", "id")
    assert LET_IN in err, "nothing is proven unless the key was taken"
    assert "PTY allocation request failed" in err
    assert status
    assert out == ""


def test_the_helper_is_the_one_of_the_key_and_not_the_one_asked_for():
    hello = 'OVERSSH-STREAM {"version": "1", "lanes": 2, "lane": 0, "silence": 2.5}'
    _status, out, _err = attempt(f"{SSH} cloud1 {SERVE} --device tun1003 --lanes 2", hello)
    assert "has lanes: 2 and this end lanes: auto" in out


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("-W 127.0.0.1:22 cloud1", id="a-connection-from-the-hub"),
        pytest.param("-W /var/run/docker.sock cloud1", id="a-unix-socket-of-the-hub"),
        pytest.param("-N -R 12345:127.0.0.1:22 cloud1", id="a-port-of-the-hub"),
        pytest.param("-N -R /tmp/planted:127.0.0.1:22 cloud1", id="a-socket-on-the-hub"),
        pytest.param("-N -w any:1002 cloud1", id="its-own-device-as-a-tunnel"),
        pytest.param("-N -w any:1003 cloud1", id="another-device"),
        pytest.param("-N -w any:any cloud1", id="any-device"),
    ],
)
def test_it_gives_no(what):
    # As root on the node, who may make a local device for a tunnel.
    status, out, err = attempt(f"{SSH} -o ExitOnForwardFailure=yes {what}")
    assert LET_IN in err, "nothing is proven unless the key was taken"
    assert status == 255, "ssh itself has to end it; 124 would be the time limit of an accepted session"
    assert out == ""


def test_the_client_plants_nothing_in_the_helpers_environment():
    helpers = "pgrep -u overssh -f '^/usr/bin/python3 .* serve --device tun1002'"
    planted = "LC_ALL=planted PYTHONPATH=/planted PYTHONHOME=/planted LD_PRELOAD=/planted BASH_ENV=/planted"
    lab.inside(
        "edge1",
        # At a place of its own: from OpenSSH 10.1 on an agent makes a folder in the home otherwise.
        f"ssh-agent -a /run/planted.agent sh -c 'sleep 30 | {SSH} -A -o \"SetEnv {planted}\" cloud1' >/dev/null 2>&1 &",
    )
    try:
        lab.wait_for("cloud1", f"test $({helpers} | wc -l) -eq 2", timeout=10)
        found = lab.inside("cloud1", f"for process in $({helpers}); do tr '\\0' '\\n' </proc/$process/environ; done")
    finally:
        lab.inside("edge1", "pkill -f SetEnv")
        lab.wait_for("cloud1", f"test $({helpers} | wc -l) -eq 1")
    assert found.count("SSH_CONNECTION=") == 2
    assert "planted" not in found
    assert "SSH_AUTH_SOCK" not in found


def test_the_unit_runs_in_a_sandbox():
    exposure = lab.inside("edge1", "systemd-analyze security overssh-link-cloud1.service --no-pager | tail -1")
    assert float(exposure.split("overssh-link-cloud1.service:")[1].split()[0]) <= 3.0
