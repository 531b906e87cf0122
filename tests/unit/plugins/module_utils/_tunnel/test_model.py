# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A link as asked for: what is taken, what is refused, and the texts that come of it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.config import (
    ConfFacts,
    conf_facts,
    conf_text,
    known_hosts_text,
    unit_text,
)
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.engine import has_aes
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.model import (
    Link,
    default_ciphers,
    fingerprint,
    link_of,
)

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
KNOWN = ["3des-cbc", "aes128-ctr", "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"]
PARAMS: dict[str, Any] = {
    "name": "cloud1",
    "host": "192.0.2.1",
    "port": 2222,
    "user": "overssh",
    "run_as": "overssh",
    "identity_file": "/etc/overssh/keys/id_ed25519",
    "host_keys": [f"{KEY} root@cloud1"],
    "device": "tun1001",
    "remote_device": "tun1002",
    "remote_address": "172.30.0.1",
    "transport": "stream",
    "lanes": "1",
    "python": "/usr/bin/python3",
    "helper": "/usr/local/lib/overssh/stream",
    "keepalive_interval": 1,
    "keepalive_count": 3,
    "connect_timeout": 10,
    "ciphers": None,
    "extra_options": {},
    "jumps": [],
    "watchdog": False,
}


def link(**changes: Any) -> Link:
    return link_of({**PARAMS, **changes}, KNOWN, has_aes=True)


def lines(**changes: Any) -> list[str]:
    return [line.strip() for line in conf_text(link(**changes)).splitlines()]


def test_a_tunnels_configuration_is_for_one_tunnel() -> None:
    tunnel = lines(transport="tun")
    assert tunnel[:3] == [
        "# Written by overssh.swarm: the link to cloud1, kept by overssh-link-cloud1.service.",
        "# Its address in the underlay: 172.30.0.1",
        "Host cloud1",
    ]
    assert {"Tunnel point-to-point", "TunnelDevice 1001:1002", "ExitOnForwardFailure yes"} <= set(tunnel)


def test_a_streams_configuration_has_no_tunnel_and_tells_us_what_ssh_is_not_told() -> None:
    assert lines(lanes="2")[:6] == [
        "# Written by overssh.swarm: the link to cloud1, kept by overssh-link-cloud1.service.",
        "# Its address in the underlay: 172.30.0.1",
        "# The transport: stream",
        "# The lanes: 2",
        "# The device of this host and of the peer: tun1001:tun1002",
        "Host cloud1",
    ]
    assert not any(line.startswith(("Tunnel", "ExitOnForwardFailure")) for line in lines())
    only_tun = set(lines(transport="tun")) - set(lines())
    assert {line.split()[0] for line in only_tun} == {"Tunnel", "TunnelDevice", "ExitOnForwardFailure"}


@pytest.mark.parametrize("lanes", ["auto", "1"])
def test_a_tunnel_has_one_lane(lanes: str) -> None:
    assert link(transport="tun", lanes=lanes).lanes == 1


def test_the_configuration_trusts_one_host() -> None:
    assert {
        "HostName 192.0.2.1",
        "Port 2222",
        "HostKeyAlias cloud1",
        "StrictHostKeyChecking yes",
        "UserKnownHostsFile /etc/overssh/links/cloud1.known_hosts",
        "GlobalKnownHostsFile none",
        "IdentitiesOnly yes",
        "BatchMode yes",
        "ServerAliveInterval 1",
        "ServerAliveCountMax 3",
    } <= set(lines())
    # It would clear the tunnel as well.
    assert not any("ClearAllForwardings" in line for line in lines())


@pytest.mark.parametrize("transport", ["stream", "tun"])
def test_what_a_node_sends_that_dials_has_no_mark_nor_has_it_on_the_way(transport: str) -> None:
    text = conf_text(link(transport=transport, jumps=[JUMP]))
    assert [line.strip() for line in text.splitlines() if "IPQoS" in line] == ["IPQoS none"] * 2


