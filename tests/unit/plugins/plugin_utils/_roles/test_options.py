# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of roles that can't be right are named before anything runs, in sentences of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleUndefinedVariable
from ansible_collections.overssh.swarm.plugins.plugin_utils._roles.options import problems

PROJECT = Path(__file__).resolve().parents[5]


def said(*roles: str, **variables: Any) -> list[str]:
    return problems(roles, {"cloud1": variables, "edge1": {}}, PROJECT)


@pytest.mark.parametrize(
    ("role", "option", "value", "sentence"),
    [
        ("firewall", "firewall_confirm", "maybe", "is 'maybe'; it takes auto or manual or none."),
        ("firewall", "firewall_rollback_timeout", "soon", "is 'soon'; it takes a whole number."),
        ("preflight", "preflight_gone", {"edge1": 1}, "is {'edge1': 1}; it takes a list."),
        ("preflight", "preflight_data_path_port", "x" * 99, f"is '{'x' * 39}...; it takes a whole number."),
        ("tunnel", "tunnel_interfaces", [], ""),
        ("firewall", "firewall_rollback_timeout", "60", ""),
        # As text, which says nothing until the plan is there.
        ("firewall", "firewall_confirm", "{{ preflight_plan.settings.confirm }}", ""),
        ("verify", "firewall_confirm", "maybe", ""),
    ],
)
def test_an_option_is_held_against_what_it_takes(role: str, option: str, value: Any, sentence: str) -> None:
    assert said(role, **{option: value}) == ([f"cloud1: {option} {sentence}"] if sentence else [])


def test_what_all_hosts_have_wrong_is_said_once() -> None:
    wrong = {"firewall_confirm": "maybe"}
    assert problems(["firewall"], {"cloud1": wrong, "edge1": wrong}, PROJECT) == [
        "all hosts: firewall_confirm is 'maybe'; it takes auto or manual or none."
    ]


def test_a_value_that_is_not_known_yet_is_left_to_the_role() -> None:
    class Unknown(dict[str, Any]):
        """As Ansible has a host's variables: a template is filled in when it is asked for."""

        def __getitem__(self, name: str) -> Any:
            raise AnsibleUndefinedVariable("'preflight_plan' is undefined")

    assert problems(["firewall"], {"cloud1": Unknown(firewall_confirm="")}, PROJECT) == []
