# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures for readers: tables on the terminal, and in docs/ the chart, and the tables of its pages.

`python -m tests.bench.page` writes those in docs/ again from docs/bench*.json; no figure there is typed by hand.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from .cases import CASES, PIPE, STREAM_AUTO
from .chart import draw
from .process import ROOT, put
from .report import PROCESSES
from .wan import chart as lines_chart
from .wan.lines import SLOW_MBIT_S

DOCS = ROOT / "docs"
PAGES = tuple(DOCS / f"{name}.md" for name in ("transports", "lines", "firewall", "speed"))
SPEEDS = ("nft_s", "nft_cpu_s", "look_s", "look_to_nft", "look_cpu_s", "run_s", "again_s")
LABELS = {case.name: case.label for case in CASES}
# What aims of a link that opens lanes by itself have in their names.
AUTO = "lanes auto"


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


def processes(report: dict[str, Any]) -> str:
    """What each process of a stream uses, beside an ssh alone; nothing where that was not measured."""
    lines = [
        "| | connections | helper that dials | ssh | sshd | helper that serves | whole machine |",
        "|---" * 7 + "|",
    ]
    paths = {"bare": "node to node", "overlay": "container to container"}
    for row in report["rows"]:
        if row.get("ssh") is not None:
            where = f", {paths[row['path']]}" if row["case"] != PIPE.name else ""
            figures = (figure(row.get(name)) for name in (*PROCESSES, "cpu_s_per_gbyte"))
            cells = [f"{LABELS[row['case']]}{where}", str(row["streams"]), *figures]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""]) if len(lines) > 2 else ""


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


def _labels(report: dict[str, Any]) -> dict[str, str]:
    return {**LABELS, "stream-before": f"stream of `{report['beside']}`"}


