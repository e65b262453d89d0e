"""The study's pictures: images with their masks, maps, layouts and edits, in rows and columns.

Images are uint8 [H, W, 3]; masks bool [H, W]; heat float [rows, columns].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from figures.cards import caption_lines, overlay
from figures.sheet import Sheet
from figures.style import BLUE, in_our_style, save

GAP, LINE = 0.04, 0.14  # inches, between pictures, and of a line of text
LEGEND_COLUMNS, LEGEND_ROW = 9, 0.2


@dataclass(frozen=True)
class _Grid:
    """Pictures of one size on a sheet, in rows and columns. In inches: ``side`` is a picture's width.

    ``above`` is left free over every row, for its titles; ``left``, ``right`` and ``below`` at the edges of all.
    """

    rows: int
    columns: int
    side: float
    shape: tuple[int, ...]  # [H, W, ...] of what is shown
    above: float = 0.0
    left: float = 0.0
    right: float = 0.0
    below: float = 0.0

    @property
    def height(self) -> float:
        return self.side * self.shape[0] / self.shape[1]

    def sheet(self) -> Sheet:
        return Sheet(
            width=self.left + self.columns * (self.side + GAP) + self.right,
            height=self.rows * (self.above + self.height + GAP) + self.below,
        )

    def at(self, row: int, column: int) -> tuple[float, float, float, float]:
        """The box of a picture: its left and top edge, its width and height."""
        x = self.left + column * (self.side + GAP)
        return x, row * (self.above + self.height + GAP) + self.above, self.side, self.height


@in_our_style
def images_and_masks(items: list[dict[str, Any]], path: Path) -> Path:
    """Columns of {image, caption, masks: label -> mask}: the image above its masks, one colour a label."""
    labels = sorted({label for item in items for label in item["masks"]})
    palette = colormaps["tab20"](np.arange(max(len(labels), 1)) % 20)[:, :3]
    captions, below = 3 * LINE, LEGEND_ROW * -(-len(labels) // LEGEND_COLUMNS) + 0.1
    grid = _Grid(2, len(items), 1.35, items[0]["image"].shape, below=below + captions)
    sheet = grid.sheet()
    for column, item in enumerate(items):
        sheet.picture(*grid.at(0, column), item["image"])
        canvas = np.ones((*item["image"].shape[:2], 3))
        # Large masks first, so that small things stay visible.
        for label, mask in sorted(item["masks"].items(), key=lambda pair: -pair[1].sum()):
            canvas[mask] = palette[labels.index(label)]
        x, y, side, height = grid.at(1, column)
        sheet.picture(x, y, side, height, canvas)
        sheet.text(x, y + height + 0.03, caption_lines(item["caption"], 24, 3), size=7)
    handles = [Rectangle((0, 0), 1, 1, color=palette[i]) for i in range(len(labels))]
    if labels:
        columns = min(len(labels), LEGEND_COLUMNS)
        sheet.figure.legend(handles, labels, loc="lower center", ncol=columns, frameon=False, fontsize=8)
    return save(sheet.figure, path)


@in_our_style
def concept_cards(cards: list[dict[str, Any]], path: Path, columns: list[str] | None = None) -> Path:
    """Rows of {title, examples: [(image, heat)]}: images with a concept's map over them, ``columns`` named below.

    Heat is scaled by the row's largest value, so that maps of one concept compare.
    """
    width = max(len(card["examples"]) for card in cards)
    shape = cards[0]["examples"][0][0].shape
    grid = _Grid(len(cards), width, 1.1, shape, above=0.22, below=0.15)
    sheet = grid.sheet()
    for row, card in enumerate(cards):
        top = max(float(heat.max()) for _, heat in card["examples"])
        for column, (image, heat) in enumerate(card["examples"]):
            sheet.picture(*grid.at(row, column), overlay(image, heat, top))
        _title(sheet, grid, row, card["title"])
    for column, name in zip(range(width), columns or [], strict=False):
        _below(sheet, grid, column, name)
    return save(sheet.figure, path)


@in_our_style
def concepts_through_time(items: list[dict[str, Any]], path: Path) -> Path:
    """One concept a row: for a few images, the image and the concept's map at each time, and its IoU over time.

    Items: {title, times, examples: [(image, {t: heat})], iou: {t: float}}. Heat is scaled by the
    row's largest value, so that maps of one row compare.
    """
    times = items[0]["times"]
    group = 1 + len(times)  # an image and its maps
    shown = max(len(item["examples"]) for item in items)
    grid = _Grid(len(items), shown * group, 0.9, items[0]["examples"][0][0].shape, above=0.22, right=2.0, below=0.35)
    sheet = grid.sheet()
    for row, item in enumerate(items):
        top = max(float(heat.max()) for _, maps in item["examples"] for heat in maps.values())
        for number, (image, maps) in enumerate(item["examples"]):
            sheet.picture(*grid.at(row, number * group), image)
            for offset, t in enumerate(times, start=1):
                sheet.picture(*grid.at(row, number * group + offset), overlay(image, maps[t], top))
        _title(sheet, grid, row, item["title"])
        x, y, side, height = grid.at(row, grid.columns)
        _iou_over_time(sheet.axes(x + 0.1, y, 1.6 * side, height), item, last=row == len(items) - 1)
    for number in range(shown):
        for offset, t in enumerate(times, start=1):
            _below(sheet, grid, number * group + offset, f"t={t:.2f}")
    return save(sheet.figure, path)


def _iou_over_time(axis: Axes, item: dict[str, Any], last: bool) -> None:
    times = item["times"]
    axis.plot(times, [item["iou"].get(t, 0.0) for t in times], "-o", ms=3)
    axis.invert_xaxis()
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 1])
    axis.yaxis.tick_right()
    axis.tick_params(labelsize=6)
    axis.set_xticks(times if last else [])
    if last:
        axis.set_xlabel("held-out IoU over t", fontsize=7)


@in_our_style
def layouts(items: list[dict[str, Any]], path: Path) -> Path:
    """Columns of {image, label, truth, predictions: t -> bool grid}: predicted masks beside the truth."""
    times = sorted({t for item in items for t in item["predictions"]}, reverse=True)
    grid = _Grid(2 + len(times), len(items), 1.1, items[0]["image"].shape, left=0.2)
    grid_top = 0.2  # for the labels, over the first row
    sheet = Sheet(grid.sheet().width, grid.sheet().height + grid_top)
    for column, item in enumerate(items):
        shown = [(item["image"], {}), (item["truth"], _scale("Greys"))]
        shown += [(item["predictions"][t], _scale("Blues")) for t in times]
        for row, (picture, scale) in enumerate(shown):
            x, y, side, height = grid.at(row, column)
            sheet.picture(x, y + grid_top, side, height, picture, **scale)
            if row:
                sheet.box(x, y + grid_top, side, height)
        x, _, side, _ = grid.at(0, column)
        sheet.text(x + side / 2, 0.03, item["label"], ha="center")
    _name_rows(sheet, grid, ["final image", "its mask", *(f"predicted, t={t:.2f}" for t in times)], grid_top)
    return save(sheet.figure, path)


def _scale(colours: str) -> dict[str, Any]:
    return {"cmap": colours, "vmin": 0, "vmax": 1}


@in_our_style
def interventions(items: list[dict[str, Any]], path: Path) -> Path:
    """Columns of {title, before, edited, control, region (bool mask or None)}."""
    titles = 0.05 + LINE * max(1 + item["title"].count("\n") for item in items)
    grid = _Grid(3, len(items), 1.25, items[0]["before"].shape, left=0.2, below=0.25)
    sheet = Sheet(grid.sheet().width, grid.sheet().height + titles)
    for column, item in enumerate(items):
        for row, key in enumerate(("before", "edited", "control")):
            x, y, side, height = grid.at(row, column)
            sheet.picture(x, y + titles, side, height, item[key])
            if item["region"] is not None and row:
                sheet.outline(x, y + titles, side, height, item["region"], BLUE)
        x, _, side, _ = grid.at(0, column)
        sheet.text(x + side / 2, 0, item["title"], ha="center")
    _name_rows(sheet, grid, ["before", "by concepts", "random direction"], titles)
    note = "cases picked by their number alone, among those that the image before does not fulfil"
    sheet.text(sheet.width / 2, sheet.height - 0.2, note, size=8, ha="center")
    return save(sheet.figure, path)


def _title(sheet: Sheet, grid: _Grid, row: int, text: str) -> None:
    """Over a row, from its left edge."""
    x, y, _, _ = grid.at(row, 0)
    sheet.text(x, y - LINE - 0.01, text, size=8)


def _below(sheet: Sheet, grid: _Grid, column: int, text: str) -> None:
    """Under a column."""
    x, y, side, height = grid.at(grid.rows - 1, column)
    sheet.text(x + side / 2, y + height + 0.03, text, size=7, ha="center")


def _name_rows(sheet: Sheet, grid: _Grid, names: list[str], top: float) -> None:
    """Along the left edge of each row, from bottom to top."""
    for row, name in enumerate(names):
        x, y, _, height = grid.at(row, 0)
        sheet.text(x - 0.12, y + top + height / 2, name, va="center", ha="center", rotation=90)
