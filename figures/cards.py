"""A concept's card: its labels with their evidence, what it is like, and example images of every strength.

The card is laid out in inches from its top left corner, so that nothing overlaps however long the texts are.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap

from figures.sheet import Sheet
from figures.style import GREY, in_our_style, save

PICTURE, PAIR_GAP, SLOT_GAP, ROW = 0.92, 0.03, 0.2, 1.26  # inches
MARGIN, HEADER, PANEL, ROW_LABEL = 0.25, 0.72, 3.75, 1.0
GRID_TOP = 0.36  # below the header: the grid's own headline
CAPTION_WIDTH, LABEL_WIDTH, FACT_WIDTH = 35, 19, 26  # characters
LINE = 0.185
DIM = "#555555"
# Without inferno's black: the weakest activation must show on a dark image.
HEAT = LinearSegmentedColormap.from_list("heat", colormaps["inferno"](np.linspace(0.3, 1.0, 256)))


@dataclass(frozen=True)
class MappedImage:
    """image uint8 [H, W, 3]; heat float [rows, columns], the concept's activation in each cell; the image's caption."""

    image: np.ndarray
    heat: np.ndarray
    caption: str


@dataclass(frozen=True)
class LabelLine:
    """A label and its evidence; None where the held-out half has no image."""

    name: str
    iou_selection: float
    iou_heldout: float | None
    iou_heldout_se: float | None
    q_value: float
    assigned: bool
    paper_assigned: bool


@dataclass(frozen=True)
class Card:
    """What a card shows. ``bins``: quantile bin (0 = strongest) -> examples; ``n_bins`` such bins there are.

    ``act_max``, the concept's largest activation, is the top of the colour scale; ``colour`` is RGB, 0 to 255.
    """

    title: str
    subtitle: str
    act_max: float
    n_bins: int
    bins: dict[int, list[MappedImage]]
    labels: list[LabelLine] = field(default_factory=list)
    more_labels: int = 0
    facts: list[tuple[str, str]] = field(default_factory=list)
    colour: tuple[float, float, float] | None = None


@in_our_style
def concept_card(card: Card, path: Path) -> Path:
    """Draw the card as a PNG. A concept without examples gets its facts and a sentence in their place."""
    columns = max((len(examples) for examples in card.bins.values()), default=1)
    rows = sorted(card.bins)
    panel = _panel_height(card)
    sheet = Sheet(
        width=MARGIN + PANEL + 0.35 + ROW_LABEL + columns * (2 * PICTURE + PAIR_GAP + SLOT_GAP),
        height=HEADER + max(panel, ROW * len(rows) + GRID_TOP) + MARGIN,
    )
    sheet.text(MARGIN, 0.18, shortened(card.title, 70), size=14, weight="bold")
    sheet.text(MARGIN, 0.45, card.subtitle, size=9, color=DIM)
    _draw_panel(sheet, card)
    left = MARGIN + PANEL + 0.35
    if rows:
        sheet.text(
            left, HEADER + 0.1, "Images by how strongly it fires at its peak, beside each its map", weight="bold"
        )
    else:
        sheet.text(left, HEADER + 0.1, "It never fires on the dictionary split,\nso there is no example.", color=DIM)
    for number, bin_ in enumerate(rows):
        _draw_bin(sheet, card, bin_, left, HEADER + GRID_TOP + ROW * number)
    return save(sheet.figure, path)


def _draw_bin(sheet: Sheet, card: Card, bin_: int, left: float, top: float) -> None:
    """One row: the examples of a quantile bin, each the image and, beside it, the map over it."""
    examples = card.bins[bin_]
    sheet.text(left, top + 0.28, quantile_name(bin_, card.n_bins), weight="bold")
    peaks = sorted(float(example.heat.max()) for example in examples)
    sheet.text(left, top + 0.28 + LINE, f"peak {number(peaks[-1])}", size=7, color=DIM)
    for slot, example in enumerate(examples):
        x = left + ROW_LABEL + slot * (2 * PICTURE + PAIR_GAP + SLOT_GAP)
        height, width = (PICTURE * side / max(example.image.shape[:2]) for side in example.image.shape[:2])
        sheet.picture(x, top, width, height, example.image)
        sheet.picture(x + PICTURE + PAIR_GAP, top, width, height, overlay(example.image, example.heat, card.act_max))
        sheet.text(x, top + PICTURE + 0.04, caption_lines(example.caption), size=6.3, color="#333333", linespacing=1.1)


def overlay(image: np.ndarray, heat: np.ndarray, act_max: float) -> np.ndarray:
    """float [H, W, 3] in [0, 1]: the image, greyed, under the cells where the concept is on (nearest upsampling).

    Colours run from just above 0 to ``act_max``, so that pictures of one concept compare.
    """
    (height, width), (rows, columns) = image.shape[:2], heat.shape
    share = image.astype(float) / 255
    base = 0.7 * share.mean(-1, keepdims=True) + 0.3 * share
    cells = heat[np.ix_(np.arange(height) * rows // height, np.arange(width) * columns // width)]
    coloured = HEAT(np.clip(cells / max(act_max, 1e-12), 0, 1))[..., :3]
    return np.where((cells > 0)[..., None], 0.28 * base + 0.72 * coloured, base)


def _panel_height(card: Card) -> float:
    lines = len(card.labels) + (card.more_labels > 0) + len(card.facts) + (card.colour is not None)
    return LINE * (lines + 9) + 1.1


def _draw_panel(sheet: Sheet, card: Card) -> None:
    y = _draw_labels(sheet, card, HEADER + 0.1)
    y = _draw_facts(sheet, card, y + 0.25)
    if card.bins:
        _draw_scale(sheet, card, y + 0.25)


def _draw_labels(sheet: Sheet, card: Card, y: float) -> float:
    """The table of labels; returns where it ends."""
    stops = (("IoU, chosen", 1.78), ("held out ± SE", 2.62), ("q", 3.05), ("ours", 3.35), ("paper", PANEL))
    sheet.text(MARGIN, y, "label", weight="bold")
    for name, stop in stops:
        sheet.text(MARGIN + stop, y, name, weight="bold", ha="right")
    sheet.line(MARGIN, y + LINE - 0.03, PANEL, GREY)
    y += 0.04
    if not card.labels:
        sheet.text(MARGIN, y + LINE, "no label overlaps its maps", color=DIM)
        return y + 2 * LINE
    for label in card.labels:
        y += LINE
        weight = "bold" if label.assigned else "normal"
        sheet.text(MARGIN, y, shortened(label.name, LABEL_WIDTH), weight=weight)
        heldout = "–" if label.iou_heldout is None else f"{label.iou_heldout:.2f} ± {label.iou_heldout_se:.2f}"
        marks = ("✓" if label.assigned else "", "✓" if label.paper_assigned else "")
        cells = (f"{label.iou_selection:.2f}", heldout, small(label.q_value), *marks)
        for (_, stop), cell in zip(stops, cells, strict=True):
            sheet.text(MARGIN + stop, y, cell, ha="right")
    y += LINE
    if card.more_labels:
        sheet.text(MARGIN, y, f"and {card.more_labels} more that overlap less", color=DIM)
        y += LINE
    sheet.text(MARGIN, y, "ours, paper: which of the two rules takes the label", size=6.3, color=DIM)
    return y + LINE


def _draw_facts(sheet: Sheet, card: Card, y: float) -> float:
    """Names and values, then the patch of colour; returns where they end."""
    for name, value in card.facts:
        sheet.text(MARGIN, y, name, color=DIM)
        sheet.text(MARGIN + PANEL, y, shortened(value, FACT_WIDTH), ha="right")
        sheet.line(MARGIN, y + LINE - 0.03, PANEL)
        y += LINE
    if card.colour is not None:
        rgb = tuple(round(v) for v in card.colour)
        sheet.text(MARGIN, y, "mean colour below it", color=DIM)
        sheet.text(MARGIN + PANEL, y, "#{:02x}{:02x}{:02x}".format(*rgb), ha="right")
        sheet.patch(MARGIN + PANEL - 1.0, y - 0.005, 0.4, 0.12, tuple(v / 255 for v in rgb))
        y += LINE
    return y


def _draw_scale(sheet: Sheet, card: Card, y: float) -> None:
    sheet.text(MARGIN, y, "activation in the maps on the right", color=DIM)
    sheet.picture(MARGIN, y + 0.2, PANEL, 0.1, np.linspace(0, 1, 256)[None], cmap=HEAT)
    sheet.text(MARGIN, y + 0.33, "> 0", size=7)
    sheet.text(MARGIN + PANEL, y + 0.33, f"{number(card.act_max)} (its maximum)", size=7, ha="right")


def quantile_name(bin_: int, n_bins: int) -> str:
    """Which part of a concept's images a bin holds, in words."""
    low, high = 100 * bin_ / n_bins, 100 * (bin_ + 1) / n_bins
    return f"strongest {high:.3g} %" if bin_ == 0 else f"{low:.3g} to {high:.3g} %"


def caption_lines(caption: str, width: int = CAPTION_WIDTH, lines: int = 2) -> str:
    """A caption in at most so many lines of that many characters, cut with an ellipsis."""
    return "\n".join(textwrap.wrap(caption, width, max_lines=lines, placeholder=" …"))


def shortened(text: str, width: int) -> str:
    """At most ``width`` characters, an ellipsis for the rest."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def number(value: float) -> str:
    """Three digits, without an exponent where a person would write none."""
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1000 or value == 0 else f"{value:.1e}"


def small(value: float) -> str:
    """A q-value: two decimals, or its power of ten."""
    return f"{value:.2f}" if value >= 0.01 else "<1e-99" if value < 1e-99 else f"{value:.0e}"