def wan(report: dict[str, Any]) -> str:
    """What each case carries over each line, and what a ping takes beside a stream that is full."""
    names = list(dict.fromkeys(row["case"] for row in report["rows"] if row["case"] != STREAM_AUTO.name))
    labels = _labels(report)
    found = {(row["line"], row["case"], row["streams"], row["back"]): row for row in report["rows"]}
    counts = sorted({row["streams"] for row in report["rows"] if row["case"] == "stream"})
    ways = [(name, streams, False) for name in names for streams in (counts if name.startswith("stream") else [1])]
    ways += [(name, 1, True) for name in names if name.startswith("stream")]
    heads = ["line"]
    for name, streams, back in ways:
        more = f", {streams}" if streams > 1 else ", back" if back else ""
        heads.append(labels[name] + more)
    heads += ["ping idle, ms", "beside 1", "99th"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for line, label in report["lines"].items():
        cells = [label, *(figure((found.get((line, *way)) or {}).get("mbit_s"), 1) for way in ways)]
        one = found.get((line, "stream", 1, False)) or {}
        cells += [figure(one.get(name), 0) for name in ("ping_idle_ms", "ping_ms", "ping_99_ms")]
        lines.append("| " + " | ".join(cells) + " |")
    outside, inside = (report.get(f"{where}congestion_control") for where in ("", "inner_"))
    used = f"the connections inside and outside use {outside}"
    if inside not in (outside, None):
        used = f"the connections outside use {outside}, those inside {inside}"
    shares = [aim for aim in report["aims"] if aim["aim"].split(", ")[-1] in ("1", "8") and AUTO not in aim["aim"]]
    met = [aim for aim in shares if aim["met"]]
    words = (
        f"Mbit/s; {used}; transfers of "
        f"{report['seconds_per_transfer']:g} s, and of {report['seconds_over_slow_lines']:g} s up to "
        f"{SLOW_MBIT_S:g} Mbit/s. In {len(met)} of {len(shares)} cases the stream carried 0.9 of "
        "ssh cat, as it should."
    )
    for aim in report["aims"]:
        if aim["aim"].endswith(" of 1"):
            line, counts = aim["aim"].rsplit(", ", 1)
            many, one = counts.split(" of ")
            words += (
                f" Over {report['lines'][line]}, {many} connections carried {figure(aim['got'])} of what {one} "
                f"carried; the aim is {aim['limit']:g}."
            )
    return "\n".join([*lines, "", words, ""])


def lanes(report: dict[str, Any]) -> str:
    """What several lanes carry where one session's window is the limit; nothing where that was not measured."""
    carried = {(row["line"], row["case"], row["streams"]): row["mbit_s"] for row in report["rows"] if not row["back"]}
    found = [(line, streams) for line, case, streams in carried if case == STREAM_AUTO.name]
    if not found:
        return ""
    shares = {aim["aim"]: aim["got"] for aim in report["aims"]}
    lines = [
        "| line | connections | no tunnel | stream, 1 lane | stream, lanes auto | of no tunnel | lanes |",
        "|---" * 7 + "|",
    ]
    opened = {row["line"]: row.get("lanes") for row in report["rows"] if row["case"] == STREAM_AUTO.name}
    for line, streams in found:
        cells = [figure(carried.get((line, case, streams)), 1) for case in ("raw", "stream", STREAM_AUTO.name)]
        cells += [figure(shares.get(f"{line}, {AUTO}, {streams}")), figure(opened[line], 0)]
        lines.append("| " + " | ".join([report["lines"][line], str(streams), *cells]) + " |")
    words = "Mbit/s with as many lanes as open by themselves, once they have; at least 0.8 of no tunnel is the aim."
    return "\n".join(["", "Where a session's window is the limit:", "", *lines, "", words, ""])


def beside(report: dict[str, Any]) -> str:
    """What goes beside one connection over each line: a ping, a fetch, a flow of datagrams; nothing where none did."""
    fields = {"ping_ms": 0, "ping_99_ms": 0, "fetch_ms": 0, "datagram_loss_percent": 1}
    labels = _labels(report)
    heads = ["line", "beside", "ping, ms", "99th", "100 KB, ms", "datagrams lost, %"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for line, label in report["lines"].items():
        for row in report["rows"]:
            if row["line"] == line and row.get("fetch_ms") is not None:
                figures = (figure(row.get(name), digits) for name, digits in fields.items())
                lines.append("| " + " | ".join([label, labels[row["case"]], *figures]) + " |")
    return "\n".join(["", "Beside one connection:", "", *lines, ""]) if len(lines) > 2 else ""


def line_checks(report: dict[str, Any]) -> str:
    """What was measured of each line itself, and whether it is what was asked; nothing where it was not measured."""
    found = report.get("checks")
    if not found:
        return ""
    whats = list(dict.fromkeys(check["what"] for check in found))
    units = {"ms": "ms", "s": "Mbit/s", "percent": "%"}
    heads = ["line", *(f"{_check_name(what)}, {units[what.rsplit('_', 1)[1]]}" for what in whats), "agrees"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for line, label in report["lines"].items():
        mine = [check for check in found if check["line"] == line]
        cells = [f"{figure(check['got'])} of {check['asked']:g} ± {figure(check['tolerance'])}" for check in mine]
        wrong = [_check_name(check["what"]) for check in mine if not check["agrees"]]
        lines.append("| " + " | ".join([label, *cells, f"**no**: {', '.join(wrong)}" if wrong else "yes"]) + " |")
    words = "The lines themselves, as measured of what was asked, with what may be between the two:"
    return "\n".join(["", words, "", *lines, ""])


def _check_name(what: str) -> str:
    words = what.removesuffix("_ms").removesuffix("_mbit_s").removesuffix("_percent").replace("_", " ")
    return f"rate {words}" if what.endswith("mbit_s") else words


def over_lines(report: dict[str, Any]) -> str:
    """All tables of the part wan."""
    return wan(report) + lanes(report) + beside(report) + line_checks(report)


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
    rounds = f"medians of {report['rounds']} rounds"
    return "\n".join([*lines, "", f"{_setting(rounds, report)} {_reached(words, report)}", ""])


def site(report: dict[str, Any]) -> str:
    """What `site` takes beside the shell script, and beside another revision where there was one."""
    other, ratios = report["beside"], report["ratio_to_beside"]
    heads = ["", "seconds", "times the script", "tasks on a host"]
    if other:
        heads += [f"`{other['word']}`, seconds", "times the script", f"now, times `{other['word']}`"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines.append(
        "| " + " | ".join(["the shell script", figure(report["script_s"], 1), "1.00", *"-" * (len(heads) - 3)]) + " |"
    )
    names = {
        "first": ("`site` on fresh nodes", "site_first_s", "first_to_script"),
        "second": ("`site` again, nothing to change", "site_second_s", "second_to_script"),
        "verify": ("`verify` alone", "verify_s", "verify_to_script"),
    }
    for step, (label, seconds, ratio) in names.items():
        cells = [label, figure(report[seconds], 1), figure(report[ratio])]
        cells.append(str(max(report["tasks_per_host"][step].values())))
        if other:
            cells += [figure(other[seconds], 1), figure(other[ratio]), figure(ratios[step])]
        lines.append("| " + " | ".join(cells) + " |")
    words = {
        "first_to_script": "the first run, times the script",
        "second_to_script": "the second run, times the script",
        "verify_s": "`verify`, s",
    }
    rounds = f"{report['nodes']} nodes, medians of {report['rounds']} rounds"
    return "\n".join([*lines, "", f"{_setting(rounds, report)} {_reached(words, report)}", ""])


def fleet(report: dict[str, Any]) -> str:
    """What the plan of a fleet takes."""
    lines = ["| nodes | links | seconds | memory, MB |", "|---|---|---|---|"]
    for plan in report["plans"]:
        lines.append(
            f"| {plan['nodes']} | {plan['links']} | {figure(plan['seconds'])} | {figure(plan['memory_mb'], 0)} |"
        )
    words = {"seconds": "the largest fleet, s", "memory_mb": "its memory, MB"}
    return "\n".join([*lines, "", _reached(words, report), ""])


def _setting(rounds: str, report: dict[str, Any]) -> str:
    return f"{rounds[0].upper()}{rounds[1:]} on {report['cpus']} processors, the load before {report['load_before']}."


def _reached(words: dict[str, str], report: dict[str, Any]) -> str:
    """The aims and what became of them, in a sentence."""
    verdicts = {True: "met", False: "**missed**", None: "not measured"}
    reached = [
        f"{words[aim['aim']]}: {figure(aim['got'])} of {aim['limit']:g}, {verdicts[aim['met']]}"
        for aim in report["aims"]
    ]
    return f"Aims: {'; '.join(reached)}."


def parts(report: dict[str, Any]) -> dict[str, str]:
    """What the page says of the comparison."""
    return {
        "overlay": table(report, "overlay"),
        "bare": table(report, "bare"),
        "processes": processes(report),
        "aims": aims(report),
        "soak": soak(report),
        "setting": setting(report),
    }


def filled(text: str, written: dict[str, str]) -> str:
    """The page with what stands between `<!-- bench: NAME -->` and `<!-- end -->` written anew, where it is given."""

    def part(match: re.Match[str]) -> str:
        return f"<!-- bench: {match[1]} -->\n{written.get(match[1], match[2])}<!-- end -->"

    return re.sub(r"<!-- bench: (\w+) -->\n(.*?)<!-- end -->", part, text, flags=re.DOTALL)


# What one report has for one table of the pages.
TABLES = {
    "bench_window": window,
    "bench_wan": over_lines,
    "bench_firewall": firewall,
    "bench_site": site,
    "bench_fleet": fleet,
}


def show(name: str, report: dict[str, Any]) -> None:
    """A report's tables on standard output."""
    if name in TABLES:
        sys.stdout.write(f"\n{TABLES[name](report)}")
        return
    if report["rows"]:
        for title, words in (("Container to container", table(report, "overlay")), ("Bare", table(report, "bare"))):
            sys.stdout.write(f"\n{title}\n{words}")
        sys.stdout.write(f"\nProcessor seconds per gigabyte\n{processes(report)}")
    sys.stdout.write(f"\n{aims(report)}\nSoak: {soak(report)}")


def keep(reports: dict[str, dict[str, Any]]) -> None:
    """Put the figures beside the pages, without the single samples."""
    for name, report in reports.items():
        kept = {key: value for key, value in report.items() if key != "samples"}
        put(DOCS / f"{name}.json", json.dumps(kept, indent=2) + "\n")


def _kept(name: str) -> dict[str, Any] | None:
    file = DOCS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def write() -> None:
    """The charts and the pages out of the kept figures, as far as there are any."""
    written: dict[str, str] = {}
    if report := _kept("bench"):
        written |= parts(report)
        put(DOCS / "bench.svg", draw(report["rows"]))
    if report := _kept("bench_wan"):
        put(DOCS / "lines.svg", lines_chart.draw(report))
    for name, words in TABLES.items():
        if report := _kept(name):
            written[name.removeprefix("bench_")] = words(report)
    for path in PAGES:
        put(path, filled(path.read_text(encoding="utf-8"), written))


if __name__ == "__main__":
    write()
