"""Histograms as inline SVG, drawn by the server: heights by the logarithm of the count, each bar telling its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from markupsafe import Markup

from explorer.words import short

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 30, 40
LEAST = 0.5  # what the axis starts from: a bar of one is to be seen
RULE = Markup('<line class="rule" x1="{}" x2="{}" y1="{}" y2="{}"/>')
RECT = Markup('<rect class="bar{}" x="{}" y="{}" width="{}" height="{}" data-value="{}"><title>{}</title></rect>')
THOUSANDS = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))


@dataclass(frozen=True)
class Bar:
    """How many are above ``low`` and up to ``high``; ``own``: the bar that the page's concept is in."""

    low: float
    high: float
    count: int
    own: bool = False

    @property
    def told(self) -> str:
        """In words, but for what is counted."""
        return f"{short(self.low)} to {short(self.high)}: {self.count:,}"


@dataclass(frozen=True)
class BarChart:
    """``name``: of the horizontal axis; ``counted``: what; ``ticks``: (bars from the left, name)."""

    name: str
    counted: str
    bars: Sequence[Bar]
    ticks: Sequence[tuple[float, str]]

    @property
    def svg(self) -> Markup:
        """The drawing, which says in its label what an eye would take from it."""
        body = Markup("").join([*self._frame(), *self._bars()])
        return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            WIDTH, HEIGHT, self.summary, body
        )

    @property
    def summary(self) -> str:
        """What is drawn, how many in all, and the highest bar."""
        total, highest = sum(bar.count for bar in self.bars), max(self.bars, key=lambda bar: bar.count)
        return f"Histogram of {total:,} {self.counted} by {self.name}; most in {highest.told}"

    def _frame(self) -> list[Markup]:
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts = [_text("", 2, 14, f"{self.counted}, log scale"), _text(" middle", middle, HEIGHT - 5, self.name)]
        for power in range(len(str(self._top))):
            y = self._height(10**power)
            parts += [RULE.format(LEFT, WIDTH - RIGHT, y, y), _text(" end", LEFT - 4, y + 3.5, _rounded(10**power))]
        return parts + [_text(" middle", self._at(place), HEIGHT - 23, name) for place, name in self.ticks]

    def _bars(self) -> list[Markup]:
        parts = []
        for place, bar in enumerate(self.bars):
            if not bar.count:
                continue
            x, y, width = self._at(place), self._height(bar.count), self._at(1) - self._at(0)
            size = round(width - 1, 1), round(HEIGHT - BOTTOM - y, 1)
            kind, told = " own" if bar.own else "", f"{bar.told} {self.counted}"
            parts.append(RECT.format(kind, x, y, *size, bar.count, told))
            if bar.own:
                parts.append(_text(" middle", round(x + width / 2, 1), y - 4, "this"))
        return parts

    @property
    def _top(self) -> int:
        return max(bar.count for bar in self.bars)

    def _at(self, place: float) -> float:
        """Pixels from the left edge of so many bars."""
        return round(LEFT + place / len(self.bars) * (WIDTH - LEFT - RIGHT), 1)

    def _height(self, count: float) -> float:
        """Pixels from the top."""
        share = log10(count / LEAST) / log10(self._top / LEAST)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _text(kind: str, x: float, y: float, said: str) -> Markup:
    return Markup('<text class="tick{}" x="{}" y="{}">{}</text>').format(kind, x, y, said)


def _rounded(value: int) -> str:
    return next((f"{value // unit}{name}" for unit, name in THOUSANDS if value >= unit), str(value))
