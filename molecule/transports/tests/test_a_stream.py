# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links of a finished fleet that are streams: their faults, ends that die or stand still, and a newer helper."""

from __future__ import annotations

import pytest

from tests.support import faults, lab
from tests.support.faults import LONGEST, MAY_END, Fault

UNIT = "overssh-link-cloud1.service"


def link(node: str) -> dict:
    """The node's link to the hub, as systemd and the helper's processes show it."""
    shown = lab.inside(node, f"systemctl show {UNIT} -p NRestarts,MainPID,ActiveState")
    return dict(line.split("=", 1) for line in shown.splitlines())


def helper_of(device: str) -> str:
    """The serving helper's process on the hub."""
    return lab.inside(lab.hub(), f"pgrep -f '^/usr/bin/python3 .*/stream serve --device {device}'").strip()


# Holds a device as one end of a link would.
HOLD = """\
systemd-run --quiet --collect --unit mishap-hold python3 -c '
import fcntl, os, struct, sys, time
device = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x1001))
time.sleep(600)' {device}
for try in $(seq 100); do test $(cat /sys/class/net/{device}/carrier) = 0 || exit 0; sleep 0.1; done
exit 1
"""
SERVED = 'restrict,command="exec /usr/bin/python3 -I -B {helper} serve --device {device} --lanes auto"'
# What can be wrong with a stream besides what can be wrong with any link (test_changes.py).
FAULTS = [
    Fault(
        "the helpers differ",
        "the helper at {peer} has version '0' and this host's has version '1'",
        there="sed -i 's/^VERSION = .*/VERSION = \"0\"/' {helper}/wire.py",
    ),
    Fault(
        "the helper is missing there",
        "there is no helper {helper} at {peer}; run the role tunnel on it",
        there="rm -r {helper}",
    ),
    Fault(
        "a file of the helper is missing there",
        "can't run the helper (ModuleNotFoundError: No module named 'wire')",
        there="rm {helper}/wire.py",
    ),
    Fault(
        "the helper can't be read there",
        "overssh can't read the helper {helper} at {peer}, or it is not complete; run the role tunnel on it",
        there="chmod 0700 {helper}",
    ),
    Fault(
        "a file of the helper can't be read there",
        "overssh can't read the helper {helper}/wire.py at {peer} (Permission denied)",
        there="chmod 0600 {helper}/wire.py",
    ),
    Fault(
        "Python is too old there",
        "the helper takes Python 3.99 or later",
        there="sed -i 's/^OLDEST_PYTHON = .*/OLDEST_PYTHON = (3, 99)/' {helper}/__main__.py",
    ),
    Fault(
        "Python is missing there",
        "{peer} can't start Python for the helper",
        line=SERVED.replace("/usr/bin/python3", "/usr/bin/mishap"),
    ),
    Fault(
        "something else than the helper speaks there",
        "{peer} printed 'Welcome to the hub' before the helper's first word",
        line=SERVED.replace('command="', 'command="echo Welcome to the hub; exec cat >/dev/null; '),
    ),
    Fault("the key is bound to nothing there", "opens a shell at {peer} instead of the helper", line="restrict,no-pty"),
    Fault(
        "the device is in use there",
        "another process holds the device {device} of {peer}",
        MAY_END,
        there=HOLD,
    ),
    Fault("the device is in use here", "another process holds the device {device} on this host", MAY_END, here=HOLD),
    Fault(
        "the device is missing there",
        "there is no device tun1999 at {peer}",
        line=SERVED.replace("{device}", "tun1999"),
    ),
    Fault("the device is missing here", "there is no device tun1998 on this host", {"device": "tun1998"}),
    Fault(
        "the device belongs to somebody else here",
        "overssh may not open the device {device} on this host, which belongs to root",
        here="ip link delete dev {device}; ip tuntap add dev {device} mode tun user root",
    ),
    Fault(
        "the device has one queue, and the link two lanes",
        "the device {device} on this host was made with one queue, and the link has lanes: 2",
        {"lanes": 2},
    ),
    Fault(
        "the ends have other lanes",
        "{peer} serves the link with lanes: 2, and this host dials it with lanes: auto",
        line=SERVED.replace("--lanes auto", "--lanes 2"),
    ),
    Fault(
        "the helper is missing here",
        "there is no helper /usr/local/lib/overssh/mishap.py on this host",
        {"helper": "/usr/local/lib/overssh/mishap.py"},
    ),
    Fault(
        "Python is missing here",
        "python is /usr/bin/mishap, which can't be run on this host",
        {"python": "/usr/bin/mishap"},
    ),
    Fault(
        "the hub serves a stream, and tun is dialled",
        "{peer} permits no tunnels to the account overssh (Server has rejected tunnel device forwarding)",
        {"transport": "tun", "watchdog": False},
        here="ip link set dev {device} mtu 9000",
    ),
]
# These need both ends for themselves.
THERE_FOR_ROOT_ONLY = Fault(
    "only root may open /dev/net/tun there", "overssh can't open /dev/net/tun at {peer} (Permission denied)"
)
HERE_FOR_ROOT_ONLY = Fault(
    "only root may open /dev/net/tun here", "overssh can't open /dev/net/tun (Permission denied)"
)
NO_SESSIONS = Fault("the hub serves the transport tun", "{peer} runs no helper for the account overssh")
ALONE = [THERE_FOR_ROOT_ONLY, HERE_FOR_ROOT_ONLY, NO_SESSIONS]
AUTHORIZED = "/etc/overssh/authorized_keys"
MADE_HERE = """\
ssh-keygen -q -t ed25519 -N '' -C {name} -f {key}
chown overssh {key}
ip tuntap add dev {device} mode tun user overssh
"""
MADE_THERE = """\
cp -a /usr/local/lib/overssh/stream {helper}
ip tuntap add dev {device} mode tun user overssh
"""
CLEAN = """\
systemctl stop mishap-hold 2>/dev/null || true
for device in $(ls /sys/class/net | grep '^tun19'); do ip link delete dev $device; done
rm -f /etc/overssh/keys/mishap_*
"""


