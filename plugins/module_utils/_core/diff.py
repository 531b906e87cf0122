# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render what a plan changes as two texts: one line for each value, and files by their lines; pure.

Ansible's own diff would show every key of an added or removed value, and a file as one line of JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

# A file that comes or goes as a whole is shown up to here; a longer one by its length and its digest, as most of it is
# the same on every host. A text whose lines matter one by one, as sshd's settings, comes as a list and is shown whole.
WHOLE_LINES = 5
LINE_WIDTH = 110
NOTHING: tuple[Any, ...] = (None, False, "", (), [])


def texts(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Before and after as Ansible shows them under --diff; equal parts are left out."""
    sides: tuple[list[str], list[str]] = ([], [])
    _compare(before, after, "", sides)
    return {"before": _text(sides[0]), "after": _text(sides[1])}


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _compare(before: Mapping[str, Any], after: Mapping[str, Any], indent: str, sides: tuple[list[str], ...]) -> None:
    for name in {**before, **after}:
        old, new = (None if _is_nothing(of.get(name)) else of[name] for of in (before, after))
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for side in sides:
                side.append(f"{indent}{name}:")
            _compare(old, new, f"{indent}  ", sides)
            continue
        for side, value in zip(sides, (old, new)):
            if value is not None:
                side.extend(_shown(str(name), value, indent, alone=old is None or new is None))


def _is_nothing(value: Any) -> bool:
    """Zero is a number, and no more nothing than another one; a subject of which nothing is there is nothing."""
    if isinstance(value, Mapping):
        return all(_is_nothing(each) or (name, each) == ("state", "absent") for name, each in value.items())
    return value in NOTHING and (isinstance(value, bool) or not isinstance(value, int))


def _shown(name: str, value: Any, indent: str, alone: bool) -> Iterator[str]:
    """One thing with all that is in it."""
    if isinstance(value, Mapping):
        yield from _subject(name, value, indent)
    elif isinstance(value, (list, tuple)):
        yield f"{indent}{name}:"
        for item in value:
            yield f"{indent}  {_words(item)}".rstrip()
    elif isinstance(value, str) and "\n" in value:
        lines = value.splitlines()
        if alone and len(lines) > WHOLE_LINES:
            yield f"{indent}{name}: {len(lines)} lines, SHA-256 {hashlib.sha256(value.encode()).hexdigest()[:12]}"
            return
        yield f"{indent}{name}:"
        for line in lines:
            yield f"{indent}  {line}".rstrip()
    else:
        yield f"{indent}{name}: {_words(value)}"


def _subject(name: str, subject: Mapping[str, Any], indent: str) -> Iterator[str]:
    """An added or removed subject: all short values in few lines, then the rest."""
    given = {key: value for key, value in subject.items() if not _is_nothing(value) and (key, value) != ("name", name)}
    short = {key: value for key, value in given.items() if not _is_long(value)}
    line = f"{indent}{name}:"
    for number, (key, value) in enumerate(short.items()):
        words = key if value is True else f"{key} {_words(value)}"
        separator = "," if number else ""
        if len(line) + len(words) > LINE_WIDTH:
            yield f"{line}{separator}"
            line = f"{indent}  {words}"
        else:
            line = f"{line}{separator} {words}"
    yield line
    for key, value in given.items():
        if _is_long(value):
            yield from _shown(key, value, f"{indent}  ", alone=True)


def _is_long(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) > 1 or any(map(_is_long, value))
    if isinstance(value, Mapping):
        return any(map(_is_long, value.values()))
    return isinstance(value, str) and "\n" in value


def _words(value: Any) -> str:
    """A value on one line, in the words of Ansible's settings."""
    if isinstance(value, Mapping):
        return ", ".join(
            key if each is True else f"{key} {_words(each)}" for key, each in value.items() if not _is_nothing(each)
        )
    if isinstance(value, (list, tuple)):
        return "; ".join(map(_words, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