def test_host_keys_are_known_by_the_peers_name_without_comments_and_once() -> None:
    assert known_hosts_text(link(host_keys=[f"{KEY} a", f"{KEY} b"])) == f"cloud1 {KEY}\n"


def test_the_fingerprint_is_the_one_that_ssh_prints() -> None:
    # ssh-keygen -lf says so.
    assert fingerprint(KEY) == "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA"


def test_what_is_read_back_is_what_was_written() -> None:
    text = conf_text(link(host="fe80::1%eth0"))
    assert "HostName fe80::1%%eth0" in text
    facts = ConfFacts("fe80::1%eth0", 2222, "stream", 1, "tun1001", "tun1002", "172.30.0.1", 10)
    assert conf_facts(text) == facts
    assert conf_facts(conf_text(link(host="fe80::1%eth0", transport="tun"))) == replace(facts, transport="tun")
    assert conf_facts(conf_text(link(host="fe80::1%eth0", lanes="3"))) == replace(facts, lanes=3)
    assert conf_facts(conf_text(link(host="fe80::1%eth0", lanes="auto"))) == replace(facts, lanes="auto")
    assert conf_facts(None) == ConfFacts()


def test_a_configuration_that_does_not_tell_its_transport_is_a_tunnels() -> None:
    assert conf_facts("Host x\n  Port many\n  TunnelDevice any\n") == ConfFacts(transport="tun", lanes=1)
    assert conf_facts("Host x\n  TunnelDevice 1:2\n").remote_device == "tun2"
    assert conf_facts("# The transport: stream\n# The lanes: many\n") == ConfFacts(transport="stream")


def test_percent_and_blanks_of_a_path_reach_ssh() -> None:
    assert 'IdentityFile "/etc/my 100%% key"' in lines(identity_file="/etc/my 100% key")


@pytest.mark.parametrize(("aes", "first"), [(True, "aes128-gcm@openssh.com"), (False, "chacha20-poly1305@openssh.com")])
def test_the_processor_decides_about_the_first_cipher(aes: bool, first: str) -> None:
    ciphers = default_ciphers(KNOWN, aes)
    assert ciphers[0] == first
    assert set(ciphers) == {"aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"}


def test_aes_is_a_word_among_the_processors_flags() -> None:
    assert has_aes("model name\t: x\nflags\t\t: fpu aes avx\n")
    assert has_aes("Features\t: fp asimd aes pmull\n")
    assert not has_aes("model name\t: aes\nflags\t\t: fpu vaes\n")


def test_ciphers_keep_the_users_order_and_must_be_known() -> None:
    assert "Ciphers aes128-ctr,aes128-gcm@openssh.com" in lines(ciphers=["aes128-ctr", "aes128-gcm@openssh.com"])
    with pytest.raises(OversshError, match="ciphers has rot13, which this host's ssh does not know"):
        link(ciphers=["rot13"])


