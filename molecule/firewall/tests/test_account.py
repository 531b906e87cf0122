# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the account of the tunnels changes on a host, its sshd above all, and that none of it locks anybody out."""

from __future__ import annotations

import time

import pytest

from tests.support import lab

NODE = "edge1"
DROP_IN = "/etc/ssh/sshd_config.d/overssh.conf"
MAIN = "/etc/ssh/sshd_config"
BLOCK = "Match User overssh\n    PermitTTY no\n    AuthorizedKeysFile /etc/overssh/authorized_keys\n"
# Everything that the module could change, and what is left of a checkpoint.
STATE = (
    f"set +e; sha256sum {MAIN}; stat -c '%a %u %g' {MAIN}; ls /etc/ssh/sshd_config.d; getent passwd overssh; "
    "ls -A /etc/overssh /usr/local/lib/overssh /var/lib/overssh 2>/dev/null; "
    "systemctl list-unit-files --no-legend 'overssh-checkpoint*'; true"
)
# Keywords in lower case, which sshd prints as the manual spells them from 10.4 on.
HELD = "sshd -T -C user=overssh,host=localhost,addr=127.0.0.1 | tr A-Z a-z"


def account(**arguments) -> dict:
    return lab.task(NODE, "overssh.swarm.tunnel_account", **arguments)


def let_in(config: str = BLOCK, **more) -> dict:
    return account(authorized_keys="# nobody\n", sshd_config=config, **more)


@pytest.fixture(autouse=True)
def before():
    """Every test begins and ends with the host as it was."""
    found = lab.inside(NODE, STATE)
    yield found
    account(state="absent", confirm="none")
    assert lab.inside(NODE, STATE) == found


def test_who_is_locked_out_is_let_in_again(before):
    began = time.monotonic()
    lost = let_in(f"{BLOCK}Match all\n    DenyUsers *\n", rollback_timeout=8)
    assert lost["failed"]
    assert "the change sshd was rolled back at" in lost["msg"]
    assert "What was in the way: " in lost["msg"]
    assert time.monotonic() - began > 8, "it was cut off until then"
    assert lab.inside(NODE, f"test ! -e {DROP_IN} && {HELD} | grep -c denyusers || true").strip() == "0"


def test_a_change_after_which_the_host_is_reached_stays(before):
    done = let_in(effective=["permittty no"], rollback_timeout=8)
    came = time.monotonic()
    assert (done["changed"], done["pending"], done["checkpoint"]) == (True, False, "")
    assert let_in(effective=["permittty no"])["changed"] is False
    time.sleep(max(0.0, came + 9.5 - time.monotonic()))
    assert "permittty no" in lab.inside(NODE, HELD)
    found = lab.task(NODE, "overssh.swarm.tunnel_account_info")
    assert (found["pending"], "permittty no" in found["effective"], found["block"]) == (False, True, "")


@pytest.mark.parametrize(
    ("config", "effective", "said"),
    [
        ("Match User overssh\n    NoSuchKeyword yes\n", [], "Bad configuration option"),
        (BLOCK, ["permittty yes"], 'it lacks "permittty yes"'),
    ],
)
def test_what_sshd_would_not_hold_to_is_refused_and_nothing_is_changed(before, config, effective, said):
    refused = let_in(config, effective=effective)
    assert refused["failed"]
    assert said in refused["msg"]
    assert lab.inside(NODE, STATE) == before


def test_a_host_whose_sshd_reads_one_file_gets_a_block_at_its_end_and_has_its_file_back(before):
    lab.inside(NODE, f"cp -a {MAIN} /run/sshd_config; sed -i '/^Include/d' {MAIN}; chmod 600 {MAIN}")
    lab.inside(NODE, "systemctl reload ssh")
    try:
        own = lab.inside(NODE, f"cat {MAIN}")
        assert let_in(effective=["permittty no"])["changed"]
        assert let_in(effective=["permittty no"])["changed"] is False
        block = f"# BEGIN overssh.swarm\n{BLOCK}# END overssh.swarm\n"
        assert lab.inside(NODE, f"cat {MAIN}; test ! -e {DROP_IN}; stat -c %a {MAIN}") == f"{own}{block}600\n"
        lab.inside(NODE, f"echo 'X11Forwarding no' >>{MAIN}")
        assert let_in()["changed"], "the line would belong to our Match block"
        assert lab.inside(NODE, f"cat {MAIN}") == f"{own}X11Forwarding no\n{block}"
        assert account(authorized_keys="", sshd_config="")["changed"]
        assert lab.inside(NODE, f"cat {MAIN}") == f"{own}X11Forwarding no\n"
    finally:
        lab.inside(NODE, f"cp -a /run/sshd_config {MAIN}; rm /run/sshd_config; systemctl reload ssh")


