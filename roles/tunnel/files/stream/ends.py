# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: which end this is, and how it ends."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import syslog
from typing import Any, NoReturn

from dial import dial
from serve import serve
from wire import AUTO, VERSION
from words import EndedError, RefusedError, StoppedError, say


def _stop(_signal: int, _frame: Any) -> NoReturn:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise StoppedError


def lanes_of(word: str) -> int | str:
    """The number of lanes, or "auto"; ValueError where it is neither."""
    return AUTO if word == AUTO else int(word)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One end of an overssh stream link.")
    ends = parser.add_subparsers(dest="end", required=True)
    ends.add_parser("version", help="print what this helper speaks")
    for end in ("dial", "serve"):
        arguments = ends.add_parser(end)
        arguments.add_argument("--device", required=True, help="the tun device of this end")
        arguments.add_argument("--lanes", type=lanes_of, default=1, help="how many sessions share the device, or auto")
        if end == "dial":
            arguments.add_argument("--peer", required=True, help="the far end's name")
            arguments.add_argument("--silence", type=float, default=2.5, help="seconds that an end may say nothing")
            arguments.add_argument("command", nargs="+", help="ssh and its arguments, after --")
    return parser.parse_args()


def run() -> int:
    """Run one end; 0 after a stop, 1 when the session ended, 2 when there can't be one."""
    options = _options()
    if options.end == "version":
        sys.stdout.write(f"{VERSION}\n")
        return 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    gc.disable()  # nothing here makes cycles, and a pause would hold packets up
    syslog.openlog("overssh-stream", syslog.LOG_PID, syslog.LOG_DAEMON)
    try:
        {"dial": dial, "serve": serve}[options.end](options)
    except StoppedError:
        return 0
    except RefusedError as reason:
        say(f"refused: {reason}")
        return 2
    except (EndedError, OSError) as reason:
        say(f"ended: {reason}")
        return 1
