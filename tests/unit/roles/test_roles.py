# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in two places of the collection says the same in both."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[3]
COLLECTION = "overssh.swarm"
ROLES = sorted(folder.name for folder in (PROJECT / "roles").iterdir() if folder.is_dir())
PLAYBOOKS = sorted(path.name for path in (PROJECT / "playbooks").glob("*.yml"))


def load(path: Path):
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


def entry_points(role: str) -> dict:
    return load(PROJECT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]


def declared(role: str) -> dict:
    """The options of all of a role's entry points by name."""
    return {name: option for entry in entry_points(role).values() for name, option in entry["options"].items()}


@pytest.mark.parametrize("role", ROLES)
def test_every_default_of_a_role_is_declared_and_the_other_way_round(role):
    defaults = load(PROJECT / "roles" / role / "defaults" / "main.yml") or {}
    assert {name for name, option in declared(role).items() if not option.get("required")} == set(defaults)
    # What documents roles takes a default for a value of the option's type, which an expression is not.
    values = {name: value for name, value in defaults.items() if not str(value).startswith("{{")}
    assert {name: option["default"] for name, option in declared(role).items() if "default" in option} == values


@pytest.mark.parametrize("role", ROLES)
def test_entry_points_agree_about_an_option_that_they_share(role):
    for entry in entry_points(role).values():
        for name, option in entry["options"].items():
            for other in entry_points(role).values():
                twin = other["options"].get(name, option)
                assert (twin["type"], twin.get("default")) == (option["type"], option.get("default")), name


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_variables_carry_its_name(role):
    assert [name for name in declared(role) if not name.startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_has_its_tasks(role):
    tasks = {path.stem for path in (PROJECT / "roles" / role / "tasks").glob("*.yml")}
    assert set(entry_points(role)) - tasks == set()


def roles_used(node) -> list[tuple[str, str]]:
    """Every role that a playbook names, with its entry point."""
    if isinstance(node, list):
        return [found for item in node for found in roles_used(item)]
    if not isinstance(node, dict):
        return []
    found = []
    for key, value in node.items():
        if key == "roles":
            found += [(role["role"], "main") for role in value]
        elif key in ("ansible.builtin.include_role", "ansible.builtin.import_role"):
            variable = node.get("loop_control", {}).get("loop_var", "item")
            for item in node.get("loop", [""]):
                name = value["name"].replace(f"{{{{ {variable} }}}}", item)
                found.append((name, value.get("tasks_from", "main")))
        elif key == "ansible.builtin.include_tasks":
            found += roles_used(load(PROJECT / "playbooks" / value))
        else:
            found += roles_used(value)
    return found


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_every_role_of_a_playbook_exists_under_its_full_name(playbook):
    for role, tasks in roles_used(load(PROJECT / "playbooks" / playbook)):
        assert role.startswith(f"{COLLECTION}."), role
        name = role.removeprefix(f"{COLLECTION}.")
        assert name in ROLES
        assert tasks in entry_points(name), f"{role} has no entry point {tasks}"


@pytest.mark.parametrize("playbook", sorted(set(PLAYBOOKS) - {"fleet.yml"}))
def test_the_options_of_a_playbooks_roles_are_looked_at_first_and_of_no_others(playbook):
    first, *_plays = plays = load(PROJECT / "playbooks" / playbook)
    of_all = {
        role.removeprefix(f"{COLLECTION}.") for role, _tasks in roles_used(load(PROJECT / "playbooks" / "site.yml"))
    }
    used = {role.removeprefix(f"{COLLECTION}.") for role, _tasks in roles_used(plays)}
    assert first["ansible.builtin.import_playbook"] == "fleet.yml"
    assert set(first.get("vars", {}).get("fleet_roles", of_all)) == used


def test_every_role_is_taken_back_by_teardown_if_it_has_something_to_take_back():
    with_teardown = {f"{COLLECTION}.{role}" for role in ROLES if "teardown" in entry_points(role)}
    assert {role for role, _tasks in roles_used(load(PROJECT / "playbooks" / "teardown.yml"))} == with_teardown


def test_the_action_group_holds_every_module_and_nothing_else():
    modules = sorted(path.stem for path in (PROJECT / "plugins" / "modules").glob("*.py"))
    assert sorted(load(PROJECT / "meta" / "runtime.yml")["action_groups"]["overssh"]) == modules


def test_every_module_but_a_query_has_its_query():
    modules = {path.stem for path in (PROJECT / "plugins" / "modules").glob("*.py")}
    queries = {name for name in modules if name.endswith("_info")}
    # It asks as well, by a packet; and a report is kept on no host.
    queries |= {"nft_trace", "overlay_report"}
    # What service_probe makes are services like any other, and swarm_service_info lists those.
    twins = {"service_probe": "swarm_service_info"}
    assert {twins.get(name, f"{name}_info") for name in modules - queries} - queries == set()


def test_the_page_of_settings_is_what_make_docs_writes():
    written = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == runpy.run_path(str(PROJECT / "docs" / "make_settings.py"))["page"]()


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_of_a_role_is_what_make_docs_writes(role):
    written = (PROJECT / "roles" / role / "README.md").read_text(encoding="utf-8")
    assert written == runpy.run_path(str(PROJECT / "docs" / "make_role_readmes.py"))["page"](role)


def test_a_role_reads_of_another_only_what_that_one_hands_on():
    """What the role preflight leaves is for all; other facts stand in the description of the role that leaves them."""
    handed_on = {"preflight_plan", "preflight_found"}
    for role in ROLES:
        texts = load(PROJECT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"].values()
        handed_on |= {fact for each in texts for fact in re.findall(r"the fact C\((\w+)\)", str(each["description"]))}
    assert "swarm_underlay_mtu" in handed_on
    for role in ROLES:
        others = "|".join(sorted(set(ROLES) - {role}))
        for path in (PROJECT / "roles" / role).rglob("*"):
            if path.parent.name in {"tasks", "defaults", "vars", "templates"}:
                text = re.sub(r"#.*|name: .*|overssh\.swarm\.\w+", "", path.read_text(encoding="utf-8"))
                assert set(re.findall(rf"(?<![\w/.-])(?:{others})_\w+", text)) <= handed_on, path
