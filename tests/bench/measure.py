# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One figure after the other, and what is read out of the tools' answers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .cases import CIPHER, PIPE, STREAM, STREAM2, Case
from .links import restarts, ssh_words
from .nodes import AGENT, Pair
from .overlay import Overlay
from .process import BenchError

IDLE_SECONDS = 1.0
STREAMING = (STREAM.name, STREAM2.name)


@dataclass(frozen=True)
class Sample:
    """One measurement; None is what it did not give.

    dialling, ssh, sshd, serving: processor seconds per 10^9 bytes of each end's helper and of what is between them,
    where a link is a stream; of ssh also where there is nothing else.

    rest: how busy the machine is without any of it, in processor seconds per second.
    """

    case: str
    path: str
    streams: int
    round: int
    gbit_s: float | None = None
    cpu_s_per_gbyte: float | None = None
    rtt_idle_ms: float | None = None
    rtt_loaded_ms: float | None = None
    rtt_loaded_p95_ms: float | None = None
    restarts: int = 0
    error: str | None = None
    rtt_full_ms: float | None = None
    dialling: float | None = None
    ssh: float | None = None
    sshd: float | None = None
    serving: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Without what it did not give."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def median(values: list[float]) -> float | None:
    """The middle one; None of none."""
    return statistics.median(values) if values else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """What this share of them stays below; None of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else None


def p95(values: Sequence[float]) -> float | None:
    """What all but the worst twentieth stay below."""
    return percentile(values, 0.95)


def received(answer: dict[str, Any]) -> tuple[float, float]:
    """Bytes that arrived, both ways, and the seconds they took; BenchError where nothing did."""
    if answer["error"] or not answer["end"]:
        raise BenchError(f"iperf3: {answer['error'] or 'no figures'}")
    ends = answer["end"].values()
    count, seconds = sum(end["bytes"] for end in ends), max(end["seconds"] for end in ends)
    if not count:
        raise BenchError("iperf3: nothing arrived")
    return float(count), float(seconds)


def per_gbyte(busy: float, seconds: float, rest: float, count: float) -> float | None:
    """Processor seconds that 10^9 bytes cost, without what the machine does anyway; None where that was all it did."""
    ours = busy - seconds * rest
    return ours / (count / 1e9) if ours > 0 else None


class Meter:
    """Measures the chosen link."""

    def __init__(self, pair: Pair, overlay: Overlay | None, seconds: float) -> None:
        """seconds: for how long each transfer runs."""
        self._pair, self._overlay, self._seconds = pair, overlay, seconds
        self._rest = 0.0

    def begin_round(self) -> float:
        """See how busy the machine is by itself."""
        answer = self._pair.edge.ask("rest", 2)
        self._rest = answer["busy"] / answer["seconds"]
        return self._rest

    def tunnel(self, case: Case, path: str, streams: tuple[int, ...], number: int) -> list[Sample]:
        """One path of a case: idle round trips first, then a transfer for each number of streams."""
        try:
            namespace, target = self._way(case, path)
            trips = median(self._pair.edge.ask("idle", namespace, target, IDLE_SECONDS)["pings"])
        except BenchError as error:
            return [Sample(case.name, path, count, number, error=str(error)) for count in streams]
        return [self._transfer(case, path, count, number, namespace, target, trips) for count in streams]

    def _way(self, case: Case, path: str) -> tuple[str, str]:
        if path == "bare" or self._overlay is None:
            self._pair.edge.until(f"ping -q -c 1 -W 1 {self._pair.cloud.underlay}", 20, f"{case.label}: an answer")
            return "", self._pair.cloud.underlay
        self._overlay.settle(case)
        return self._overlay.namespace, self._overlay.target(case)

    def _transfer(
        self, case: Case, path: str, streams: int, number: int, namespace: str, target: str, trips: float | None
    ) -> Sample:
        before, used = restarts(self._pair, case), self._processes(case)
        answer = self._pair.edge.ask("transfer", namespace, target, self._seconds, streams, timeout=self._seconds + 30)
        again = restarts(self._pair, case) - before
        try:
            count, seconds = received(answer)
        except BenchError as error:
            return Sample(case.name, path, streams, number, rtt_idle_ms=trips, restarts=again, error=str(error))
        shares = {name: (after - used[name]) / (count / 1e9) for name, after in self._processes(case).items()}
        return Sample(
            case=case.name,
            path=path,
            streams=streams,
            round=number,
            gbit_s=count * 8 / seconds / 1e9,
            cpu_s_per_gbyte=per_gbyte(answer["busy"], answer["seconds"], self._rest, count),
            rtt_idle_ms=trips,
            rtt_loaded_ms=median(answer["pings"]),
            rtt_loaded_p95_ms=p95(answer["pings"]),
            restarts=again,
            **shares,
        )

    def _processes(self, case: Case) -> dict[str, Any]:
        """What each process of a stream has used so far; nothing for any other case."""
        if case.name not in STREAMING:
            return {}
        near, far = (node.ask("link_processes", case.device) for node in (self._pair.edge, self._pair.cloud))
        return {"dialling": near["helper"], "ssh": near["ssh"], "sshd": far["ssh"], "serving": far["helper"]}

    def pipe(self, number: int, gbit_s: float) -> Sample:
        """An ssh with nothing around it; gbit_s: the rate at which its delay is compared."""
        ssh, edge = ssh_words("-c", CIPHER), self._pair.edge
        answer = edge.ask("pipe", self._seconds, ssh, timeout=self._seconds + 60)
        trips = median(edge.ask("echo", 100, ssh)["pings"])
        far = [*ssh, f"python3 {AGENT} sink '[]'"]
        at_rate, full = (edge.ask("delay", self._seconds / 2, rate * 1e9, far) for rate in (gbit_s, 0))
        if trips is None or not answer["bytes"]:
            raise BenchError("ssh carried nothing through its pipe")
        return Sample(
            case=PIPE.name,
            path="bare",
            streams=1,
            round=number,
            gbit_s=answer["bytes"] * 8 / answer["seconds"] / 1e9,
            cpu_s_per_gbyte=per_gbyte(answer["busy"], answer["seconds"], self._rest, answer["bytes"]),
            rtt_idle_ms=trips,
            rtt_loaded_ms=at_rate["delays_median"] + trips / 2,
            rtt_full_ms=full["delays_median"] + trips / 2,
            ssh=answer["ssh"] / (answer["bytes"] / 1e9),
        )
