# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chart: what each case carries from container to container. Plain SVG, readable on light and dark pages."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from .cases import CASES, PIPE, RAW, STREAMS

LEFT, WIDTH, BAR, GAP, TOP = 160, 460, 12, 14, 46
STYLE = """
text { font: 13px sans-serif; fill: #24292f; } .small { font-size: 11px; }
.title { font-size: 15px; font-weight: bold; } .s1 { fill: #2f6fb7; } .s8 { fill: #8fb8e6; }
.grid { stroke: #d0d7de; } .pipe { stroke: #c2410c; stroke-dasharray: 5 3; } .rust { fill: #c2410c; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .grid { stroke: #30363d; } .s1 { fill: #58a6ff; } .s8 { fill: #2c5a94; }
  .pipe { stroke: #f0883e; } .rust { fill: #f0883e; }
}"""


def draw(rows: list[dict[str, Any]]) -> str:
    """The chart's text."""
    labels = {case.name: case.label for case in CASES if case not in (RAW, PIPE)}
    bars = {(row["case"], row["streams"]): row["gbit_s"] or 0.0 for row in rows if row["path"] == "overlay"}
    shown = sorted({name for name, _streams in bars if name in labels}, key=lambda name: bars.get((name, 1), 0.0))
    pipe = next((row["gbit_s"] for row in rows if row["case"] == PIPE.name), None)
    most = int(max([*(bars[key] for key in bars if key[0] in labels), pipe or 0.0, 0.5])) + 1
    scale = WIDTH / most
    bottom = TOP + len(shown) * (len(STREAMS) * BAR + GAP)
    parts = [words(12, 18, "Container to container, Gbit/s", "title"), *_legend()]
    for tick in range(most + 1):
        x = LEFT + tick * scale
        parts.append(f'<line class="grid" x1="{x:.0f}" x2="{x:.0f}" y1="{TOP - 6}" y2="{bottom}"/>')
        parts.append(words(x, bottom + 14, str(tick), "small", "middle"))
    for place, name in enumerate(shown):
        y = TOP + place * (len(STREAMS) * BAR + GAP)
        parts.append(words(LEFT - 8, y + BAR + 4, labels[name], "", "end"))
        for line, streams in enumerate(STREAMS):
            value = bars.get((name, streams), 0.0)
            at, length = y + line * BAR, value * scale
            parts.append(f'<rect class="s{streams}" x="{LEFT}" y="{at}" width="{length:.1f}" height="{BAR - 1}"/>')
            parts.append(words(LEFT + length + 5, at + BAR - 2, f"{value:.2f}", "small"))
    if pipe:
        x = LEFT + pipe * scale
        parts.append(f'<line class="pipe" x1="{x:.0f}" x2="{x:.0f}" y1="{TOP - 6}" y2="{bottom}"/>')
        parts.append(words(x - 4, TOP + 4, f"ssh cat {pipe:.2f}", "small rust", "end"))
    size = f'width="{LEFT + WIDTH + 50}" viewBox="0 0 {LEFT + WIDTH + 50} {bottom + 24}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="What each transport carries">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def _legend() -> list[str]:
    parts = []
    for place, streams in enumerate(STREAMS):
        x = LEFT + 260 + place * 90
        parts.append(f'<rect class="s{streams}" x="{x}" y="8" width="11" height="11"/>')
        parts.append(words(x + 16, 18, f"{streams} stream{'s' * (streams > 1)}", "small"))
    return parts


def words(x: float, y: float, told: str, style: str, anchor: str = "start") -> str:
    """A piece of text in a chart; style: its classes; anchor: which part of it is at the place."""
    return f'<text class="{style}" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(told)}</text>'