def test_extra_options_win_over_what_has_no_option_and_may_repeat() -> None:
    text = lines(extra_options={"compression": True, "loglevel": "ERROR", "SendEnv": ["A", "B"], "RekeyLimit": 5})
    assert {"compression yes", "LogLevel ERROR", "SendEnv A", "SendEnv B", "RekeyLimit 5"} <= set(text)
    assert "LogLevel VERBOSE" not in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "../x"}, "name is '../x'"),
        ({"name": "-x"}, "name is '-x'"),
        ({"host": "-oProxyCommand=x"}, "host is"),
        ({"host": "a b"}, "host is"),
        ({"user": "x\nProxyCommand y"}, "user is"),
        ({"run_as": "x y"}, "run_as is 'x y', which is no account name"),
        ({"device": "eth0"}, "device is 'eth0'; ssh opens devices by number only"),
        ({"device": "tun01"}, "device is 'tun01'"),
        ({"remote_device": "tun"}, "remote_device is 'tun'"),
        ({"remote_device": "tun9999999999"}, "remote_device is 'tun9999999999'"),
        ({"remote_address": "172.30.0"}, "remote_address is '172.30.0', which is no IPv4 address"),
        ({"remote_address": "fd00::1"}, "which is no IPv4 address"),
        ({"port": 0}, "port is 0"),
        ({"lanes": "0"}, "lanes is '0'; it takes auto, or a whole number from 1 to 16"),
        ({"lanes": "17"}, "lanes is '17'; it takes auto"),
        ({"lanes": "-1"}, "lanes is '-1'; it takes auto"),
        ({"lanes": "many"}, "lanes is 'many'; it takes auto"),
        ({"lanes": "True"}, "lanes is 'True'; it takes auto"),
        ({"lanes": "²"}, "lanes is '²'; it takes auto"),
        ({"lanes": ""}, "lanes is ''; it takes auto"),
        ({"lanes": "2", "transport": "tun"}, "lanes is 2, and the transport tun has one lane"),
        ({"python": "python3"}, "python is 'python3'; give an absolute path"),
        ({"helper": "/opt/my helper.py"}, "helper is '/opt/my helper.py'; give an absolute path"),
        ({"helper": "/opt/%n.py"}, "helper is '/opt/%n.py'"),
        ({"keepalive_interval": 3600, "keepalive_count": 25}, "more than a day"),
        ({"keepalive_interval": 0}, "keepalive_interval is 0"),
        ({"identity_file": "key"}, "give an absolute path"),
        ({"identity_file": '/a"b'}, "give an absolute path"),
        ({"host_keys": []}, "host_keys is empty"),
        ({"host_keys": ["cloud1 " + KEY]}, "which is no public key line"),
        ({"host_keys": ["ssh-rsa " + KEY.split()[1]]}, "which is no public key line"),
        ({"host_keys": ["ssh-ed25519"]}, "which is no public key line"),
        ({"extra_options": {"port": 22}}, "extra_options has port; that is told by port"),
        ({"extra_options": {"Match": "all"}}, "extra_options has 'Match', which a link can't do with"),
        ({"extra_options": {"ClearAllForwardings": True}}, "which a link can't do with"),
        ({"extra_options": {"Proxy Command": "x"}}, "which a link can't do with"),
        ({"extra_options": {"ProxyCommand": "x\nHost *"}}, "one of several lines"),
    ],
)
def test_what_can_not_be_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OversshError) as caught:
        link(**changes)
    assert sentence in str(caught.value)


def test_the_unit_waits_for_its_device_and_never_gives_up() -> None:
    unit = unit_text(link(run_as="links", transport="tun"), "").splitlines()
    assert {
        "After=network-online.target overssh-tun1001.service",
        "StartLimitIntervalSec=0",
        "Restart=always",
        "User=links",
        "/usr/bin/ssh -F /etc/overssh/links/cloud1.conf -N -T cloud1",
        "SuccessExitStatus=255",
        "DeviceAllow=/dev/net/tun rw",
        "NoNewPrivileges=yes",
        "ProtectHome=yes",
        "WantedBy=multi-user.target",
    } <= set(unit)
    assert unit.index("StartLimitIntervalSec=0") < unit.index("[Service]")


@pytest.mark.parametrize("lanes", ["2", "auto"])
def test_a_streams_unit_runs_the_helper_that_runs_ssh(lanes: str) -> None:
    stream = unit_text(link(lanes=lanes, python="/opt/py/bin/python3.12"), "0123abc").splitlines()
    assert (
        f"/opt/py/bin/python3.12 -I -B /usr/local/lib/overssh/stream dial --device tun1001 --lanes {lanes} "
        "--silence 2 --peer cloud1 -- /usr/bin/ssh -F /etc/overssh/links/cloud1.conf -T cloud1"
    ) in stream
    # What passes on ssh's last words would be killed with it otherwise.
    assert not any(line.startswith("KillMode") for line in stream)
    assert not any(line.startswith("SuccessExitStatus") for line in stream)


def test_the_sandbox_is_the_same_for_both_transports() -> None:
    stream, tunnel = (unit_text(link(transport=transport), "0123abc") for transport in ("stream", "tun"))
    assert stream.partition("UMask=")[2] == tunnel.partition("UMask=")[2] != ""


