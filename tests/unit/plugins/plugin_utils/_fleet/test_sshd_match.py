# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role tunnel tells sshd, for fleets of one transport and of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible_collections.overssh.swarm.plugins.module_utils._sshd import facts as sshd_facts
from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet import sshd_match as _sshd_plan
from jinja2.nativetypes import NativeEnvironment

ROLE = Path(__file__).resolve().parents[5] / "roles" / "tunnel"
SERVE = "-I -B /usr/local/lib/overssh/stream serve"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
PEER = {
    "tunnel_account": {"public_key": f"{KEY} its comment"},
    "preflight_found": {"host": {"public_key": ""}},
}
LINKS: dict[str, dict[str, Any]] = {
    "stream": {
        "peer": "edge1",
        "device": "tun1002",
        "transport": "stream",
        "lanes": "auto",
        "python": "/usr/bin/python3",
    },
    "lanes": {"peer": "edge2", "device": "tun1003", "transport": "stream", "lanes": 4, "python": "/opt/bin/python3.12"},
    "tun": {"peer": "edge3", "device": "tun1004", "transport": "tun", "lanes": 1, "python": "/usr/bin/python3"},
}

# What passes this node on its way to another: of a node that has a link here, and of one that has none.
FORWARDS: dict[str, dict[str, Any]] = {
    "passes": {"peer": "edge1", "device": "tun1002", "to": ["10.0.0.5:22", "[2001:db8::5]:2222"]},
    "passes only": {"peer": "edge4", "device": "tun1005", "to": ["10.0.0.5:22"]},
    "tun passes": {"peer": "edge3", "device": "tun1004", "to": ["10.0.0.5:22"]},
}


def environment(kind: type[jinja2.Environment]) -> jinja2.Environment:
    """As Ansible sets one up for files of ours."""
    made = kind(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False)
    made.filters["ternary"] = lambda value, yes, no: yes if value else no
    made.filters["unique"] = lambda values: list(dict.fromkeys(values))
    return made


def variables(*links: str) -> dict[str, Any]:
    """The role's own variables on a hub that accepts these links."""
    accepts = [LINKS[link] for link in links if link in LINKS]
    forwards = [FORWARDS[link] for link in links if link in FORWARDS]
    found: dict[str, Any] = {
        "tunnel_accepts": accepts,
        "tunnel_forwards": forwards,
        "tunnel_helper": "/usr/local/lib/overssh/stream",
        "tunnel_links": [],
        "tunnel_user": "overssh",
        "tunnel_keepalive_interval": 1,
        "tunnel_keepalive_count": 3,
        "tunnel_sshd": {"ends_unused": False},
        "hostvars": {link["peer"]: PEER for link in [*accepts, *forwards]},
    }
    native = environment(NativeEnvironment)
    told = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
    for name in ("tunnel_accepted", "tunnel_transports", "tunnel_programs"):
        found[name] = native.from_string(told[name]).render(found)
    return found


def rendered(template: str, *links: str) -> str:
    text = (ROLE / "templates" / template).read_text(encoding="utf-8")
    return environment(jinja2.Environment).from_string(text).render(variables(*links))


def keys(*links: str) -> list[str]:
    return [line for line in rendered("authorized_keys.j2", *links).splitlines() if not line.startswith("#")]


def test_the_key_of_a_stream_runs_the_helper_for_its_one_device() -> None:
    assert keys("stream", "lanes") == [
        f'restrict,command="exec /usr/bin/python3 {SERVE} --device tun1002 --lanes auto" {KEY} overssh:edge1',
        f'restrict,command="exec /opt/bin/python3.12 {SERVE} --device tun1003 --lanes 4" {KEY} overssh:edge2',
    ]


def test_the_key_of_a_tunnel_runs_nothing() -> None:
    (line,) = keys("tun")
    assert line.startswith('tunnel="1004",command="/bin/false",no-pty,no-port-forwarding,no-agent-forwarding,')
    assert line.endswith(f" {KEY} overssh:edge3")


def test_where_tunnels_are_permitted_a_streams_key_is_held_to_its_own_device() -> None:
    stream, tun = keys("stream", "tun")
    assert stream.startswith('restrict,tunnel="1002",command="exec /usr/bin/python3 -I ')
    assert tun == keys("tun")[0]


@pytest.mark.parametrize(
    ("links", "permits", "sessions", "command"),
    [
        (["stream"], "no", 1, "none"),
        (["stream", "lanes"], "no", 1, "none"),
        (["tun"], "point-to-point", 0, "/bin/false"),
        (["stream", "tun"], "point-to-point", 1, "none"),
    ],
)
def test_sshd_permits_no_more_than_the_transports_need(links, permits, sessions, command) -> None:
    lines = [line.strip() for line in rendered("sshd.conf.j2", *links).splitlines()]
    assert f"PermitTunnel {permits}" in lines
    assert f"MaxSessions {sessions}" in lines
    assert f"ForceCommand {command}" in lines
    assert f"DisableForwarding {'yes' if permits == 'no' else 'no'}" in lines


def test_a_key_of_a_node_on_its_way_to_another_opens_that_and_its_own_link() -> None:
    opens = 'permitopen="10.0.0.5:22",permitopen="[2001:db8::5]:2222",'
    assert keys("stream", "passes", "passes only") == [
        f'restrict,port-forwarding,{opens}command="exec /usr/bin/python3 {SERVE} --device tun1002 --lanes auto" {KEY} '
        "overssh:edge1",
        f'restrict,port-forwarding,permitopen="10.0.0.5:22",command="/bin/false" {KEY} overssh:edge4',
    ]
    tun, only = keys("tun", "tun passes", "passes only")
    assert tun.startswith('tunnel="1004",command="/bin/false",no-pty,permitopen="10.0.0.5:22",no-agent-forwarding,')
    assert only.startswith('restrict,port-forwarding,permitopen="10.0.0.5:22",tunnel="1005",command="/bin/false" ')


@pytest.mark.parametrize(
    ("links", "disabled", "forwarding", "opens"),
    [
        (["stream"], "yes", "no", "none"),
        (["passes only"], "no", "local", "10.0.0.5:22"),
        (["stream", "passes", "passes only"], "no", "local", "10.0.0.5:22 [2001:db8::5]:2222"),
    ],
)
def test_sshd_opens_what_is_on_the_way_and_nothing_else(links, disabled, forwarding, opens) -> None:
    lines = [line.strip() for line in rendered("sshd.conf.j2", *links).splitlines()]
    assert f"DisableForwarding {disabled}" in lines
    assert f"AllowTcpForwarding {forwarding}" in lines
    assert f"PermitOpen {opens}" in lines


@pytest.mark.parametrize(
    ("links", "transports"),
    [
        (["stream"], {"stream"}),
        (["tun"], {"tun"}),
        (["stream", "tun", "tun passes"], {"stream", "tun"}),
        (["passes only"], set()),
    ],
)
def test_what_the_plan_expects_of_sshd_is_what_it_is_told(links: list[str], transports: set[str]) -> None:
    told = [line.strip() for line in rendered("sshd.conf.j2", *links).splitlines()]
    expected = _sshd_plan.held(transports, jump=any("passes" in link for link in links))
    assert {f"{keyword} {value}" for keyword, value in expected.items()} <= set(told)
    assert set(expected) <= set(sshd_facts.PROBED), "what is not tried out beforehand would be found too late"
