# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: everything in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from . import firewall, fleet, page, site
from .cases import CASES, PIPE, RAW, STREAM, STREAMS, Case
from .links import build, choose
from .measure import Meter, Sample
from .nodes import ROOT, BenchError, Pair, pair_of_nodes
from .overlay import Overlay
from .report import aims, rows
from .soak import soak

LAB = "bench-link"
HELPER = "/usr/local/lib/overssh/stream.py"


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the user wants measured."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        prog="make bench BENCH_ARGS=...", description="Compare transports on this machine."
    )
    parser.add_argument("--quick", action="store_true", help="three minutes: one short round, no soak, no site")
    parser.add_argument("--cases", default=",".join(names), help=f"some of {','.join(names)}")
    parser.add_argument("--rounds", type=int, default=None, help="how often everything is measured (5)")
    parser.add_argument("--seconds", type=float, default=None, help="how long each transfer runs (3)")
    parser.add_argument("--soak-minutes", type=float, default=None, help="0 leaves it out (10)")
    parser.add_argument("--site-rounds", type=int, default=None, help="how often site is timed; 0 leaves it out (3)")
    found = parser.parse_args(words)
    quick = (1, 2.0, 0.0, 0)
    usual = (5, 3.0, 10.0, 3)
    for name, value in zip(("rounds", "seconds", "soak_minutes", "site_rounds"), quick if found.quick else usual):
        if getattr(found, name) is None:
            setattr(found, name, value)
    strange = set(found.cases.split(",")) - set(names)
    if strange:
        parser.error(f"--cases has {', '.join(sorted(strange))}; there are {', '.join(names)}")
    found.cases = tuple(case for case in CASES if case.name in found.cases.split(","))
    found.complete = not found.quick and found.cases == CASES and found.soak_minutes > 0
    return found


def say(words: str) -> None:
    """One line of progress."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def measure(meter: Meter, pair: Pair, cases: Sequence[Case], number: int) -> list[Sample]:
    """One round: every case once."""
    found: list[Sample] = []
    for case in cases:
        if case == PIPE:
            same = [
                sample for sample in found if (sample.case, sample.path, sample.streams) == (STREAM.name, "bare", 1)
            ]
            found.append(meter.pipe(number, (same[0].gbit_s if same else None) or 1.0))
        else:
            choose(pair, case)
            for path in ("bare", "overlay"):
                found += meter.tunnel(case, path, STREAMS, number)
        for sample in found:
            if sample.case == case.name:
                words = f"{sample.gbit_s:.2f} Gbit/s" if sample.gbit_s is not None else f"nothing: {sample.error}"
                say(f"  {case.name}, {sample.path}, {sample.streams}: {words}")
    return found


def machine(pair: Pair) -> dict[str, Any]:
    """What it was measured on and with."""
    model = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    version = {
        "openssh": "ssh -V 2>&1",
        "openvpn": "openvpn --version | head -1 | cut -d' ' -f1,2",
        "wireguard-go": "dpkg-query --showformat='${Version}' --show wireguard-go",
        "iperf3": "iperf3 --version | head -1",
        "docker": "docker version --format '{{.Server.Version}}'",
        "python": "python3 --version",
    }
    return {
        "cpus": os.cpu_count(),
        "cpu": model[0] if model else platform.machine(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "versions": {name: pair.edge.sh(f"{script} || true") for name, script in version.items()},
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def transports(wanted: argparse.Namespace) -> dict[str, Any]:
    """The whole comparison as the report has it."""
    started, cases = time.monotonic(), wanted.cases
    with pair_of_nodes(LAB) as pair:
        facts = machine(pair)
        build(pair, cases)
        choose(pair, RAW)
        overlay = Overlay(pair, [RAW.mtu, *(case.mtu for case in cases if case.mtu)])
        meter = Meter(pair, overlay, wanted.seconds)
        samples: list[Sample] = []
        rest = []
        for number in range(wanted.rounds):
            rest.append(meter.begin_round())
            say(f"round {number + 1} of {wanted.rounds}; {rest[-1]:.2f} of a processor is busy with other things")
            samples += measure(meter, pair, cases, number)
        soaked = None
        if wanted.soak_minutes and STREAM in cases:
            say(f"soak for {wanted.soak_minutes:g} minutes")
            choose(pair, STREAM)
            soaked = soak(pair, overlay, STREAM, wanted.soak_minutes)
        peaks = [peak for node in pair.both for peak in node.ask("memory", HELPER)["peaks"]]
    return {
        "rows": rows(samples),
        "soak": soaked,
        "aims": aims(samples, soaked, max(peaks, default=None)),
        "helper_memory_mb": peaks,
        "machine": facts,
        "settings": {case.name: case.settings for case in cases},
        "rounds": wanted.rounds,
        "seconds_per_transfer": wanted.seconds,
        "busy_with_other_things": [round(share, 3) for share in rest],
        "minutes": round((time.monotonic() - started) / 60, 1),
        "samples": [sample.as_dict() for sample in samples],
    }


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Measure, and write the reports."""
    wanted = options()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        report = transports(wanted)
        path = ROOT / "reports" / "bench.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        page.show(report)
        if wanted.complete:
            page.keep(report)
        firewall.run(wanted.rounds, keep=wanted.complete)
        if wanted.complete:
            page.write()
        fleet.run()
        if wanted.site_rounds:
            site.run(wanted.site_rounds)
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("bench: interrupted\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
