# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chart of lines: a panel for each, with what every case carries over it. Plain SVG, as the chart of transports."""

from __future__ import annotations

from typing import Any

from ..cases import CASES, PIPE, STREAM_AUTO
from ..chart import STYLE, words

COLUMNS, WIDTH, HEAD, TITLE, BAR, GAP = 2, 420, 36, 26, 12, 5
# Of a panel: where its bars begin, how long they get, and where their figures end, beyond any mark.
LEFT, LONGEST, FIGURES = 142, 214, 402
SHADES = {1: "s1", 8: "s8", 128: "s128"}
# Between the two that the chart of transports has and the page, on light and on dark.
MORE_STYLE = """
.s128 { fill: #c3d9f2; }
@media (prefers-color-scheme: dark) { .s128 { fill: #1c3a5e; } }"""


def draw(report: dict[str, Any]) -> str:
    """The chart's text."""
    labels = {case.name: case.label for case in (*CASES, STREAM_AUTO)} | {
        "stream-before": f"stream of {report['beside']}"
    }
    panels = [_panel(report["rows"], line, label, labels) for line, label in report["lines"].items()]
    parts = [words(12, 20, "What links carry over each line, Mbit/s", "title"), *_legend()]
    y = HEAD
    for first in range(0, len(panels), COLUMNS):
        shown = panels[first : first + COLUMNS]
        for column, (_height, inside) in enumerate(shown):
            parts += [f'<g transform="translate({column * WIDTH} {y})">', *inside, "</g>"]
        y += max(height for height, _inside in shown)
    width = COLUMNS * WIDTH
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" viewBox="0 0 {width} {y + 8}" role="img"'
    return (
        "\n".join(
            [
                f'{head} aria-label="What links carry over each line">',
                f"<style>{STYLE}{MORE_STYLE}</style>",
                *parts,
                "</svg>",
            ]
        )
        + "\n"
    )


def _panel(rows: list[dict[str, Any]], line: str, label: str, labels: dict[str, str]) -> tuple[int, list[str]]:
    """Its height, and what it shows: each case by the connections that it was measured with."""
    mine = [row for row in rows if row["line"] == line and not row["back"] and row["mbit_s"] is not None]
    pipe = next((row["mbit_s"] for row in mine if row["case"] == PIPE.name), None)
    bars = [row for row in mine if row["case"] != PIPE.name and row["streams"] in SHADES]
    scale = LONGEST / max([*(row["mbit_s"] for row in bars), pipe or 0.0, 1.0])
    parts, y, before = [words(12, 14, label, "")], TITLE, ""
    for row in bars:
        if row["case"] != before:
            y += GAP if before else 0
            before = row["case"]
            parts.append(words(LEFT - 8, y + BAR - 2, labels[before], "small", "end"))
        length = row["mbit_s"] * scale
        shade = SHADES[row["streams"]]
        parts.append(f'<rect class="{shade}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 1}"/>')
        parts.append(words(FIGURES, y + BAR - 2, f"{row['mbit_s']:.1f}", "small", "end"))
        y += BAR
    if pipe is not None:
        x = LEFT + pipe * scale
        parts.append(f'<line class="pipe" x1="{x:.0f}" x2="{x:.0f}" y1="{TITLE - 6}" y2="{y + 2}"/>')
        parts.append(words(x, y + 13, f"ssh cat {pipe:.1f}", "small rust", "middle"))
    return y + 30, parts


def _legend() -> list[str]:
    parts = []
    for place, (streams, shade) in enumerate(SHADES.items()):
        x = LEFT + 320 + place * 110
        parts.append(f'<rect class="{shade}" x="{x}" y="10" width="11" height="11"/>')
        parts.append(words(x + 16, 20, f"{streams} connection{'s' * (streams > 1)}", "small"))
    return parts
