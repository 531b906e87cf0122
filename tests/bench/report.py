# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From samples to medians, ratios within each round, and what became of the aims. Nothing here touches a machine."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from .cases import OPENVPN, PIPE, RAW, RECIPE, STREAM, STREAMS, WIREGUARD
from .measure import Sample, median

Key = tuple[str, str, int]
HELPER_MB = 40.0
# Whose processor seconds are told apart.
PROCESSES = ("dialling", "ssh", "sshd", "serving")


def of(samples: Sequence[Sample], key: Key, field: str) -> dict[int, float]:
    """A figure of one case, path and number of streams, for each round that has it."""
    found = {}
    for sample in samples:
        value = getattr(sample, field)
        if (sample.case, sample.path, sample.streams) == key and value is not None:
            found[sample.round] = float(value)
    return found


def paired(
    samples: Sequence[Sample],
    one: Key,
    other: Key,
    field: str = "gbit_s",
    compare: Callable[[float, float], float] = operator.truediv,
    other_field: str | None = None,
) -> float | None:
    """The median of what comparing figures of the same round gives; other_field: the other's, if not the same."""
    ours, theirs = of(samples, one, field), of(samples, other, other_field or field)
    return median([compare(ours[number], theirs[number]) for number in ours.keys() & theirs.keys()])


def rounded(value: float | None, digits: int = 3) -> float | None:
    """As many digits as mean something."""
    return None if value is None else round(value, digits)


def rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """One for each case, path and number of streams, in the order in which they were measured."""
    keys = dict.fromkeys((sample.case, sample.path, sample.streams) for sample in samples)
    return [_row(samples, key) for key in keys]


def _row(samples: Sequence[Sample], key: Key) -> dict[str, Any]:
    case, path, streams = key
    mine = [sample for sample in samples if (sample.case, sample.path, sample.streams) == key]

    def middle(field: str) -> float | None:
        return rounded(median(list(of(samples, key, field).values())))

    row: dict[str, Any] = {
        "case": case,
        "path": path,
        "streams": streams,
        "gbit_s": middle("gbit_s"),
        "ratio_to_recipe": rounded(paired(samples, key, (RECIPE.name, path, streams))),
        "ratio_to_pipe": rounded(paired(samples, key, (PIPE.name, "bare", 1))),
        "rtt_idle_ms": middle("rtt_idle_ms"),
        "rtt_loaded_ms": middle("rtt_loaded_ms"),
        "cpu_s_per_gbyte": middle("cpu_s_per_gbyte"),
        "rtt_loaded_p95_ms": middle("rtt_loaded_p95_ms"),
        "restarts": sum(sample.restarts for sample in mine),
        "failed": sum(sample.error is not None for sample in mine),
    }
    if case == PIPE.name:
        row["rtt_full_ms"] = middle("rtt_full_ms")
    row |= {name: seconds for name in PROCESSES if (seconds := middle(name)) is not None}
    return row


def _aim(what: str, wanted: str, limit: float, got: float | None) -> dict[str, Any]:
    """wanted: "at least" or "at most"; by_percent: how far beyond the limit, negative where it is missed."""
    if got is None:
        return {"aim": what, "wanted": wanted, "limit": limit, "got": None, "met": None, "by_percent": None}
    met = got >= limit if wanted == "at least" else got <= limit
    share = (got / limit - 1 if wanted == "at least" else 1 - got / limit) * 100 if limit else None
    return {
        "aim": what,
        "wanted": wanted,
        "limit": limit,
        "got": rounded(got),
        "met": met,
        "by_percent": rounded(share, 1),
    }


def aims(samples: Sequence[Sample], soak: dict[str, Any] | None, helper_mb: float | None) -> list[dict[str, Any]]:
    """The project's aims and what was reached."""
    pipe = (PIPE.name, "bare", 1)
    found = []
    for count in STREAMS:

        def key(case: str, path: str = "overlay", count: int = count) -> Key:
            return (case, path, count)

        stream, bare, words = key(STREAM.name), key(STREAM.name, "bare"), f"{count} stream{'s' * (count > 1)}"
        found += [
            _aim(f"overlay, {words}: times the recipe", "at least", 10, paired(samples, stream, key(RECIPE.name))),
            _aim(f"overlay, {words}: share of ssh cat", "at least", 0.75, paired(samples, stream, pipe)),
            _aim(
                f"overlay, {words}: CPU per gigabyte, times ssh cat's",
                "at most",
                1.5,
                paired(samples, stream, pipe, "cpu_s_per_gbyte"),
            ),
            _aim(
                f"bare, {words}: CPU per gigabyte, times ssh cat's",
                "at most",
                1.35,
                paired(samples, bare, pipe, "cpu_s_per_gbyte"),
            ),
            _aim(
                f"overlay, {words}: times OpenVPN over TCP", "at least", 10, paired(samples, stream, key(OPENVPN.name))
            ),
            _aim(f"overlay, {words}: times wireguard-go", "at least", 3, paired(samples, stream, key(WIREGUARD.name))),
            _aim(
                f"bare, {words}: round trip under load, times that of an ssh pipe at the same rate",
                "at most",
                2,
                paired(samples, bare, pipe, "rtt_loaded_ms"),
            ),
            _aim(
                f"bare, {words}: round trip under load, times that of an ssh pipe kept full",
                "at most",
                2,
                paired(samples, bare, pipe, "rtt_loaded_ms", other_field="rtt_full_ms"),
            ),
        ]
    for path in ("bare", "overlay"):
        above = paired(samples, (STREAM.name, path, 1), (RAW.name, path, 1), "rtt_idle_ms", operator.sub)
        found.append(_aim(f"{path}: idle round trip above the raw link's, ms", "at most", 0.3, above))
    if soak:
        found.append(_aim("soak: disconnects", "at most", 0, soak["disconnects"]))
        found.append(_aim("soak: restarts", "at most", 0, soak["restarts"]))
    found.append(_aim("peak memory of a helper, MB", "at most", HELPER_MB, helper_mb))
    return found
