# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user wants measured, and how much of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from .cases import CASES, STREAMS, Case
from .process import ROOT, BenchError
from .wan.lines import LINES

PARTS = ("transports", "soak", "window", "wan", "firewall", "fleet", "site")
# Takes a report and the name of its file.
Tell = Callable[[str, dict[str, Any]], None]
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Amounts:
    """How much of each part.

    rounds: of transports, window and firewall; seconds: of each transfer; mtus, shares: what the part window goes
    through; cap: seconds after which a tunnel has lived long enough for it; rulesets: what the part firewall loads;
    lines, line_seconds, line_streams: what the part wan goes over, how long each transfer runs there, and of how many
    connections; opening_seconds: how long a link that opens lanes by itself is full before; sizes: nodes of the fleets
    that are planned; nodes: how many `site` is run on.
    """

    rounds: int = 5
    seconds: float = 3.0
    streams: tuple[int, ...] = STREAMS
    soak_minutes: float = 10.0
    mtus: tuple[int, ...] = (1500, 9000, 16000)
    shares: tuple[float, ...] = (0.9, 0.5)
    cap: float = 120.0
    lines: tuple[str, ...] = tuple(line.name for line in LINES)
    line_seconds: float = 6.0
    line_streams: tuple[int, ...] = (1, 8, 128)
    opening_seconds: float = 80.0
    rulesets: tuple[str, ...] = ("usual", "large")
    sizes: tuple[int, ...] = (1_000, 10_000)
    site_rounds: int = 3
    nodes: int = 3


USUAL = Amounts()
# As little as still goes through all of a part.
SMALLEST = Amounts(
    rounds=1,
    seconds=1.0,
    streams=STREAMS[:1],
    soak_minutes=0.05,
    mtus=(9000,),
    shares=(),
    cap=2.0,
    # Long, fast and lossy: every case is measured on it.
    lines=("1000-100-0.01",),
    line_seconds=2.0,
    line_streams=(1,),
    opening_seconds=15.0,
    rulesets=("usual",),
    sizes=(100,),
    site_rounds=1,
    nodes=2,
)


@dataclass(frozen=True)
class Wanted:
    """The user's words, checked.

    beside: another revision that the parts site and wan time too; control: what the connections that go over the lines
    themselves use, None for the kernel's default; complete: everything is measured, as usual and no less of it
    than usual, so that the figures may go into docs/.
    """

    parts: tuple[str, ...]
    cases: tuple[Case, ...]
    amounts: Amounts
    beside: str | None
    control: str | None
    reports: Path
    complete: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BenchError(message)


def _positive(kind: Callable[[str], Number]) -> Callable[[str], Number]:
    def positive(text: str) -> Number:
        try:
            value = kind(text)
        except ValueError:
            value = kind("0")
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is no number above 0")
        return value

    return positive


def _named(option: str, text: str, names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that the text has, in their own order."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = tuple(names)
    strange = [word for word in words if word not in known]
    if strange or not words:
        raise BenchError(f"{option} has {', '.join(strange) or 'no name'}; there are {', '.join(known)}")
    return tuple(name for name in known if name in words)


def options(words: Sequence[str] | None = None) -> Wanted:
    """Read the command line; BenchError says what is wrong with it."""
    cases = {case.name: case for case in CASES}
    parser = _Parser(prog="make bench BENCH_ARGS=...", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="each part in its smallest form: it works, not how fast")
    parser.add_argument("--cases", default=",".join(cases), help=f"of transports, some of {','.join(cases)}")
    parser.add_argument("--rounds", type=_positive(int), help="of transports, window and firewall (5)")
    parser.add_argument("--seconds", type=_positive(float), help="how long each transfer runs (3)")
    parser.add_argument("--soak-minutes", type=_positive(float), help="how long the soak runs (10)")
    parser.add_argument("--site-rounds", type=_positive(int), help="how often site is timed (3)")
    parser.add_argument("--beside", metavar="REV", help="a revision that site and wan time too")
    parser.add_argument("--control", metavar="NAME", help="of wan, the links' own congestion control (the kernel's)")
    parser.add_argument("--reports", type=Path, default=ROOT / "reports", help="the folder for the figures (reports)")
    found = parser.parse_args(words)
    parts = _named("--parts", found.parts, PARTS)
    if found.beside and not {"site", "wan"} & set(parts):
        raise BenchError("--beside is about the parts site and wan, which --parts leaves out")
    if found.control and "wan" not in parts:
        raise BenchError("--control is about the part wan, which --parts leaves out")
    own = ("rounds", "seconds", "soak_minutes", "site_rounds")
    changes = {name: getattr(found, name) for name in own if getattr(found, name) is not None}
    amounts = replace(SMALLEST if found.quick else USUAL, **changes)
    chosen = tuple(cases[name] for name in _named("--cases", found.cases, cases))
    enough = not found.quick and all(getattr(amounts, name) >= getattr(USUAL, name) for name in own)
    return Wanted(
        parts=parts,
        cases=chosen,
        amounts=amounts,
        beside=found.beside,
        control=found.control,
        reports=found.reports.absolute(),
        complete=enough and found.control is None and parts == PARTS and chosen == CASES,
    )
