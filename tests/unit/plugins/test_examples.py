# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever shows how our modules are used, or uses them, uses them as their documentation says.

ansible-lint can't see that where an action plugin stands before a module, and never looks at what stands on a page.
"""

from __future__ import annotations

import importlib
import re
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
import yaml
from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet.settings import PREFIX, SETTINGS
from yamllint import linter
from yamllint.config import YamlLintConfig

from tests.unit.roles.test_roles import COLLECTION, PLAYBOOKS, PROJECT, ROLES, load

PLUGINS = {
    kind: sorted(path.stem for path in (PROJECT / "plugins" / kind).glob("*.py"))
    for kind in ("modules", "filter", "doc_fragments")
}
MODULES = PLUGINS["modules"]
SHOWN = [f"{kind}/{name}" for kind in ("modules", "filter") for name in PLUGINS[kind]]
PAGES = sorted(
    path.relative_to(PROJECT).as_posix()
    for pattern in ("*.md", "docs/*.md", "roles/*/README.md")
    for path in PROJECT.glob(pattern)
)
TASKS = sorted(
    path.relative_to(PROJECT).as_posix()
    for folder in ("roles", "playbooks", "molecule", "tests")
    for path in (PROJECT / folder).rglob("*.yml")
)
# Lists whose entries take the options of the module itself, or of the one that is named.
ENTRIES = {
    ("nft_rule", "rules"): "nft_rule",
    ("overlay_cause_info", "rules"): "nft_rule",
    ("overlay_network", "networks"): "overlay_network",
    ("ssh_tunnel", "links"): "ssh_tunnel",
    ("tun_interface", "interfaces"): "tun_interface",
}
NAME = re.compile(rf"\b{re.escape(COLLECTION)}\.(\w+)\b(?!\.\w)")
KNOWN = {*MODULES, *PLUGINS["filter"], *PLUGINS["doc_fragments"], *ROLES, *(name[:-4] for name in PLAYBOOKS)}
STYLE = YamlLintConfig(
    """
extends: default
rules:
  document-start: disable
  line-length: {max: 160}
  truthy: {check-keys: false}
"""
)


def plugin(name: str) -> Any:
    return importlib.import_module(f"ansible_collections.overssh.swarm.plugins.{name.replace('/', '.')}")


@cache
def options_of(module: str) -> dict[str, Any]:
    """The options of a module and of the fragments that its documentation extends."""
    documentation = yaml.safe_load(plugin(f"modules/{module}").DOCUMENTATION)
    options = dict(documentation.get("options") or {})
    for named in documentation.get("extends_documentation_fragment", []):
        fragment, _dot, section = named.removeprefix(f"{COLLECTION}.").partition(".")
        text = getattr(plugin(f"doc_fragments/{fragment}").ModuleDocFragment, section.upper() or "DOCUMENTATION")
        options |= yaml.safe_load(text).get("options") or {}
    return options


def is_expression(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value


def faults(where: str, given: Any, options: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the options that stand there."""
    if is_expression(given):
        return
    if not isinstance(given, dict):
        yield f"{where} has {given!r} for its options"
        return
    known = {alias: option for name, option in options.items() for alias in (name, *option.get("aliases", []))}
    yield from (f"{where} has no option {name}" for name in given if name not in known)
    for name, option in options.items():
        if option.get("required") and not {name, *option.get("aliases", [])} & set(given):
            yield f"{where} needs {name}"
    for name, value in given.items():
        yield from _value_faults(f"{where}, {name}", value, known.get(name, {}))


def _value_faults(where: str, value: Any, option: Mapping[str, Any]) -> Iterator[str]:
    several = option.get("type") == "list" and isinstance(value, list)
    for each in value if several else [value]:
        if is_expression(each):
            continue
        if "choices" in option and each not in option["choices"]:
            yield f"{where} takes no {each!r}"
        if "suboptions" in option:
            yield from faults(where, each, option["suboptions"])


def module_faults(module: str, given: Any) -> Iterator[str]:
    """The same for one use of one of our modules."""
    yield from faults(module, given, options_of(module))
    for (owner, name), entry in ENTRIES.items():
        listed = given.get(name) if owner == module and isinstance(given, dict) else None
        for each in listed if isinstance(listed, list) else []:
            # What is required of the module alone need not stand in each entry, such as the list itself.
            options = {option: {**spec, "required": False} for option, spec in options_of(entry).items()}
            yield from faults(f"{module}, {name}", each, options)


def all_faults(node: Any) -> Iterator[str]:
    """The same for everything in a piece of YAML."""
    if isinstance(node, list):
        for item in node:
            yield from all_faults(item)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        name = str(key).removeprefix(f"{COLLECTION}.")
        if name != key and name not in MODULES:
            yield f"there is no module {key}"
        elif name != key:
            more = node.get("args", {})
            if isinstance(more, dict) and isinstance(value, dict | None):
                yield from module_faults(name, {**(value or {}), **more})
            else:
                yield from module_faults(name, value or more)
        else:
            yield from all_faults(value)