def test_another_helper_is_another_unit_and_no_other_tunnel() -> None:
    assert unit_text(link(), "0123abc") != unit_text(link(), "0123abd")
    assert unit_text(link(transport="tun"), "0123abc") == unit_text(link(transport="tun"), "")


@pytest.mark.parametrize(("interval", "count", "silence"), [(1, 3, 2), (2, 3, 4), (1, 1, 0.5), (10, 2, 10)])
def test_the_helper_gives_up_before_ssh_does(interval: int, count: int, silence: float) -> None:
    given = link(keepalive_interval=interval, keepalive_count=count)
    assert given.silence == silence
    assert f" --silence {silence:g} " in unit_text(given, "")


def test_a_key_in_a_home_can_be_read() -> None:
    assert "ProtectHome=read-only" in unit_text(link(identity_file="/home/me/.ssh/id"), "").splitlines()


OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA"
JUMP = {"name": "bastion", "host": "198.51.100.9", "port": 2200, "host_keys": [OTHER]}


def test_a_jump_host_has_a_block_of_its_own_with_the_same_key_and_the_same_care() -> None:
    text = conf_text(link(jumps=[JUMP, {**JUMP, "name": "inner", "host": "10.0.0.1"}]))
    peer, bastion, inner = text.split("\nHost ")[1:]
    assert peer.startswith("cloud1\n")
    assert "    ProxyJump bastion,inner\n" in peer
    assert bastion.startswith("bastion\n    HostName 198.51.100.9\n    Port 2200\n    HostKeyAlias bastion\n")
    assert inner.startswith("inner\n    HostName 10.0.0.1\n")
    for block in (bastion, inner):
        assert "ProxyJump" not in block
        for line in ("IdentityFile /etc/overssh/keys/id_ed25519", "StrictHostKeyChecking yes", "ServerAliveInterval 1"):
            assert f"    {line}\n" in block
    assert known_hosts_text(link(jumps=[JUMP])) == f"cloud1 {KEY}\nbastion {OTHER}\n"
    assert conf_facts(text).host == "192.0.2.1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "cloud1"}, "jumps has the name 'cloud1'; each takes one of its own, other than the peer's"),
        ({"name": "a,b"}, "jumps has the name 'a,b'"),
        ({"host": "-oProxyCommand=x"}, "jumps: host of bastion is '-oProxyCommand=x', which is no host name"),
        ({"port": 0}, "jumps: port of bastion is 0; it has to be between 1 and 65535"),
        ({"host_keys": []}, "jumps: host_keys of bastion is empty, and a host whose key is not known is never dialled"),
        ({"host_keys": ["nothing"]}, "which is no public key line"),
    ],
)
def test_jump_hosts_that_can_not_be_are_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(OversshError, match=re.escape(words)):
        link(jumps=[{**JUMP, **change}])


def test_a_watched_tunnel_is_still_an_ssh_that_its_unit_runs() -> None:
    text = unit_text(link(transport="tun", watchdog=True), "0123abc")
    (start,) = (line for line in text.replace("\\\n", "").splitlines() if line.startswith("ExecStart="))
    assert start.startswith("ExecStart=/bin/sh -c ")
    assert start.endswith(
        "' sh /usr/bin/python3 -I /usr/local/lib/overssh/watch.py --device tun1001 --address 172.30.0.1 "
        "--silence 3 -- /usr/bin/ssh -F /etc/overssh/links/cloud1.conf -N -T cloud1"
    )
    assert "SuccessExitStatus=255\n" in text
    assert text != unit_text(link(transport="tun", watchdog=True), "0123abd")


@pytest.mark.parametrize(
    ("change", "program"),
    [
        ({"transport": "stream", "watchdog": True}, "/usr/local/lib/overssh/stream"),
        ({"transport": "tun", "watchdog": True}, "/usr/local/lib/overssh/watch.py"),
        ({"transport": "tun", "watchdog": False}, ""),
    ],
)
def test_what_of_ours_runs_a_link(change: dict[str, Any], program: str) -> None:
    assert link(**change).program == program