def test_a_change_that_waits_for_a_persons_word_goes_without_it(before):
    assert let_in(confirm="manual", rollback_timeout=600)["pending"]
    again = let_in(confirm="manual")
    assert (again["changed"], again["pending"], again["checkpoint"]) == (False, True, "sshd")
    second = let_in(f"{BLOCK}    X11Forwarding no\n", confirm="manual")
    assert "the change sshd before this one is not confirmed yet" in second["msg"]
    wanted = {"authorized_keys": "# nobody\n", "sshd_config": f"{BLOCK}    X11Forwarding no\n", "confirm": "manual"}
    foreseen = lab.foreseen(NODE, "overssh.swarm.tunnel_account", **wanted)
    assert (foreseen["failed"], foreseen["msg"]) == (True, second["msg"])
    assert lab.task(NODE, "overssh.swarm.checkpoint", name="sshd", state="rolled_back")["changed"]
    lab.inside(NODE, f"test ! -e {DROP_IN}")
    assert let_in(confirm="manual", rollback_timeout=600)["pending"]
    assert lab.task(NODE, "overssh.swarm.checkpoint", name="sshd", state="confirmed")["changed"]
    assert let_in(confirm="manual")["pending"] is False


def test_what_a_run_that_was_broken_off_left_on_trial_does_not_go_from_under_the_next_one(before):
    assert let_in(confirm="none", phase="stage", rollback_timeout=8)["pending"]
    came = time.monotonic()
    done = let_in()
    assert (done["changed"], done["pending"]) == (True, False)
    time.sleep(max(0.0, came + 9.5 - time.monotonic()))
    assert "permittty no" in lab.inside(NODE, HELD)


def test_an_account_of_somebody_else_is_left_alone(before):
    lab.inside(NODE, "useradd --system --home-dir /srv --shell /bin/bash overssh")
    try:
        passwd = lab.inside(NODE, "getent passwd overssh")
        refused = let_in()
        assert "the account overssh is there and not ours (its home is /srv" in refused["msg"]
        assert account(state="absent")["changed"] is False
        assert lab.inside(NODE, "getent passwd overssh; ls /etc/overssh 2>/dev/null || true") == passwd
    finally:
        lab.inside(NODE, "userdel overssh")


def test_a_key_that_others_could_read_is_the_accounts_alone_again(before):
    made = account(key_comment="overssh:edge1")
    assert made["public_key"].startswith("ssh-ed25519 ")
    assert made["public_key"].endswith(" overssh:edge1")
    assert account(key_comment="overssh:edge1")["changed"] is False
    lab.inside(NODE, "chown root: /etc/overssh/keys/id_ed25519; chmod 0644 /etc/overssh/keys/id_ed25519")
    again = account(key_comment="another")
    assert again["steps"] == ["give the key to overssh alone"]
    assert again["public_key"] == made["public_key"]
    assert lab.inside(NODE, "stat -c '%U %a' /etc/overssh/keys/id_ed25519") == "overssh 600\n"


def test_an_sshd_that_has_its_port_from_systemd_reads_its_configuration_anew(before):
    # With the connections of before, so that the next one is the first that systemd starts an sshd for.
    lab.inside(NODE, "systemctl stop ssh.service; pkill sshd-session; systemctl start ssh.socket")
    try:
        done = let_in(effective=["PermitTTY no"])
        assert (done["changed"], done["pending"]) == (True, False)
        assert "permittty no" in lab.inside(NODE, HELD)
        lab.inside(NODE, "systemctl is-active --quiet ssh.socket")
        lost = let_in(f"{BLOCK}Match all\n    DenyUsers *\n", rollback_timeout=8)
        assert "the change sshd was rolled back at" in lost["msg"], "the sshd of before is in force again"
        assert lab.inside(NODE, f"cat {DROP_IN}") == BLOCK
        assert account(state="absent")["changed"]
    finally:
        # An sshd that has its port from a socket that is gone ends at its next reload.
        lab.inside(NODE, "systemctl stop ssh.socket ssh.service; systemctl start ssh.service")
    assert lab.task(NODE, "overssh.swarm.host_info")["host"]["sshd"]["service"] == "ssh.service"


def test_an_sshd_whose_socket_unit_was_stopped_since_does_not_end_with_its_reload(before):
    """As where somebody goes from the socket unit to the service: that one runs already, on the other one's port."""
    lab.inside(NODE, "systemctl stop ssh.service; pkill sshd-session; systemctl start ssh.socket")
    assert lab.task(NODE, "ansible.builtin.ping")["ping"] == "pong"
    lab.inside(NODE, "systemctl stop ssh.socket; systemctl is-active --quiet ssh.service")
    try:
        done = let_in(effective=["PermitTTY no"])
        assert (done["changed"], done["pending"]) == (True, False)
        lab.inside(NODE, "systemctl is-active --quiet ssh.service")
        assert account(state="absent")["changed"]
        lab.inside(NODE, "systemctl is-active --quiet ssh.service")
    finally:
        lab.inside(NODE, "systemctl reset-failed ssh.service; systemctl start ssh.service")
