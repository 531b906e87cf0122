# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's command line."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from .inside import command
from .lab import down, make_image, obstacle, status, up
from .older import choose
from .settings import Settings, read_settings
from .shell import LabError, complain

_PROJECT = Path(__file__).resolve().parents[2]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.lab",
        description="A lab of real nodes. LAB_NAME, LAB_NODES, LAB_HUBS, LAB_KIND, LAB_RELEASE, LAB_PACKAGES, "
        "LAB_CLOUD_SUBNET, LAB_EDGE_SUBNET and LAB_MIRROR in the environment say which.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="build what is missing, keep what is good")
    commands.add_parser("image", help="build the nodes' image alone, if it is missing")
    commands.add_parser("obstacle", help="print why this machine can't have such nodes, nothing where it can")
    commands.add_parser("older", help="print which release the lab `older` of the tests has today")
    leave = commands.add_parser("down", help="remove the lab; images and engine stay")
    leave.add_argument("--images", action="store_true", help="remove the lab's cached images too")
    leave.add_argument("--engine", action="store_true", help="stop the Docker engine too, if the lab started it")
    commands.add_parser("status", help="one line for each node")
    inside = commands.add_parser("exec", help="run a command in a node as root")
    inside.add_argument("node")
    inside.add_argument("words", nargs=argparse.REMAINDER, metavar="-- command")
    return parser


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _older() -> None:
    def of(release: str) -> str | None:
        return obstacle(read_settings({**os.environ, "LAB_RELEASE": release}, _PROJECT))

    # What is said by the way must not stand in what is printed.
    with contextlib.redirect_stdout(sys.stderr):
        release, why = choose(os.environ.get("OLDER_RELEASE", ""), time.time(), of)
        print(f"note: {why}")
    print(release)


def _obstacle(settings: Settings) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        why = obstacle(settings)
    if why is not None:
        print(why)


def main() -> int:
    """Run one command; whatever goes wrong is one sentence on stderr."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        settings = read_settings(os.environ, _PROJECT)
        if arguments.command == "up":
            up(settings)
        elif arguments.command == "image":
            make_image(settings)
        elif arguments.command == "older":
            _older()
        elif arguments.command == "obstacle":
            _obstacle(settings)
        elif arguments.command == "down":
            down(settings, arguments.engine, arguments.images)
        elif arguments.command == "status":
            status(settings)
        else:
            words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
            into = command(settings, arguments.node, *(words or ["bash"]), terminal=sys.stdin.isatty())
            return subprocess.run(into, check=False).returncode
    except LabError as error:
        complain(str(error))
        return 2
    except BrokenPipeError:
        # Whoever read our progress has left; Python must not complain about it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        complain("interrupted; `up` again goes on from here, `down` removes what is left")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
