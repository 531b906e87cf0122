# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record how this machine's nft tells each ruleset, for the unit tests.

As root: python3 tests/netns/record.py tests/rulesets tests/recorded/nft
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

LOADERS = {".nft": "nft -f", ".v4": "iptables-nft-restore"}


def told(path: Path, listing: str) -> str:
    """The ruleset as nft lists it, loaded into a network namespace of its own."""
    command = f'{LOADERS[path.suffix]} "$1" && {listing}'
    return subprocess.run(
        ["unshare", "--net", "sh", "-c", command, "sh", str(path)], check=True, capture_output=True, text=True
    ).stdout


def main() -> None:
    rulesets, target = (Path(argument) for argument in sys.argv[1:3])
    version = subprocess.run(["nft", "--version"], check=True, capture_output=True, text=True).stdout
    folder = target / re.findall(r"v([\d.]+)", version)[0]
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(rulesets.iterdir()):
        (folder / f"{path.stem}.json").write_text(told(path, "nft -j list ruleset"), encoding="utf-8")
        (folder / f"{path.stem}.txt").write_text(told(path, "nft -s -a list ruleset"), encoding="utf-8")


if __name__ == "__main__":
    main()
