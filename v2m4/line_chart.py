"""Line charts as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#2563b0", "#d9541e", "#2a8c4a", "#8a4fbf", "#b8860b", "#0e8a94", "#c2185b", "#5b5b5b")
WIDTH, HEIGHT = 420, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 26


def ticks(lower: float, upper: float, count: int = 4) -> list[float]:
    """About ``count`` round values from ``lower`` to ``upper``."""
    span = max(upper - lower, 1e-12)
    power = 10 ** math.floor(math.log10(span / count))
    step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda size: abs(span / size - count))
    first = math.ceil(lower / step - 1e-9)
    return [index * step for index in range(first, math.floor(upper / step + 1e-9) + 1)]


def line_chart(
    title: str, curves: Mapping[str, Sequence[float]], colours: Mapping[str, str], marked: Sequence[int] = ()
) -> str:
    """A line chart as one SVG element: a curve for every name by frame.

    The value axis begins at 0 where all values are at least 0 and 0 is not far below them.

    Args:
        title: the accessible label.
        curves: values by name; those that are not finite leave a gap.
        colours: by name.
        marked: frames with a band behind the curves.
    """
    values = [value for curve in curves.values() for value in curve if math.isfinite(value)] or [0.0]
    lower, upper = min(values), max(values)
    if 0 <= lower < 0.7 * upper:
        lower = 0.0
    pad = 0.05 * (upper - lower) or 0.05 * abs(upper) or 1.0
    lower, upper = (lower if lower == 0 else lower - pad), upper + pad
    last = max(max((len(curve) for curve in curves.values()), default=1) - 1, 1)

    def x(frame: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * frame / last

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - lower) / (upper - lower)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">']
    half = (WIDTH - LEFT - RIGHT) / last / 2
    for index in marked:
        left, right = max(x(index) - half, LEFT), min(x(index) + half, WIDTH - RIGHT)
        shape = f'x="{left:.1f}" width="{right - left:.1f}" y="{TOP}" height="{HEIGHT - TOP - BOTTOM}"'
        parts.append(f'<rect class="marked" {shape}/>')
    for value in ticks(lower, upper):
        height = f"{y(value):.1f}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height}" y2="{height}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 3.5:.1f}" text-anchor="end">{value:.4g}</text>')
    for frame in ticks(0, last, 6):
        if frame == int(frame):
            parts.append(f'<text x="{x(frame):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{int(frame)}</text>')
    for name, curve in curves.items():
        for run in _finite_runs(curve):
            points = " ".join(f"{x(frame):.1f},{y(value):.1f}" for frame, value in run)
            shape = f'points="{points}" stroke="{colours[name]}"'
            if len(run) == 1:
                frame, value = run[0]
                parts.append(f'<circle cx="{x(frame):.1f}" cy="{y(value):.1f}" r="2.5" fill="{colours[name]}"/>')
            else:
                parts.append(f"<polyline {shape}><title>{escape(name)}</title></polyline>")
    return "".join([*parts, "</svg>"])


def standalone(charts: Mapping[str, str]) -> str:
    """Charts stacked under their titles, as the text of one SVG file.

    Args:
        charts: what ``line_chart`` made, by title.
    """
    title_height = 22
    height = (HEIGHT + title_height) * len(charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{2 * height}" '
        f'viewBox="0 0 {WIDTH} {height}">',
        "<style>text { font: 10px sans-serif; fill: #333 } .title { font-weight: bold } .grid { stroke: #ddd }"
        " polyline { fill: none; stroke-width: 1.5 }</style>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for index, (title, chart) in enumerate(charts.items()):
        top = index * (HEIGHT + title_height)
        parts.append(f'<text class="title" x="{LEFT}" y="{top + 15}">{escape(title)}</text>')
        place = f'y="{top + title_height}" width="{WIDTH}" height="{HEIGHT}" '
        parts.append(chart.replace("<svg ", f"<svg {place}", 1))
    return "".join([*parts, "</svg>"])


def _finite_runs(curve: Sequence[float]) -> list[list[tuple[int, float]]]:
    """The runs of finite values of a curve, as (frame, value)."""
    runs: list[list[tuple[int, float]]] = [[]]
    for frame, value in enumerate(curve):
        if math.isfinite(value):
            runs[-1].append((frame, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
