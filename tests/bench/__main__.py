# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: all parts in one run, or some of them."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from . import firewall, fleet, page, site, transports
from .options import Tell, Wanted, options
from .process import BenchError, alone, put, say
from .wan import run as wan

# More than all figures of a long run take.
REPORTS_BYTES = 2**20


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def work(wanted: Wanted, beside: site.Revision | None, tell: Tell) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is done in turn, and which parts that measures."""
    links = [part for part in wanted.parts if part in transports.PARTS]
    if links:
        yield ", ".join(links), lambda: transports.run(wanted, tell)
    if "wan" in wanted.parts:
        yield "wan", lambda: wan.run(wanted.amounts, beside, wanted.control, tell)
    if "firewall" in wanted.parts:
        yield "firewall", lambda: tell("bench_firewall", firewall.run(wanted.amounts))
    if "fleet" in wanted.parts:
        yield "fleet", lambda: tell("bench_fleet", fleet.run(wanted.amounts))
    if "site" in wanted.parts:
        yield "site", lambda: tell("bench_site", site.run(wanted.amounts, beside))


def measured(wanted: Wanted) -> None:
    """Measure the parts one after the other and write each one's figures as soon as there are any."""
    # What can be known beforehand is not said after half an hour.
    if "firewall" in wanted.parts:
        firewall.check()
    if wanted.control:
        wan.check_control(wanted.control)
    beside = site.revision(wanted.beside) if wanted.beside else None
    probe = wanted.reports / ".bench"
    put(probe, " " * REPORTS_BYTES)
    probe.unlink()
    reports: dict[str, dict[str, Any]] = {}

    def tell(name: str, report: dict[str, Any]) -> None:
        put(wanted.reports / f"{name}.json", json.dumps(report, indent=2) + "\n")
        page.show(name, report)
        reports[name] = report

    for parts, run in work(wanted, beside, tell):
        started = time.monotonic()
        run()
        say(f"{parts}: {time.monotonic() - started:.0f} s\n")
    if wanted.complete:
        page.keep(reports)
        page.write()


def main() -> int:
    """Measure; whatever is in the way is said in a sentence."""
    # A shell that has begun something in the background has it ignore SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        wanted = options()
        with alone():
            measured(wanted)
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"bench: {error.filename or 'a file'}: {error.strerror or error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("bench: interrupted\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
