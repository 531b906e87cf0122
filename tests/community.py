# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the collections that the examples use into the folder named: community.docker, and what that needs.

PyPI has them inside the package ansible only, of which nothing else is kept.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "ansible==12.3.0"
WANTED = tuple(f"ansible_collections/community/{name}/" for name in ("docker", "library_inventory_filtering_v1"))


def main(folder: Path) -> None:
    """Unpack them below the folder."""
    with tempfile.TemporaryDirectory() as temporary:
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*words, "--dest", temporary, PACKAGE], check=True)
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.startswith(WANTED)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
