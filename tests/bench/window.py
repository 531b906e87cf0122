# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How large an MTU the transport tun should have, and how long it lives under load before OpenSSH ends it.

`python -m tests.bench.window`: for each MTU what `ssh -w` carries, then full load until "peer ignored channel window",
first without shaping and then with tbf at a share of what it carried. Written to reports/bench_window.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from . import page
from .cases import CIPHER, RAW, Case
from .links import choose, plain_tunnel, prepare, restarts, wait_for
from .measure import Meter, Sample, median
from .nodes import ROOT, BenchError, Pair, pair_of_nodes
from .overlay import Overlay
from .report import of, rounded

LAB = "bench-window"
MTUS = (1500, 4000, 9000, 12000, 16000, 16380)
SHARES = (0.9, 0.75, 0.5)
STREAMS = 8
LOAD = "bench-load"
KEEPALIVE = ("-c", CIPHER, "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=3")


def case_of(number: int, mtu: int) -> Case:
    """A tunnel of this MTU."""
    return Case(f"tun-{mtu}", f"ssh -w, MTU {mtu}", 30 + number, mtu, "", f"bench-tun{mtu}")


def shape(pair: Pair, case: Case, gbit_s: float | None) -> None:
    """Hold the dialling end's device down to a rate, for which 5 ms worth may wait; None: as it was."""
    pair.edge.sh(f"tc qdisc del dev {case.device} root 2>/dev/null || true")
    if gbit_s:
        rate = int(gbit_s * 1e6)
        burst = max(32 * 1024, 4 * case.mtu, int(gbit_s * 1e9 / 8 * 0.002))
        pair.edge.sh(f"tc qdisc add dev {case.device} root tbf rate {rate}kbit burst {burst} latency 5ms")


def sent(pair: Pair, case: Case) -> int:
    """Bytes that the dialling end's device has sent."""
    return int(pair.edge.sh(f"cat /sys/class/net/{case.device}/statistics/tx_bytes"))


def until_it_ends(pair: Pair, case: Case, cap: float) -> dict[str, Any]:
    """Full load from node to node over a new ssh until that ssh ends, or for cap seconds."""
    pair.edge.sh(f"systemctl restart {case.unit}")
    wait_for(pair, case)
    before, since, sent_before = restarts(pair, case), pair.edge.sh("date +%s"), sent(pair, case)
    words = f"iperf3 --client {pair.cloud.underlay} --time {cap + 30:.0f} --parallel {STREAMS} --interval 0"
    pair.edge.sh(f"systemd-run --quiet --unit={LOAD} {words}")
    started = time.monotonic()
    ended = False
    while not ended and time.monotonic() - started < cap:
        time.sleep(0.5)
        ended = restarts(pair, case) > before
    lived, gbytes = time.monotonic() - started, (sent(pair, case) - sent_before) / 1e9
    pair.edge.sh(f"systemctl stop {LOAD}; systemctl reset-failed {LOAD} 2>/dev/null || true")
    said = [node.sh(f"journalctl --since=@{since} --output=cat --grep='channel window' || true") for node in pair.both]
    return {
        "lived_s": round(lived, 1),
        "ended": ended,
        "words": next((line for text in said for line in text.splitlines()), None),
        "gbytes": rounded(gbytes),
        "held_gbit_s": rounded(gbytes * 8 / lived),
    }


def carried(pair: Pair, overlay: Overlay, cases: Sequence[Case], rounds: int) -> list[Sample]:
    """What each carries, in turn."""
    meter = Meter(pair, overlay, 3.0)
    found: list[Sample] = []
    for number in range(rounds):
        meter.begin_round()
        for case in cases:
            choose(pair, case)
            for path in ("bare", "overlay"):
                found += meter.tunnel(case, path, (1, STREAMS), number)
    return found


def lives(pair: Pair, case: Case, unshaped: float, shares: Sequence[float], cap: float) -> list[dict[str, Any]]:
    """How long it lives at each share, None for no shaping."""
    choose(pair, case)
    found = []
    for share in (None, *shares):
        rate = share * unshaped if share else None
        shape(pair, case, rate)
        lived = until_it_ends(pair, case, cap)
        shape(pair, case, None)
        found.append({"mtu": case.mtu, "share": share, "gbit_s": rounded(rate or unshaped), **lived})
        end = f"ended after {lived['lived_s']} s" if lived["ended"] else f"lived for all of {lived['lived_s']} s"
        sys.stdout.write(f"MTU {case.mtu}, {'unshaped' if share is None else f'shaped to {share:.0%}'}: {end}\n")
        sys.stdout.flush()
    return found


def main() -> int:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.window", description=__doc__)
    parser.add_argument("--mtus", type=int, nargs="+", default=MTUS)
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cap", type=float, default=180, help="seconds after which a link has lived long enough")
    parser.add_argument("--docs", action="store_true", help="keep the figures for docs/transports.md")
    wanted = parser.parse_args()
    cases = [case_of(number, mtu) for number, mtu in enumerate(wanted.mtus)]
    try:
        with pair_of_nodes(LAB) as pair:
            prepare(pair)
            for case in cases:
                plain_tunnel(pair, case, *KEEPALIVE)
                wait_for(pair, case)
            choose(pair, RAW)
            samples = carried(pair, Overlay(pair, [1500, *wanted.mtus]), cases, wanted.rounds)
            table: list[dict[str, Any]] = []
            for case in cases:
                row: dict[str, Any] = {"mtu": case.mtu}
                for path in ("bare", "overlay"):
                    for streams in (1, STREAMS):
                        figures = of(samples, (case.name, path, streams), "gbit_s").values()
                        row[f"{path}_{streams}"] = rounded(median(list(figures)))
                table.append(row)
                sys.stdout.write(f"{row}\n")
            ends = [
                end
                for case, row in zip(cases, table, strict=True)
                for end in lives(pair, case, row[f"bare_{STREAMS}"] or row["bare_1"], wanted.shares, wanted.cap)
            ]
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    report = {"carried": table, "lived": ends, "cap_s": wanted.cap, "samples": [sample.as_dict() for sample in samples]}
    (ROOT / "reports").mkdir(exist_ok=True)
    (ROOT / "reports" / "bench_window.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if wanted.docs:
        page.keep(report, page.WINDOW)
        page.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
