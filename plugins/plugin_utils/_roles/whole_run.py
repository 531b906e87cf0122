# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of Ansible's command line that would start a playbook of ours in the middle; found before it begins."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

PARTS = ("firewall", "tunnel", "swarm", "overlay", "verify")
# These need nothing of what comes before them.
BEGINNINGS = ("Look at every host of the fleet", "Look at the host")


def refusal(arguments: Mapping[str, Any], folder: Path, parts: bool) -> str:
    """The sentence on why a run with these arguments is refused; empty where it is allowed.

    arguments: Ansible's own, by name. folder: of the collection. parts: whether the playbook has parts with tags.
    """
    start = str(arguments.get("start_at_task") or "")
    if start and any(_is_named(name, start) for name in _task_names(folder)):
        return (
            f"--start-at-task '{start}' leaves out what tasks after it need, preflight's plan above all; run the whole "
            "playbook, as hosts that are as they should be stay so, or a part of site with --tags"
        )
    if "always" in (arguments.get("skip_tags") or ()):
        return "--skip-tags always leaves out preflight, whose plan all tasks after it need; leave always out of it"
    asked = [tag for tag in arguments.get("tags") or () if tag in PARTS]
    if asked and not parts:
        return f"--tags {','.join(asked)} names a part of site, and this playbook is run as a whole; leave --tags out"
    return ""


def _is_named(name: str, start: str) -> bool:
    """As Ansible finds a task: by its name alone, or with the role's before it."""
    return any(fnmatch.fnmatch(each, start) for each in (name, name.partition(" : ")[2] or name))


def _task_names(folder: Path) -> Iterator[str]:
    for path in sorted((folder / "roles").glob("*/tasks/*.yml")):
        role = f"overssh.swarm.{path.parents[1].name}"
        yield from (f"{role} : {name}" for name in _names(_read(path)) if name not in BEGINNINGS)
    for path in sorted((folder / "playbooks").glob("*.yml")):
        for play in _read(path):
            yield from _names([each for key in ("pre_tasks", "tasks") for each in play.get(key, ())])


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _names(tasks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for task in tasks:
        yield str(task.get("name", ""))
        for key in ("block", "rescue", "always"):
            yield from _names(task.get(key, ()))
