# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels of a node: those that a task names are set or removed, and all others stay; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._core.errors import OversshError

# Labels by name; None for one that the node shall not have.
Change = Mapping[str, "str | None"]


def change_of(given: Mapping[Any, Any] | None) -> dict[str, str | None]:
    """The change that the option labels asks for; OversshError for a value that is no text."""
    found: dict[str, str | None] = {}
    for name, value in (given or {}).items():
        if not str(name) or isinstance(value, (Mapping, list, tuple)):
            wrong = f"{name!r}: {value!r}"
            raise OversshError(f"labels takes a text for each label's name, or null to remove it, not {wrong}")
        found[str(name)] = str(value).lower() if isinstance(value, bool) else None if value is None else str(value)
    return found


def changed(labels: Mapping[str, str], change: Change) -> dict[str, str]:
    """The labels after the change."""
    wanted = {**labels, **change}
    return {name: value for name, value in wanted.items() if value is not None}


def way_back(labels: Mapping[str, str], change: Change) -> dict[str, str | None]:
    """The change that undoes a change of these labels."""
    return {name: labels.get(name) for name in change}


def words(change: Change) -> str:
    """The change as what a node is labelled, such as "with zone=north and without ssd"."""
    kept = [f"{name}={value}" for name, value in change.items() if value is not None]
    gone = [name for name, value in change.items() if value is None]
    parts = (f"{word} {', '.join(names)}" for word, names in (("with", kept), ("without", gone)) if names)
    return " and ".join(parts)


def needed(labels: Mapping[str, str], change: Change) -> dict[str, str | None]:
    """The part of a change that these labels lack."""
    return {name: value for name, value in change.items() if labels.get(name) != value}


def shown(labels: Mapping[str, str]) -> list[str]:
    """Labels as Docker's command line shows them, in order; an empty value is seen so, too."""
    return [f"{name}={value}" for name, value in sorted(labels.items())]
