# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures for readers: a table on the terminal, and in docs/ the chart, and the tables of two pages.

`python -m tests.bench.page` writes those in docs/ again from docs/bench*.json; no figure there is typed by hand.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from .cases import CASES
from .chart import draw
from .nodes import ROOT

DOCS = ROOT / "docs"
DATA, WINDOW, CHART, PAGE = (DOCS / name for name in ("bench.json", "bench_window.json", "bench.svg", "transports.md"))
FIREWALL, FIREWALL_PAGE = DOCS / "bench_firewall.json", DOCS / "firewall.md"
SPEEDS = ("nft_s", "nft_cpu_s", "look_s", "look_to_nft", "look_cpu_s", "run_s", "again_s")
LABELS = {case.name: case.label for case in CASES}


def figure(value: float | None, digits: int = 2) -> str:
    """A figure as it is printed; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def table(report: dict[str, Any], path: str) -> str:
    """One path's figures, one line for each case."""
    heads = ["transport", "Gbit/s, 1 stream", "8 streams", "times the recipe", "of ssh cat"]
    heads += ["round trip idle, ms", "under load, ms", "CPU s per GB"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    found = {(row["case"], row["streams"]): row for row in report["rows"] if row["path"] == path}
    for case in CASES:
        one, eight = found.get((case.name, 1)), found.get((case.name, 8), {})
        if one:
            cells = [LABELS[case.name], figure(one["gbit_s"]), figure(eight.get("gbit_s"))]
            cells += [figure(one["ratio_to_recipe"], 1), figure(one["ratio_to_pipe"])]
            cells += [figure(one[name]) for name in ("rtt_idle_ms", "rtt_loaded_ms", "cpu_s_per_gbyte")]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def aims(report: dict[str, Any]) -> str:
    """The aims and what was reached."""
    lines = ["| aim | wanted | reached | |", "|---|---|---|---|"]
    for aim in report["aims"]:
        verdict = {True: "met", False: "**missed**", None: "not measured"}[aim["met"]]
        if aim["by_percent"] is not None:
            verdict += f" by {abs(aim['by_percent']):.0f} %"
        lines.append(f"| {aim['aim']} | {aim['wanted']} {aim['limit']:g} | {figure(aim['got'])} | {verdict} |")
    return "\n".join(lines) + "\n"


def soak(report: dict[str, Any]) -> str:
    """The soak in a sentence."""
    found = report["soak"]
    if not found:
        return "Not measured.\n"
    return (
        f"{found['streams']} streams each way for {found['minutes']:g} minutes, container to container: "
        f"{figure(found['gbit_s'])} Gbit/s in both directions together, {found['disconnects']} disconnects, "
        f"{found['restarts']} restarts.\n"
    )


def setting(report: dict[str, Any]) -> str:
    """What was measured on what."""
    facts = report["machine"]
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    lines = [
        f"{facts['cpus']} processors ({facts['cpu']}), {facts['memory_gib']:.0f} GiB, Linux {facts['kernel']}; "
        f"{versions}. Medians of {report['rounds']} rounds with transfers of {report['seconds_per_transfer']:g} s; "
        f"load before it {facts['load_before'][0]}.",
        "",
        *(f"- {LABELS[name]}: {words}" for name, words in report["settings"].items()),
    ]
    return "\n".join(lines) + "\n"


def window(report: dict[str, Any]) -> str:
    """What `ssh -w` carries at each MTU, and how long it lived under full load."""
    shares = list(dict.fromkeys(end["share"] for end in report["lived"]))
    heads = ["MTU", "bare, Gbit/s", "container to container"]
    heads += ["lived unshaped" if share is None else f"shaped to {share:.0%}" for share in shares]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in report["carried"]:
        cells = [str(row["mtu"]), figure(row["bare_1"]), figure(row["overlay_1"])]
        for end in report["lived"]:
            if end["mtu"] == row["mtu"]:
                cells.append(f"{end['lived_s']:.0f} s" if end["ended"] else f"{end['lived_s']:.0f} s and on")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def firewall(report: dict[str, Any]) -> str:
    """What nft_rule takes on each ruleset."""
    heads = ["rules on the host", "rules of the task", "their places", "nft's two lists, s", "their CPU s"]
    heads += ["observe and plan, s", "times nft", "CPU s", "whole run, s", "run again, s", "memory, MB", "of nft, MB"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in report["rows"]:
        cells = [str(row["size"]), str(row["rules"]), row["places"]]
        cells += [figure(row[name]) for name in SPEEDS]
        cells += [figure(row[name], 0) for name in ("memory_mb", "nft_memory_mb")]
        lines.append("| " + " | ".join(cells) + " |")
    words = {"look_s": "observe and plan, s", "memory_mb": "memory, MB", "run_s": "a task of many rules, s"}
    reached = [
        f"{words[aim['aim']]}: {figure(aim['got'])} of {aim['limit']:g}, {'met' if aim['met'] else '**missed**'}"
        for aim in report["aims"]
    ]
    setting = (
        f"Medians of {report['rounds']} rounds on {report['cpus']} processors, the load before {report['load_before']}."
    )
    return "\n".join([*lines, "", f"{setting} Aims: {'; '.join(reached)}.", ""])


def parts(report: dict[str, Any]) -> dict[str, str]:
    """What the page says of the comparison."""
    return {
        "overlay": table(report, "overlay"),
        "bare": table(report, "bare"),
        "aims": aims(report),
        "soak": soak(report),
        "setting": setting(report),
    }


def filled(text: str, written: dict[str, str]) -> str:
    """The page with what stands between `<!-- bench: NAME -->` and `<!-- end -->` written anew, where it is given."""

    def part(match: re.Match[str]) -> str:
        return f"<!-- bench: {match[1]} -->\n{written.get(match[1], match[2])}<!-- end -->"

    return re.sub(r"<!-- bench: (\w+) -->\n(.*?)<!-- end -->", part, text, flags=re.DOTALL)


def show(report: dict[str, Any]) -> None:
    """The tables on standard output."""
    for title, words in (("Container to container", table(report, "overlay")), ("Bare", table(report, "bare"))):
        sys.stdout.write(f"\n{title}\n{words}")
    sys.stdout.write(f"\n{aims(report)}\nSoak: {soak(report)}")


def keep(report: dict[str, Any], data: Path = DATA) -> None:
    """Put the figures beside the page, without the single samples."""
    kept = {name: value for name, value in report.items() if name != "samples"}
    data.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def write() -> None:
    """The chart and the page out of the kept figures, as far as there are any."""
    written: dict[str, str] = {}
    if DATA.is_file():
        report = json.loads(DATA.read_text(encoding="utf-8"))
        written |= parts(report)
        CHART.write_text(draw(report["rows"]), encoding="utf-8")
    if WINDOW.is_file():
        written["window"] = window(json.loads(WINDOW.read_text(encoding="utf-8")))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), written), encoding="utf-8")
    if FIREWALL.is_file():
        speed = firewall(json.loads(FIREWALL.read_text(encoding="utf-8")))
        text = filled(FIREWALL_PAGE.read_text(encoding="utf-8"), {"firewall": speed})
        FIREWALL_PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