def blocks(page: str) -> Iterator[str]:
    """The YAML of a page: paragraphs of its code that begin with a key or an entry."""
    for paragraph in re.split(r"\n\s*\n", page):
        lines = [line for line in paragraph.splitlines() if line.strip()]
        if lines and all(line.startswith("    ") for line in lines):
            text = textwrap.dedent("\n".join(lines))
            if re.match(r"(- )?[\w.]+:\s", text):
                yield text


def keys(node: Any) -> Iterator[str]:
    """All keys, however deep."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from keys(value)
    elif isinstance(node, list):
        for item in node:
            yield from keys(item)


def read(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SHOWN)
def test_examples_are_tasks_or_plays_that_could_be_run(name: str) -> None:
    examples = yaml.safe_load(plugin(name).EXAMPLES)
    assert examples
    assert [entry for entry in examples if "hosts" not in entry and "name" not in entry] == []
    assert list(all_faults(examples)) == []


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_use_it(name: str) -> None:
    assert f"{COLLECTION}.{name}" in set(keys(yaml.safe_load(plugin(f"modules/{name}").EXAMPLES)))


@pytest.mark.parametrize("text", ["EXAMPLES", "RETURN"])
@pytest.mark.parametrize("name", SHOWN)
def test_the_yaml_of_a_plugin_is_tidy(name: str, text: str) -> None:
    found = linter.run(getattr(plugin(name), text).removeprefix("\n"), STYLE)
    assert [f"{problem.line}: {problem.desc}" for problem in found] == []


@pytest.mark.parametrize("name", TASKS)
def test_tasks_use_modules_as_documented(name: str) -> None:
    assert list(all_faults(load(PROJECT / name))) == []


@pytest.mark.parametrize("name", PAGES)
def test_yaml_of_a_page_uses_modules_and_settings_as_documented(name: str) -> None:
    settings = {f"{PREFIX}{setting.name}" for setting in SETTINGS}
    for block in blocks(read(name)):
        node = yaml.safe_load(block)
        assert list(all_faults(node)) == []
        assert {key for key in keys(node) if key.startswith(PREFIX)} - settings == set()
        assert [problem.desc for problem in linter.run(f"{block}\n", STYLE)] == []


@pytest.mark.parametrize("name", [*PAGES, *TASKS])
def test_what_is_named_of_the_collection_is_there(name: str) -> None:
    assert set(NAME.findall(read(name))) - KNOWN == set()


def test_yaml_of_pages_is_found() -> None:
    assert sum(1 for name in PAGES for _block in blocks(read(name))) >= 10
    assert list(blocks("Text:\n\n    overssh:\n      hosts: {}\n\n    a --> b\n")) == ["overssh:\n  hosts: {}"]


BROKEN = """
- name: Tunnels
  block:
    - name: Take two nodes for one
      overssh.swarm.tun_interface:
        name: tun1001
        addresses: [{address: 172.30.0.2/32, peer: 172.30.0.1}]
    - name: Let metrics in
      overssh.swarm.nft_rule:
        name: metrics
        rules: "{{ rules }}"
        protocol: tcp
    - name: Let several in
      overssh.swarm.nft_rule:
        rules:
          - {name: a, protocol: udp}
    - name: Dial
      overssh.swarm.ssh_tunnel: "{{ link }}"
    - name: Dial again
      overssh.swarm.ssh_tunnel:
      args: "{{ link }}"
    - name: See what waits
      overssh.swarm.checkpoint_info:
    - name: Confirm
      overssh.swarm.checkpoint:
      args:
        name: firewall
        state: confirmed
"""


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("", "", None),
        ("tun_interface:", "tun_interfaces:", "there is no module overssh.swarm.tun_interfaces"),
        ("protocol: tcp", "protocoll: tcp", "nft_rule has no option protocoll"),
        ("protocol: tcp", "protocol: tpc", "nft_rule, protocol takes no 'tpc'"),
        ("protocol: udp", "protocoll: udp", "nft_rule, rules has no option protocoll"),
        (
            "{address: 172.30.0.2/32, peer",
            "{address: 172.30.0.2/32, pear",
            "tun_interface, addresses has no option pear",
        ),
        ("{address: 172.30.0.2/32, peer", "{peer", "tun_interface, addresses needs address"),
        ('ssh_tunnel: "{{ link }}"', "ssh_tunnel: name=x", "ssh_tunnel has 'name=x' for its options"),
        ("args:\n        name: firewall", "args:\n        nam: firewall", "checkpoint has no option nam"),
        ("        state: confirmed\n", "", "checkpoint needs state"),
        ("state: confirmed", "state: conformed", "checkpoint, state takes no 'conformed'"),
    ],
)
def test_a_broken_copy_is_told_from_a_sound_one(right: str, wrong: str, fault: str | None) -> None:
    found = list(all_faults(yaml.safe_load(BROKEN.replace(right, wrong, 1))))
    assert (fault in found) if fault else found == []


def test_what_is_missing_is_told() -> None:
    assert "swarm_node needs x" in list(faults("swarm_node", {}, {"x": {"required": True}}))
    assert list(faults("swarm_node", {"y": 1}, {"x": {"required": True, "aliases": ["y"]}})) == []


def test_a_name_that_is_not_there_is_told() -> None:
    assert set(NAME.findall("overssh.swarm.nft_rulez and overssh.swarm.site")) - KNOWN == {"nft_rulez"}
