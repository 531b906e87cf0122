# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of ours that run on a host as a program of its own, in a folder that holds nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from types import ModuleType

from .errors import OversshError
from .files import below, read_text, remove, remove_empty_tree, write_text


def program_files(folder: str, names: Iterable[str]) -> dict[str, str]:
    """The texts of these modules of ours by the paths that they have as a program in a folder of its own.

    names: as in module_utils, "_core.wait" for example. In the folder they stand as there, so their imports hold.
    """
    parent = __package__.rpartition(".")[0]
    return {f"{folder}/{path_of(name)}": source_of(f"{parent}.{name}") for name in names}


def name_of(module: ModuleType) -> str:
    """The name that program_files takes of a module that is imported, so that Ansible packs it along."""
    return ".".join(module.__name__.split(".")[-2:])


def path_of(name: str) -> str:
    """Where a module stands below the folder of its program."""
    return f"{name.replace('.', '/')}.py"


def source_of(name: str) -> str:
    """A module's own text, from wherever it was loaded: Ansible runs modules out of a zip file."""
    loader = importlib.import_module(name).__loader__
    text: str | None = loader.get_source(name) if loader else None  # type: ignore[attr-defined]
    if not text:
        raise OversshError(f"the source of {name} can't be read; install the collection again")
    return text


def installed(folder: str) -> dict[str, str]:
    """The texts of the program in a folder by their paths, also those that another version of it left there."""
    texts = ((path, read_text(path)) for path in sorted(below(folder)) if path.endswith(".py"))
    return {path: text for path, text in texts if text is not None}


def install(folder: str, files: Mapping[str, str]) -> None:
    """Have these files in the folder and no others; without any, the folder goes.

    What is left of another version is not harmless: Python prefers a module to a folder of the same name.
    """
    for path in set(below(folder)) - set(files):
        remove(path)
    for path, text in files.items():
        write_text(path, text)
    remove_empty_tree(folder)
