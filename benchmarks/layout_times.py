"""Draws how much of a layout a block's codes tell beyond the initial noise, at every time of a study.

    concepts layout configs/layouts.yaml --root runs/layouts     # after collect, train and label
    python -m benchmarks.layout_times runs/layouts layout_times.png

Small labels alone: sky and ground are found by position, and would hide what happens to objects.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from concepts.layout_rows import SMALL
from figures.temporal import layout_over_time
from storage.tables import read_table
from study.opening import recorded_study
from study.saes import TRAINED


def points(root: str | Path, method: str) -> list[dict[str, Any]]:
    """Rows of ``layout_scores`` of a difference, small labels together, blocks in the configuration's order."""
    config = recorded_study(root).config
    filters = [("label", "==", SMALL), ("kind", "==", TRAINED), ("method", "==", method), ("k", "==", config.sae.k[0])]
    columns = ["conditioning", "block", "t", "iou", "iou_ci_low", "iou_ci_high"]
    rows = read_table(root, "layout_scores", columns, filters).to_pylist()
    halves, blocks = config.sites.conditionings, list(config.sites.blocks)
    return sorted(rows, key=lambda r: (halves.index(r["conditioning"]), blocks.index(r["block"]), -r["t"]))


def main(argv: list[str] | None = None) -> int:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="the study's folder")
    parser.add_argument("picture", type=Path, help="the PNG to be written")
    parser.add_argument("--method", default="posterior - noise", help="the difference that is drawn")
    options = parser.parse_args(argv)
    rows = points(options.root, options.method)
    if not rows:
        print(f"{options.root} has no {options.method!r} of {SMALL!r} in layout_scores: run `concepts layout` first")
        return 2
    layout_over_time(rows, options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
