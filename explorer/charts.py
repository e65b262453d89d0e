"""Small multiples as inline SVG, drawn by the server: every point tells its value, every colour is the stylesheet's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Height = Callable[[float], float]  # of a value, in pixels from the top
WIDTH, HEIGHT = 250, 150
LEFT, RIGHT, TOP, BOTTOM = 34, 10, 8, 24
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


@dataclass(frozen=True)
class Point:
    """A value at a place of the axis, and the ends of its interval where it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """The points of one line, in the order they are joined, and which of the stylesheet's colours, s0 to s5, it has.

    ``told`` says what it is to a pointer that rests on it.
    """

    name: str
    told: str
    colour: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Panel:
    """One of the multiples: a title, and its lines."""

    title: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Axis:
    """The horizontal axis: places (value, name) from left to right, of what."""

    name: str
    ticks: tuple[tuple[float, str], ...]

    def at(self, value: float) -> float:
        """Pixels from the left edge."""
        first, last = self.ticks[0][0], self.ticks[-1][0]
        share = 0.5 if first == last else (value - first) / (last - first)
        inset = 14
        return LEFT + inset + share * (WIDTH - LEFT - RIGHT - 2 * inset)


def time_axis(times: Sequence[float]) -> Axis:
    """Diffusion time, from noise on the left to the image on the right."""
    return Axis("t", tuple((t, f"{t:g}") for t in sorted(set(times), reverse=True)))


def drawn(panel: Panel, axis: Axis, top: float, what: str) -> Markup:
    """One panel as an ``<svg>``: values from 0, or the lowest below it, to ``top``."""
    values = [point for series in panel.series for point in series.points]
    bottom = min([0.0, *(low for p in values for low in (p.y, p.low) if low is not None)])

    def height(value: float) -> float:
        return HEIGHT - BOTTOM - (value - bottom) / ((top - bottom) or 1.0) * (HEIGHT - TOP - BOTTOM)

    parts = [_frame(axis, top, height)]
    for series in panel.series:
        parts += [_band(series, axis, height), _line(series, axis, height)]
    label = escape(f"{what}, {panel.title}")
    body = Markup("").join(parts)
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(WIDTH, HEIGHT, label, body)


def top_of(panels: Sequence[Panel]) -> float:
    """The end of the vertical axis that all panels share: a round number above every value."""
    points = [point for panel in panels for series in panel.series for point in series.points]
    largest = max([value for p in points for value in (p.y, p.high) if value is not None], default=1.0)
    step = _step(largest)
    return max(step, -(-largest // step) * step)


def _step(largest: float) -> float:
    return next((step for step in STEPS if largest / step <= 4), STEPS[-1])


def _frame(axis: Axis, top: float, height: Height) -> Markup:
    parts = []
    step, value = _step(top), 0.0
    while value <= top + 1e-9:
        y = round(height(value), 1)
        parts.append(Markup('<line class="rule" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, WIDTH - RIGHT, y, y))
        parts.append(Markup('<text class="tick end" x="{}" y="{}">{:g}</text>').format(LEFT - 4, y + 3.5, value))
        value = round(value + step, 6)
    for place, name in axis.ticks:
        x = round(axis.at(place), 1)
        parts.append(Markup('<text class="tick middle" x="{}" y="{}">{}</text>').format(x, HEIGHT - 10, name))
    parts.append(Markup('<text class="tick end" x="{}" y="{}">{}</text>').format(LEFT - 4, HEIGHT - 10, axis.name))
    return Markup("").join(parts)


def _band(series: Series, axis: Axis, height: Height) -> Markup:
    """The intervals: a whisker at each point, and between points that have one the area."""
    parts: list[Markup] = []
    runs: list[list[tuple[float, float, float]]] = [[]]
    for p in series.points:
        if p.low is None or p.high is None:
            runs.append([])
            continue
        x, low, high = round(axis.at(p.x), 1), round(height(p.low), 1), round(height(p.high), 1)
        runs[-1].append((x, low, high))
        whisker = '<line class="whisker s{}" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        parts.append(Markup(whisker).format(series.colour, x, x, low, high))
    for run in runs:
        if len(run) > 1:
            corners = [f"{x},{low}" for x, low, _ in run] + [f"{x},{high}" for x, _, high in reversed(run)]
            parts.insert(0, Markup('<polygon class="band s{}" points="{}"/>').format(series.colour, " ".join(corners)))
    return Markup("").join(parts)


def _line(series: Series, axis: Axis, height: Height) -> Markup:
    places = [(round(axis.at(p.x), 1), round(height(p.y), 1), p) for p in series.points]
    joined = " ".join(f"{x},{y}" for x, y, _ in places)
    parts = [Markup('<polyline class="line s{}" points="{}"/>').format(series.colour, joined)]
    for x, y, p in places:
        said = f"{series.name}: {p.y:.3g}"
        if p.low is not None and p.high is not None:
            said += f" ({p.low:.3g} to {p.high:.3g})"
        dot = '<circle class="dot s{}" cx="{}" cy="{}" r="3.2" data-value="{}"><title>{}</title></circle>'
        parts.append(Markup(dot).format(series.colour, x, y, repr(p.y), said))
    return Markup("").join(parts)
