"""Pictures of a label's layouts: images of the layout split, the masks in them, and what codes predict at each time.

Which images and dictionaries is said here; masks and cells are asked for by the page's script once they are in sight.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from explorer.addresses import At
from explorer.figure import Row, places
from explorer.missing import images_of
from explorer.source import Source

SHOWN = 4  # images


def predicted(source: Source, label: str, k: int, learnt: list[Row]) -> dict[str, Any] | None:
    """What the template shows; None where no layout of the label was learnt or no image of the layout split shows it.

    ``learnt``: the label's rows of ``layout_scores`` whose method is ``evidence``, which has a threshold.
    """
    there = {(row["block"], row["conditioning"]) for row in learnt if row["threshold"] is not None}
    images = first_images(source, label)
    if not there or not images:
        return None
    times = sorted({site.t for site in source.atlas.sites}, reverse=True)
    return {
        "images": images,
        "times": times,
        "places": [
            {"name": f"{block}, {conditioning}", "paths": [At(block, t, conditioning, k).path for t in times]}
            for block, conditioning in places(source)
            if (block, conditioning) in there
        ],
    }


def all_first_images(source: Source, labels: list[str]) -> list[int]:
    """Those of several labels, each once, in the order of their numbers."""
    return sorted({number for label in labels for number in first_images(source, label)})


def first_images(source: Source, label: str) -> list[int]:
    """The first images of the layout split that show a label, by their numbers."""
    ids = source.arrow("prompts", ["prompt_id"], split="layout")["prompt_id"].to_numpy()
    shown = np.asarray(images_of(source, label), np.int64)
    return [int(number) for number in shown[np.isin(shown, ids)][:SHOWN]]
