# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts that measure links: transports, soak and window, all of them between the same two nodes."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .cases import CASES, PIPE, RAW, STREAM, Case
from .links import build, choose, prepare
from .measure import Meter, Sample
from .nodes import Pair, pair_of_nodes
from .options import Amounts, Tell, Wanted
from .overlay import Overlay
from .process import say
from .report import aims, rows
from .soak import soak
from .window import tunnels, window

LAB = "bench-link"
HELPER = "/usr/local/lib/overssh/stream"
PARTS = ("transports", "soak", "window")


def measure(meter: Meter, pair: Pair, cases: Sequence[Case], number: int, streams: tuple[int, ...]) -> list[Sample]:
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
                found += meter.tunnel(case, path, streams, number)
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


def _compare(pair: Pair, overlay: Overlay, cases: Sequence[Case], amounts: Amounts) -> tuple[list[Sample], list[float]]:
    """All rounds, and how busy the machine was with other things before each."""
    meter = Meter(pair, overlay, amounts.seconds)
    samples: list[Sample] = []
    rest: list[float] = []
    for number in range(amounts.rounds):
        rest.append(meter.begin_round())
        say(f"round {number + 1} of {amounts.rounds}; {rest[-1]:.2f} of a processor is busy with other things")
        samples += measure(meter, pair, cases, number, amounts.streams)
    return samples, rest


def run(wanted: Wanted, tell: Tell) -> None:
    """Those of these parts that are wanted; the reports are bench, of the transports and the soak, and bench_window."""
    started, amounts = time.monotonic(), wanted.amounts
    compared = wanted.cases if "transports" in wanted.parts else ()
    soaks = "soak" in wanted.parts
    cases = tuple(case for case in CASES if case in compared or (case == STREAM and soaks))
    aged = tunnels(amounts.mtus) if "window" in wanted.parts else []
    with pair_of_nodes(LAB) as pair:
        facts = machine(pair)
        prepare(pair)
        build(pair, cases)
        choose(pair, RAW)
        overlay = Overlay(pair, [RAW.mtu, *(case.mtu for case in (*cases, *aged) if case.mtu)])
        if cases:
            samples, rest = _compare(pair, overlay, compared, amounts) if compared else ([], [])
            soaked = None
            if soaks:
                say(f"soak for {amounts.soak_minutes * 60:g} seconds")
                choose(pair, STREAM)
                soaked = soak(pair, overlay, STREAM, amounts.soak_minutes)
            peaks = [peak for node in pair.both for peak in node.ask("memory", HELPER)["peaks"]]
            report = {
                "rows": rows(samples),
                "soak": soaked,
                "aims": aims(samples, soaked, max(peaks, default=None)),
                "helper_memory_mb": peaks,
                "machine": facts,
                "settings": {case.name: case.settings for case in cases},
                "rounds": amounts.rounds,
                "seconds_per_transfer": amounts.seconds,
                "busy_with_other_things": [round(share, 3) for share in rest],
                "minutes": round((time.monotonic() - started) / 60, 1),
                "samples": [sample.as_dict() for sample in samples],
            }
            tell("bench", report)
        if aged:
            tell("bench_window", window(pair, overlay, aged, amounts))
