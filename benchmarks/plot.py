"""One SVG with seconds by size for each way, both on logarithmic axes; no library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 50, 60
COLOURS = {
    "dedicated": "#0b6e4f",
    "namespaced": "#2f6fde",
    "dslr": "#c77700",
    "pg_restore": "#9b3d9b",
    "compose": "#b3261e",
}
LABELS = {
    "dedicated": "./inv reset, dedicated",
    "namespaced": "./inv reset, namespaced",
    "dslr": "dslr restore *",
    "pg_restore": "pg_restore -j 2 *",
    "compose": "compose down -v, up, restore *",
}
STYLE = "font-family='system-ui, sans-serif' font-size='12' fill='#333'"


def plot(found: Mapping[str, Any]) -> str:
    """`found` as benchmarks/reset.py writes it."""
    sizes = sorted(map(int, found["sizes"]))
    lines = {
        way: [
            (size, found["sizes"][str(size)][way]["seconds"])
            for size in sizes
            if way in found["sizes"][str(size)]
        ]
        for way in COLOURS
    }
    lines = {way: points for way, points in lines.items() if points}
    seconds = [y for points in lines.values() for _, y in points]
    low, high = _decades(min([*seconds, 0.9]), max([*seconds, 10]))
    x_low, x_high = min(sizes) / 1.3, max(sizes) * 1.3

    def x(size: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * _share(size, x_low, x_high)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(value, low, high)

    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' {STYLE}>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>",
        f"<text x='{LEFT}' y='24' font-size='15'>Seconds until every store answers again</text>",
        *_grid(low, high, y),
        *(_tick(size, x(size)) for size in sizes),
        f"<text x='{(LEFT + WIDTH - RIGHT) / 2}' y='{HEIGHT - 14}' text-anchor='middle'>"
        "PostgreSQL data</text>",
    ]
    labelled: list[float] = []
    for way, points in sorted(lines.items(), key=lambda one: -one[1][-1][1]):
        places = [(x(size), y(value)) for size, value in points]
        parts += _line(way, points, places, labelled)
    parts.append(
        f"<text x='{WIDTH - RIGHT + 12}' y='{HEIGHT - 14}' fill='#777'>* PostgreSQL only</text>"
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _line(
    way: str,
    points: list[tuple[int, float]],
    places: list[tuple[float, float]],
    labelled: list[float],
) -> list[str]:
    colour = COLOURS[way]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    label = places[-1][1]
    if labelled:
        label = max(label, labelled[-1] + 16)
    labelled.append(label)
    return [
        f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>",
        *(f"<circle cx='{a:.1f}' cy='{b:.1f}' r='3.5' fill='{colour}'/>" for a, b in places),
        f"<text x='{WIDTH - RIGHT + 12}' y='{label + 4:.1f}' fill='{colour}'>"
        f"{escape(LABELS[way])}: {points[-1][1]:.1f} s</text>",
    ]


def _grid(low: float, high: float, y: Any) -> list[str]:
    parts = []
    value = low
    while value <= high * 1.001:
        for step in (1, 2, 5):
            at = value * step
            if at <= high * 1.001:
                dark = "#ddd" if step == 1 else "#f0f0f0"
                parts.append(
                    f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y(at):.1f}' y2='{y(at):.1f}' "
                    f"stroke='{dark}'/><text x='{LEFT - 8}' y='{y(at) + 4:.1f}' "
                    f"text-anchor='end'>{at:g} s</text>"
                )
        value *= 10
    return parts


def _tick(size: int, at: float) -> str:
    text = f"{size / 1000:g} GB" if size >= 1000 else f"{size} MB"
    return f"<text x='{at:.1f}' y='{HEIGHT - BOTTOM + 20}' text-anchor='middle'>{text}</text>"


def _share(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low)


def _decades(low: float, high: float) -> tuple[float, float]:
    return 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
