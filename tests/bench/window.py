# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How large an MTU the transport tun should have, and how long it lives under load before OpenSSH ends it.

For each MTU what `ssh -w` carries, then full load until "peer ignored channel window", first without shaping and then
with tbf at a share of what it carried.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from .cases import CIPHER, Case
from .links import choose, plain_tunnel, restarts, wait_for
from .measure import Meter, Sample, median
from .nodes import Pair
from .options import Amounts
from .overlay import Overlay
from .process import say
from .report import of, rounded

STREAMS = 8
LOAD = "bench-load"
KEEPALIVE = ("-c", CIPHER, "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=3")


def tunnels(mtus: Sequence[int]) -> list[Case]:
    """A tunnel of each MTU."""
    return [
        Case(f"tun-{mtu}", f"ssh -w, MTU {mtu}", 30 + number, mtu, "", f"bench-tun{mtu}")
        for number, mtu in enumerate(mtus)
    ]


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


def carried(pair: Pair, overlay: Overlay, cases: Sequence[Case], amounts: Amounts) -> list[Sample]:
    """What each carries, in turn."""
    meter = Meter(pair, overlay, amounts.seconds)
    found: list[Sample] = []
    for number in range(amounts.rounds):
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
        say(f"MTU {case.mtu}, {'unshaped' if share is None else f'shaped to {share:.0%}'}: {end}")
    return found


def window(pair: Pair, overlay: Overlay, cases: Sequence[Case], amounts: Amounts) -> dict[str, Any]:
    """Both tables as the report has them; the links are made here."""
    for case in cases:
        plain_tunnel(pair, case, *KEEPALIVE)
        wait_for(pair, case)
    samples = carried(pair, overlay, cases, amounts)
    table: list[dict[str, Any]] = []
    for case in cases:
        row: dict[str, Any] = {"mtu": case.mtu}
        for path in ("bare", "overlay"):
            for streams in (1, STREAMS):
                figures = of(samples, (case.name, path, streams), "gbit_s").values()
                row[f"{path}_{streams}"] = rounded(median(list(figures)))
        table.append(row)
        say(f"MTU {case.mtu}: {row}")
    ends = [
        end
        for case, row in zip(cases, table, strict=True)
        for end in lives(pair, case, row[f"bare_{STREAMS}"] or row["bare_1"], amounts.shares, amounts.cap)
    ]
    return {"carried": table, "lived": ends, "cap_s": amounts.cap, "samples": [sample.as_dict() for sample in samples]}
