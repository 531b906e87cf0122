# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong options of our roles, in the inventory or on the command line, found before any role begins.

Ansible finds them when a role begins, on every host, and prints the role's whole specification before its sentence.
Ansible has no way to shorten that for a role in a play's "roles".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from jinja2 import Undefined

from .._fleet.once import once

TAKES = {"int": "a whole number", "bool": "true or false", "list": "a list", "dict": "a mapping", "str": "a text"}
# Of a value so much is shown.
SHOWN = 40


def problems(roles: Iterable[str], variables: Mapping[str, Mapping[str, Any]], folder: Path) -> list[str]:
    """The sentences; equal ones of several hosts become one.

    variables: of each host, by its name. folder: of the collection.
    """
    options = [option for role in roles for option in _options(folder, role).items()]
    said = [
        f"{host}: {sentence}"
        for host, own in variables.items()
        for name, option in options
        if name in own
        for sentence in _wrong(name, option, own)
    ]
    return once(said, list(variables))


def _options(folder: Path, role: str) -> dict[str, Mapping[str, Any]]:
    """The options of all entry points of a role."""
    text = (folder / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)["argument_specs"].values()
    return {name: option for entry in entries for name, option in entry.get("options", {}).items()}


def _wrong(name: str, option: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    """The problem of one host's value, as far as the value is known by now."""
    try:
        value = own[name]
        # Before ansible-core 2.19 a template that can't be filled in yet stays the text that it is.
        if isinstance(value, Undefined) or (isinstance(value, str) and "{{" in value):
            return
        whole = {key: of for key, of in option.items() if key in ("type", "choices")}
        if _errors(name, whole, value):
            shown = repr(value)
            shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
            takes = " or ".join(option["choices"]) if "choices" in option else TAKES[option["type"]]
            yield f"{name} is {shown}; it takes {takes}."
            return
        parts = {key: of for key, of in option.items() if key not in ("required", "default")}
        yield from (f"{name}: {words}." for words in _errors(name, parts, value))
    except AnsibleError:  # it refers to the plan, which is not made yet
        return


def _errors(name: str, option: Mapping[str, Any], value: Any) -> list[str]:
    return list(ArgumentSpecValidator({name: option}).validate({name: value}).error_messages)
