"""One SVG: time per row by scale for each store, as a multiple of that at the smallest; dashed,
the client's own processor time, for a stand-in's server may be the limit. No library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 820, 380
LEFT, RIGHT, TOP, BOTTOM = 60, 310, 50, 50
LIMIT = 1.2  # what the time per row may grow to
COLOURS = {"postgres": "#2f6fde", "mongo": "#0b6e4f", "qdrant": "#b3261e", "redis": "#c77700"}
STYLE = "font-family='system-ui, sans-serif' font-size='12' fill='#333'"
Point = Mapping[str, float]


def plot(found: Mapping[str, Sequence[Point]]) -> str:
    """`found`: by store, its points by scale, each with `scale`, `us_row` and `peak_mb`, and with
    `client_us_row` where that was measured."""
    scales = sorted({point["scale"] for points in found.values() for point in points})
    ratios = {store: _ratios(points, "us_row") for store, points in found.items()}
    top = max([1.4, *(ratio for points in ratios.values() for _, ratio in points)]) * 1.05

    def x(scale: float) -> float:
        low, high = math.log(scales[0] / 1.2), math.log(scales[-1] * 1.2)
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log(scale) - low) / (high - low)

    def y(ratio: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ratio / top

    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' {STYLE}>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>",
        f"<text x='{LEFT}' y='24' font-size='15'>Time per row, times that at the smallest</text>",
    ]
    for tick in (0.0, 0.5, 1.0, LIMIT):
        dash = " stroke-dasharray='5 4'" if tick == LIMIT else ""
        parts.append(
            f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y(tick):.1f}' y2='{y(tick):.1f}' "
            f"stroke='#bbb'{dash}/><text x='{LEFT - 8}' y='{y(tick) + 4:.1f}' "
            f"text-anchor='end'>{tick:g}</text>"
        )
    parts += [
        f"<text x='{x(one):.1f}' y='{HEIGHT - BOTTOM + 20}' text-anchor='middle'>{one:g}</text>"
        for one in scales
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f"<text x='{middle}' y='{HEIGHT - 12}' text-anchor='middle'>scale</text>")
    ends = sorted(ratios, key=lambda store: -ratios[store][-1][1])
    label = 0.0
    for store in ends:
        places = [(x(scale), y(ratio)) for scale, ratio in ratios[store]]
        label = max(places[-1][1], label + 18)
        parts += _line(store, found[store], places, label)
        own = [(x(scale), y(ratio)) for scale, ratio in _ratios(found[store], "client_us_row")]
        parts.append(_dashed(store, own))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _ratios(points: Sequence[Point], what: str) -> list[tuple[float, float]]:
    """By scale; none where it was not measured."""
    return [(one["scale"], one[what] / points[0][what]) for one in points if what in one]


def _dashed(store: str, places: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    return (
        f"<polyline points='{path}' fill='none' stroke='{COLOURS[store]}' stroke-dasharray='3 3'/>"
    )


def _line(
    store: str, points: Sequence[Point], places: Sequence[tuple[float, float]], label: float
) -> list[str]:
    colour = COLOURS[store]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    last = points[-1]
    text = f"{store}: {last['us_row']:.0f} µs a row"
    if "client_us_row" in last:
        text += f" (client {last['client_us_row']:.0f})"
    if last.get("peak_mb"):
        text += f", {last['peak_mb']:.0f} MB"
    return [
        f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>",
        *(f"<circle cx='{a:.1f}' cy='{b:.1f}' r='3.5' fill='{colour}'/>" for a, b in places),
        f"<text x='{WIDTH - RIGHT + 12}' y='{label + 4:.1f}' fill='{colour}'>{text}</text>",
    ]
