# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write each role's README.md from its meta/argument_specs.yml and its defaults; `make docs` runs this."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parent.parent
COLLECTION = "overssh.swarm"
ROLES = sorted(folder.name for folder in (PROJECT / "roles").iterdir() if (folder / "meta").is_dir())

PAGE = """\
# Role {collection}.{role}

<!-- Written by `make docs` from meta/argument_specs.yml and defaults/main.yml; change it there. -->

{main}

## Example

{example}
"""

# preflight makes the plan that the other roles take their defaults from.
PLAY = """\
- name: {name}
  hosts: overssh
  become: true
  gather_facts: false
  any_errors_fatal: true
  roles:
{roles}"""

TASK = """\
- name: {name}
  ansible.builtin.include_role:
    name: {collection}.{role}
    tasks_from: {entry}"""


def load(path: Path) -> Any:
    """A file of YAML; nothing where there is none."""
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


def markdown(text: str) -> str:
    """Ansible's markup in Markdown's words: roles are links, all else is code."""
    text = re.sub(rf"P\({re.escape(COLLECTION)}\.(\w+)#role\)", r"[\1](../\1/README.md)", text)
    return re.sub(r"\b[CMOV]\(([^)]*)\)", r"`\1`", text)


def paragraph(description: str | list[str]) -> str:
    """A description, which is one text or several, in one line."""
    return markdown(description if isinstance(description, str) else " ".join(description)).strip()


def code(value: Any) -> str:
    """A value as code, which may stand in a table."""
    text = value if isinstance(value, str) and value else json.dumps(value)
    return f"`{text}`".replace("|", "\\|")


def takes(option: Mapping[str, Any]) -> str:
    """The option's type, and its choices where it has some."""
    words = f"{option['type']} of {option['elements']}" if "elements" in option else str(option["type"])
    return f"{words}: {' or '.join(map(code, option['choices']))}" if "choices" in option else words


def table(options: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Any]) -> str:
    """One row for each option."""
    if not options:
        return "It takes no options."
    rows = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for name, option in options.items():
        default = code(defaults[name]) if name in defaults else "required"
        meaning = paragraph(option["description"]).replace("|", "\\|")
        rows.append(f"| `{name}` | {takes(option)} | {default} | {meaning} |")
    return "\n".join(rows)


def entry_point(entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """What it does, and what it takes."""
    return f"{entry['short_description']}.\n\n{paragraph(entry['description'])}\n\n{table(entry['options'], defaults)}"


def others(role: str, entries: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    """The entry points besides main, each with its task."""
    for name, entry in entries.items():
        if name != "main":
            task = TASK.format(name=entry["short_description"], collection=COLLECTION, role=role, entry=name)
            yield f"## Entry point {name}\n\n{entry_point(entry, defaults)}\n\n{indented(task)}"


def indented(text: str) -> str:
    """As a block of code."""
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def page(role: str) -> str:
    """The whole README of a role."""
    folder = PROJECT / "roles" / role
    entries = load(folder / "meta" / "argument_specs.yml")["argument_specs"]
    defaults = load(folder / "defaults" / "main.yml") or {}
    roles = "\n".join(f"    - role: {COLLECTION}.{name}" for name in dict.fromkeys(("preflight", role)))
    *_first, play = load(PROJECT / "playbooks" / f"{role}.yml")
    text = PAGE.format(
        collection=COLLECTION,
        role=role,
        main=entry_point(entries["main"], defaults),
        example=indented(PLAY.format(name=play["name"], roles=roles)),
    )
    return "\n".join([text, *(f"{more}\n" for more in others(role, entries, defaults))])


if __name__ == "__main__":
    for each in ROLES:
        (PROJECT / "roles" / each / "README.md").write_text(page(each), encoding="utf-8")
