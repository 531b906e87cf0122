# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether sshd and PAM let the tunnels' account in, and where what decides stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._sshd import access as sshd_access
from ansible_collections.overssh.swarm.plugins.module_utils._sshd import config as sshd_config
from ansible_collections.overssh.swarm.plugins.module_utils._sshd import facts as sshd_facts
from ansible_collections.overssh.swarm.plugins.module_utils._sshd import pam

EDGES = [{"name": "edge1", "address": "10.0.0.5"}, {"name": "edge2", "address": "192.0.2.9"}]


def where(keyword: str, _value: str) -> str:
    return f"{keyword}'s place"


@pytest.mark.parametrize(
    ("printed", "groups", "sentence"),
    [
        ("allowusers root\nallowusers ops@10.0.0.*", [], "sshd's AllowUsers (AllowUsers's place) leaves out overssh;"),
        ("allowusers over*", [], ""),
        ("allowusers o?ersh", [], "AllowUsers"),
        ("allowusers [o]verssh", [], "AllowUsers"),
        ("allowusers overssh@10.0.0.*", [], ""),
        ("denyusers overssh", [], "sshd's DenyUsers (DenyUsers's place) names overssh;"),
        ("denyusers overssh@10.0.0.*", [], ""),
        (
            "allowgroups wheel",
            [],
            "sshd's AllowGroups (AllowGroups's place) leaves out overssh, whose group is overssh;",
        ),
        ("allowgroups sshusers", ["overssh", "sshusers"], ""),
        ("allowgroups ssh*", ["overssh", "sshusers"], ""),
        ("denygroups *", [], "sshd's DenyGroups"),
        ("pubkeyacceptedalgorithms rsa-sha2-512,ssh-ed25519", [], ""),
        ("PubkeyAcceptedAlgorithms rsa-sha2-512", [], "leave out ssh-ed25519, which the tunnels' keys are; add it."),
        ("pubkeyacceptedkeytypes rsa-sha2-512", [], "leave out ssh-ed25519"),
        ("refuseconnection yes", [], "sshd's RefuseConnection (RefuseConnection's place) is yes for overssh;"),
        ("refuseconnection no", [], ""),
    ],
)
def test_an_account_that_sshd_lets_in_from_nowhere(printed: str, groups: list[str], sentence: str) -> None:
    said = list(sshd_access.problems(sshd_facts.parse(printed), "overssh", groups or ["overssh"], where))
    assert sentence in said[0] if sentence else said == []


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("allowusers overssh@10.0.0.*", ["lets overssh in as overssh@10.0.0.*, and edge2 dials from 192.0.2.9"]),
        ("allowusers overssh@10.0.0.0/8\nallowusers overssh@192.0.2.0/24", []),
        ("allowusers overssh@*,!192.0.2.9", ["edge2 dials from 192.0.2.9"]),
        ("denyusers *@10.0.0.0/24", ["has *@10.0.0.0/24, and edge1 dials from 10.0.0.5"]),
        ("maxstartups 1:30:60", ["lets 1 log in at once, and 2 hosts dial this one"]),
        ("maxstartups 10:30:100", []),
        ("persourcemaxstartups 1", ["lets 1 log in at once from one address"]),
        ("persourcemaxstartups none", []),
        ("persourcepenalties authfail:5 noauth:1 max:600 min:15", []),
        ("persourcepenalties authfail:60 noauth:1 max:600 min:15", ["shut an address out for 60 s after one refused"]),
    ],
)
def test_what_may_keep_some_out_is_a_warning(printed: str, words: list[str]) -> None:
    said = list(sshd_access.warnings(sshd_facts.parse(printed), "overssh", EDGES, where))
    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said))


def test_lines_are_found_where_they_stand(tmp_path: Path) -> None:
    included, main = tmp_path / "10-own.conf", tmp_path / "sshd_config"
    included.write_text("# AllowUsers nobody\nAllowUsers=root\nMatch Address 10.0.0.0/8\n    PermitTTY no\n")
    main.write_text(f"Include {tmp_path}/*.conf\nDenyUsers a b\nMatch User git\n  permittty no\n")
    lines = list(sshd_config.lines(str(main)))
    assert sshd_config.place(lines, "AllowUsers") == f"{included} line 2"
    assert sshd_config.place(lines, "DenyUsers", "b") == f"{main} line 2"
    assert sshd_config.place(lines, "MaxStartups") == "/etc/ssh/sshd_config"
    inside = [line for line in lines if line.match and line.keyword == "permittty"]
    assert [(line.place, line.match) for line in inside] == [
        (f"{included} line 4", ("Address", "10.0.0.0/8")),
        (f"{main} line 4", ("User", "git")),
    ]
    assert [line.match for line in lines if line.keyword == "denyusers"] == [()]


def access(text: str) -> tuple[list[str], list[str]]:
    listed = [pam.Entry(line, f"line {number}") for number, line in enumerate(text.splitlines(), 1)]
    return pam.access(listed, "overssh", ["overssh"], EDGES)


@pytest.mark.parametrize(
    ("text", "said", "warned"),
    [
        ("- : ALL EXCEPT root : ALL", ["PAM keeps overssh out, by '- : ALL EXCEPT root : ALL' in line 1;"], []),
        ("+ : overssh : ALL\n- : ALL : ALL", [], []),
        ("+ : (overssh) : ALL\n- : ALL : ALL", [], []),
        ("- : ALL EXCEPT (overssh) : ALL", [], []),
        ("+ : ALL : 10.0.0.0/8 192.0.2.0/24\n- : ALL : ALL", [], []),
        ("+ : ALL : 10.\n- : ALL : ALL", ["PAM keeps overssh out"], []),
        ("- : overssh : 192.0.2.0/24", [], ["PAM keeps overssh out from 192.0.2.9, where edge2 dials from"]),
        ("- : root : ALL", [], []),
        ("", [], []),
    ],
)
def test_rules_of_access(text: str, said: list[str], warned: list[str]) -> None:
    found_said, found_warned = access(text)
    assert [word in sentence for word, sentence in zip(said, found_said)] == [True] * len(said)
    assert [word in sentence for word, sentence in zip(warned, found_warned)] == [True] * len(warned)
    assert (len(found_said), len(found_warned)) == (len(said), len(warned))


def test_a_stack_is_read_with_what_it_includes() -> None:
    texts = {
        "/etc/pam.d/sshd": "@include common-account\naccount required pam_nologin.so\n-session optional pam_x.so a=b\n",
        "/etc/pam.d/common-account": "account [success=1 default=ignore] pam_unix.so\n# account required pam_a.so\n",
    }
    assert [(rule.kind, rule.module, rule.arguments, rule.place) for rule in pam.stack("sshd", texts.get)] == [
        ("account", "pam_unix.so", (), "/etc/pam.d/common-account line 1"),
        ("account", "pam_nologin.so", (), "/etc/pam.d/sshd line 2"),
        ("session", "pam_x.so", ("a=b",), "/etc/pam.d/sshd line 3"),
    ]


def test_a_closer_limit_counts_more_than_a_later_one() -> None:
    text = (
        "* hard nproc 50\noverssh - nproc 2000\n@overssh soft maxlogins 4\n* soft nproc 10\n* - as unlimited\n- cpu 1"
    )
    listed = [pam.Entry(line, f"line {number}") for number, line in enumerate(text.splitlines(), 1)]
    assert pam.limits(listed, "overssh", ["overssh"]) == [
        {"item": "nproc", "value": 2000, "place": "line 2"},
        {"item": "maxlogins", "value": 4, "place": "line 3"},
    ]
