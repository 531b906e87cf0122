# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`run NAME COMMAND…` runs one job, `all COMMAND…` one that runs several, and `show` says what all of them took.

`covered FILE` says what coverage found, folder by folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import covered
from .job import FOLDER, SuiteError, run, run_all
from .summary import closing, page, read


def show() -> None:
    """Print what is in reports/suite."""
    jobs, tests = read(FOLDER)
    if not jobs and not tests:
        raise SuiteError(f"{FOLDER} has no figures: run make test or make check first")
    print(page(jobs, tests))
    print(f"\n{closing(jobs)}")


def main() -> int:
    """What went wrong is one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m tests.suite", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="run one job")
    one.add_argument("--alongside", action="store_true", help="while it runs, nothing that wants to be alone does")
    one.add_argument("name")
    one.add_argument("words", nargs=argparse.REMAINDER)
    several = commands.add_parser("all", help="run a command that runs jobs, and show what they took")
    several.add_argument("words", nargs=argparse.REMAINDER)
    commands.add_parser("show", help="what the last run took")
    of_coverage = commands.add_parser("covered", help="what coverage found, out of its report as JSON")
    of_coverage.add_argument("file", type=Path)
    arguments = parser.parse_args()
    try:
        if arguments.command == "covered":
            print(covered.page(json.loads(arguments.file.read_text(encoding="utf-8"))))
            return 0
        if arguments.command == "run":
            return run(arguments.name, arguments.words, arguments.alongside)
        status = run_all(arguments.words) if arguments.command == "all" else 0
        show()
    except SuiteError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