@pytest.fixture(scope="module")
def stream_faults() -> faults.Told:
    """What was said of each, provoked on edge1 with keys, helpers and devices of the attempts' own."""
    (real,) = faults.links()
    assert real["transport"] == "stream"
    usual = {
        "transport": "stream",
        "watchdog": False,
        "host": "{real[host]}",
        "port": real["port"],
        "identity_file": "{key}",
        "host_keys": faults.host_keys(),
        "device": "{device}",
        "remote_device": "{device}",
        "remote_address": "{real[remote_address]}",
        "wait_timeout": LONGEST,
    }
    told, hub = faults.Told(), lab.hub()
    tries = faults.attempts([*FAULTS, *ALONE], real, usual)
    together, (there, here, sessions) = tries[: len(FAULTS)], tries[len(FAULTS) :]

    def scripts(*texts: str) -> str:
        return "".join(each.format(f"{text}\n") for each in tries for text in texts)

    lab.inside(hub, f"mkdir /run/mishap; cp -a {AUTHORIZED} /run/mishap")
    try:
        lab.inside("edge1", scripts(MADE_HERE))
        lab.inside(hub, scripts(MADE_THERE))
        publics = lab.inside("edge1", scripts("cat {key}.pub")).splitlines()
        lines = "\n".join(each.format(f"{each.fault.line or SERVED} {public}") for each, public in zip(tries, publics))
        lab.inside(hub, f"cat >>{AUTHORIZED} <<'END'\n{lines}\nEND")
        lab.inside("edge1", "".join(each.format(f"( {each.fault.here or ':'}\n)\n") for each in tries))
        lab.inside(hub, "".join(each.format(f"( {each.fault.there or ':'}\n)\n") for each in tries))
        told.attempt(*together)
        with faults.only_root_opens_tunnels(hub):
            told.attempt(there)
        with faults.only_root_opens_tunnels("edge1"):
            told.attempt(here)
        with faults.sshd("Match User overssh\n    MaxSessions 0"):
            told.attempt(sessions)
    finally:
        lab.inside("edge1", CLEAN)
        lab.inside(hub, f"{CLEAN}cp -a /run/mishap/authorized_keys {AUTHORIZED}; rm -r /run/mishap")
    return told


@pytest.mark.parametrize("fault", [*FAULTS, *ALONE], ids=lambda fault: fault.why)
def test_every_way_in_which_a_stream_can_fail_is_told(stream_faults, fault):
    stream_faults.holds(fault)


def test_nothing_of_a_stream_that_failed_stays(stream_faults):
    assert stream_faults.left == [["cloud1"]] * len([FAULTS, *ALONE])


def test_a_far_end_that_stands_still_for_long_costs_seconds_only():
    """The hub's helper answers nothing for 30 s: the link is given up and taken over long before that is over."""
    still = helper_of("tun1002")
    restarts = int(link("edge1")["NRestarts"])
    lab.inside("cloud1", f"kill -STOP {still}; (sleep 30; kill -CONT {still} 2>/dev/null) >/dev/null 2>&1 &")
    lab.wait_for("edge1", f"journalctl -u {UNIT} --since -1min -o cat | grep 'cloud1 has been silent for 2 s'", 30)
    lab.wait_for("edge1", "ping -c1 -W1 172.30.0.1", 20)
    assert helper_of("tun1002") != still
    assert int(link("edge1")["NRestarts"]) == restarts + 1
    assert lab.play("overssh.swarm.verify").status == 0


def test_what_every_login_there_prints_is_passed_over():
    hub = lab.hub()
    lab.inside(hub, "echo 'echo Welcome to the hub' >/etc/ssh/sshrc")
    try:
        lab.inside("edge1", f"systemctl restart overssh-link-{hub}.service")
        lab.wait_for("edge1", "ping -c 1 -W 1 172.30.0.1", 30)
    finally:
        lab.inside(hub, "rm /etc/ssh/sshrc")


def test_a_helper_that_dies_is_back_at_once():
    lab.inside("edge1", f"kill -KILL {link('edge1')['MainPID']}")
    lab.wait_for("edge1", "ping -c1 -W1 172.30.0.1", 20)
    lab.inside("cloud1", f"kill -KILL {helper_of('tun1002')}")
    lab.wait_for("edge1", "ping -c1 -W1 172.30.0.1", 20)
    assert lab.play("overssh.swarm.verify").status == 0


def test_a_helper_that_changed_is_installed_and_taken_into_use_at_both_ends():
    """An operator's fleet gets a newer helper by site alone, also when the two ends could not speak meanwhile."""

    def installed() -> dict[str, str]:
        return {node: lab.inside(node, "find /usr/local/lib/overssh | sort") for node in lab.hosts()}

    whole = installed()
    for node in lab.hosts():
        lab.inside(node, "sed -i 's/^VERSION = .*/VERSION = \"0\"/' /usr/local/lib/overssh/stream/wire.py")
        # The file that it once was, a part that it has no more, and what root leaves who runs it by hand.
        lab.inside(node, "cd /usr/local/lib/overssh; touch stream.py stream/former.py; python3 -I stream version")
    lab.inside("edge1", f"systemctl restart {UNIT}")
    lab.wait_for("edge1", "ping -c1 -W1 172.30.0.1", 20)
    done = lab.play("overssh.swarm.site")
    assert done.status == 0
    assert installed() == whole
    assert lab.play("overssh.swarm.site").total("changed") == 0
