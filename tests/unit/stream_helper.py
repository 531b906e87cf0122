# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream helper as a module; it lies among the files of a role, where nothing can be imported from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

HELPER = Path(__file__).resolve().parents[2] / "roles" / "tunnel" / "files" / "stream.py"


def load() -> ModuleType:
    """The helper, read anew."""
    spec = importlib.util.spec_from_file_location("overssh_stream", HELPER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
