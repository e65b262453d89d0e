"""What is edited: the images to be made of a target, and the concepts that carry it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from concepts.settings import REGIONS, LabelSettings

EVERYWHERE = "everywhere"  # the region of a global edit


@dataclass(frozen=True)
class Case:
    """One image to be made: a prompt and, for a spatial edit, the region asked for."""

    prompt_id: int
    caption: str
    seed: int
    region: str


def spatial_cases(
    prompts: Iterable[dict[str, Any]], target: str, most: int, names: Callable[[str, str], bool]
) -> list[Case]:
    """The first ``most`` prompts whose caption names the target, each in every quadrant.

    ``prompts`` have prompt_id, caption and seed; ``names(caption, label)`` says whether a caption has a label.
    """
    fitting = [row for row in prompts if names(row["caption"], target)]
    return _cases(fitting[:most], REGIONS)


def global_cases(
    prompts: Iterable[dict[str, Any]], looks: Sequence[str], most: int, names: Callable[[str, str], bool]
) -> list[Case]:
    """The first ``most`` prompts whose caption names no look at all, each once; arguments as of ``spatial_cases``.

    A prompt with another look than the target's would be asked for two at once.
    """
    fitting = [row for row in prompts if not any(names(row["caption"], look) for look in looks)]
    return _cases(fitting[:most], (EVERYWHERE,))


def _cases(prompts: list[dict[str, Any]], regions: Sequence[str]) -> list[Case]:
    return [Case(row["prompt_id"], row["caption"], row["seed"], region) for row in prompts for region in regions]


def carriers(rows: Iterable[dict[str, Any]], bars: LabelSettings, most: int) -> list[int]:
    """CIDs of a label's highest IoU among those that pass our rule's other bars, best first; ties by CID.

    ``rows`` are the label's in ``concept_labels``, of one SAE. All on the selection half, like the rule itself. The bar
    on the IoU is left out: at t = 1 no concept is purely one object, and edits by the best still work.
    """
    passing = [
        row
        for row in rows
        if row["n_co_selection"] >= bars.assign_images and (row["lift_selection"] or 0.0) >= bars.assign_lift
    ]
    passing.sort(key=lambda row: (-row["iou_selection"], row["cid"]))
    return [row["cid"] for row in passing[:most]]


def all_carriers(rows: Iterable[dict[str, Any]]) -> list[int]:
    """Every CID whose list has the label (the paper's C_o), highest IoU first; ``rows`` as of ``carriers``."""
    listed = [row for row in rows if row["paper_assigned"]]
    return [row["cid"] for row in sorted(listed, key=lambda row: (-row["iou_selection"], row["cid"]))]


def most_similar(embeddings: Mapping[int, np.ndarray], vector: np.ndarray) -> int | None:
    """The CID whose embedding has the largest cosine with ``vector``; ties to the smaller CID, None without any.

    How the paper carries a concept from one time to another (section 5). ``embeddings`` are of one width, none zero.
    """
    if not embeddings:
        return None
    cids = sorted(embeddings)
    matrix_CE = np.stack([embeddings[cid] for cid in cids]).astype(float)
    cosines_C = matrix_CE @ vector / np.linalg.norm(matrix_CE, axis=1)
    return cids[int(cosines_C.argmax())]
