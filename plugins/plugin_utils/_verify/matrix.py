# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A verification's report as a table that fits a terminal, with any of Ansible's callbacks; pure.

YAML folds a line of more than 80 columns at a single blank, so the table has none. JSON doubles backslashes, so it has
none of them either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from . import services
from .report import CHECKS, failed

# More nodes than this have no table: the broken pairs are shown, and how many each node has of them.
LARGEST = 8
# What a callback puts around a line: indents and quotes.
FRAME = 12
# Broken pairs that are shown one by one.
SHOWN = 20

Pair = Mapping[str, Any]


def matrix(report: Mapping[str, Any], columns: int = 80, path: str = "") -> list[str]:
    """The lines: pairs that pass, who reaches whom, largest packets, nodes left out, and remarks.

    columns: the terminal's width. path: the report's file; it is named where the lines don't show all of it.
    """
    names = [str(node["name"]) for node in report["nodes"]]
    good = [pair for pair in report["pairs"] if not failed(pair)]
    lines = [f"network {report['network']}: {len(good)} of {len(report['pairs'])} pairs pass {', '.join(CHECKS)}"]
    tables = [_table(report, names, _numbered(names)), _table(report, names, names)] if len(names) <= LARGEST else []
    fitting = [table for table in tables if max(map(len, table)) + FRAME <= columns]
    if fitting:
        lines += fitting[-1]
    else:
        lines += _broken(report["pairs"], names)
        lines += [f"every pair: {path}"] if path else []
    sizes = sorted({pair["checks"]["mtu"]["bytes"] for pair in good})
    if sizes:
        lines.append(f"largest packets: {sizes[0]}{f' to {sizes[-1]}' if len(sizes) > 1 else ''} bytes")
    lines += services.lines(report)
    left_out = ", ".join(f"{name} ({word})" for name, word in report.get("left_out", {}).items())
    lines += [f"left out, as they take no containers: {left_out}"] if left_out else []
    return [*lines, *(f"note: {words}" for words in report.get("remarks", []))]


def _numbered(names: Sequence[str]) -> list[str]:
    return [str(number + 1) for number in range(len(names))]


def _table(report: Mapping[str, Any], names: Sequence[str], heads: Sequence[str]) -> list[str]:
    """A row for each node that asks, a column for each node that is asked; heads: what the columns are called."""
    sizes = {pair["checks"]["mtu"].get("bytes") for pair in report["pairs"]}
    cells = {(pair["from"], pair["to"]): _cell(pair, sized=len(sizes - {None}) > 1) for pair in report["pairs"]}
    numbered = list(heads) != list(names)
    rows = [["from/to", *heads]]
    for head, source in zip(heads, names):
        title = f"{head}={source}" if numbered else source
        rows.append([title, *(cells.get((source, target), "-") for target in names)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(names) + 1)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _cell(pair: Pair, sized: bool) -> str:
    """The round trip, with the largest packet where that is not the same everywhere; or what failed."""
    lacking = failed(pair)
    if lacking:
        return "FAILED" if len(lacking) == len(CHECKS) else _failed(lacking)
    return _time(pair) + (f"/{pair['checks']['mtu']['bytes']}" if sized else "")


def _rtt(pair: Pair) -> float:
    return float(pair["checks"]["icmp"]["rtt_ms"])


def _time(pair: Pair) -> str:
    return f"{_rtt(pair):.1f}ms"


def _broken(pairs: Sequence[Pair], names: Sequence[str]) -> list[str]:
    """The broken pairs, and how many each node has; one that reaches nobody, or nobody reaches, has a line for all."""
    broken = [pair for pair in pairs if failed(pair)]
    lines, lonely = [], set()
    for end, words in (("from", "{node} to all others: {checks}"), ("to", "all others to {node}: {checks}")):
        number = Counter(pair[end] for pair in broken)
        for node in names:
            if number[node] and number[node] == sum(pair[end] == node for pair in pairs):
                checks = {check for pair in broken if pair[end] == node for check in failed(pair)}
                lines.append(words.format(node=node, checks=_failed(checks)))
                lonely.add(node)
    single = [pair for pair in broken if not lonely & {pair["from"], pair["to"]}]
    lines += [f"{pair['from']} to {pair['to']}: {_failed(failed(pair))}" for pair in single[:SHOWN]]
    lines += [f"and {len(single) - SHOWN} broken pairs more"] if len(single) > SHOWN else []
    return lines + _counts(pairs, [name for name in names if name not in lonely], "besides " if lonely else "")


def _failed(checks: Collection[str]) -> str:
    return f"FAILED:{','.join(check for check in CHECKS if check in checks)}"


def _counts(pairs: Sequence[Pair], names: Sequence[str], besides: str) -> list[str]:
    """Of these nodes, how many each reaches and is reached by, where that is not all of them; and the longest way."""
    good = [pair for pair in pairs if not failed(pair)]
    among = [pair for pair in good if pair["from"] in names and pair["to"] in names]
    reaches, reached = (Counter(str(pair[end]) for pair in among) for end in ("from", "to"))
    others = len(names) - 1
    lines = [
        f"{name} reaches {reaches[name]} of {others}, is reached by {reached[name]}"
        for name in names
        if (reaches[name], reached[name]) != (others, others)
    ]
    whole = len(names) - len(lines)
    lines = [*lines[:SHOWN], *([f"and {len(lines) - SHOWN} nodes more"] if len(lines) > SHOWN else [])]
    if whole > 1:
        lines.append(f"{whole} of {len(names)} nodes {besides}reach all others, and are reached by all")
    if good:
        longest = max(good, key=_rtt)
        lines.append(f"round trips: {_time(min(good, key=_rtt))} to {_time(longest)}")
        lines.append(f"the longest: {longest['from']} to {longest['to']}")
    return lines
