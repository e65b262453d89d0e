"""Layouts predicted without a dictionary: by position, nouns, noise, raw activations, attention if it is asked for.

None of them depends on how an SAE was trained, so that they are worked out once for all its controls.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from concepts.layout import Masks, Outcome
from concepts.layout_alone import attention, noise_neighbours, position, position_given
from concepts.noise_features import neighbourhoods, on_grid
from concepts.probes import Features, probe_layouts
from storage.tables import read_table
from study.at import AtSite
from study.noise import noise_of
from study.paths import split_ids, split_runs
from tasks.nouns import Nouns, Split

Outcomes = dict[str, Outcome]  # by label


def alone_outcomes(here: AtSite, nouns: Nouns) -> Iterator[tuple[str, Outcomes]]:
    """Each method's name, and label -> how well it predicts; every label of ``nouns.scored``."""
    learnt, tested = ({label: split.masks[label] for label in nouns.scored} for split in nouns.splits)
    pixels = nouns.cell_pixels
    yield "position", {label: position(learnt[label], tested[label], pixels) for label in nouns.scored}
    yield "position_given", {label: _given(nouns, label) for label in nouns.scored}
    noise = {name: grid_noise(here, name) for name in ("dictionary", "layout")}
    yield (
        "noise_neighbours",
        {label: _nearest(here, noise, learnt[label], tested[label], pixels) for label in nouns.scored},
    )
    for method, features in (("noise", partial(_around, here, noise)), ("raw", partial(_raw, here))):
        splits = (partial(features, "dictionary"), partial(features, "layout"))
        yield method, probe_layouts(*splits, learnt, tested, pixels)
    if here.study.config.layout.attention and here.site.conditioning == "cond":
        heat = attended_maps(here)
        outcomes = (_attended(heat, label, learnt[label], tested[label], pixels) for label in nouns.scored)
        yield "attention", dict(zip(nouns.scored, outcomes, strict=True))


def attended_maps(here: AtSite) -> dict[tuple[int, str], np.ndarray]:
    """(Prompt id, label) -> where the site's block has attended to the label's words by the site's time, [C]."""
    filters = [("block", "==", here.site.block), ("t", "==", here.site.t)]
    found = read_table(here.study.root, "attention_maps", ["prompt_id", "label", "map"], filters)
    cells = found["map"].combine_chunks().values.to_numpy(zero_copy_only=False).reshape(len(found), -1)
    keys = zip(found["prompt_id"].to_pylist(), found["label"].to_pylist(), strict=True)
    return dict(zip(keys, cells, strict=True))


def _attended(
    heat: dict[tuple[int, str], np.ndarray], label: str, learnt: Masks, tested: Masks, cell_pixels: int
) -> Outcome:
    heat_IC, heat_JC = (
        np.stack([heat[prompt_id, label] for prompt_id in masks.prompt_ids.tolist()]) for masks in (learnt, tested)
    )
    return attention(learnt, tested, heat_IC, heat_JC, cell_pixels)


def _given(nouns: Nouns, label: str) -> Outcome:
    """The other nouns of a caption are the scored labels and those that fill an image, looks among them."""
    others = [other for other in nouns.labels if other != label]
    found = [(split.masks[label], others_named(split, split.masks[label], others)) for split in nouns.splits]
    (learnt, learnt_IO), (tested, tested_JO) = found
    return position_given(learnt, tested, learnt_IO, tested_JO, nouns.cell_pixels)


def others_named(split: Split, masks: Masks, others: list[str]) -> np.ndarray:
    """bool [I, O]: whether the caption of each image names each of ``others``."""
    named = [set(split.named[prompt_id]) for prompt_id in masks.prompt_ids.tolist()]
    return np.array([[other in of_image for other in others] for of_image in named], bool).reshape(
        len(named), len(others)
    )


def grid_noise(here: AtSite, split: str) -> np.ndarray:
    """The initial noise of a split's images on the site's grid, float32 [prompts, L, rows, columns]."""
    runs = split_runs(here.study, split)
    return np.concatenate([on_grid(noise_of(here.study, *run), here.grid).astype(np.float32) for run in runs])


def _nearest(here: AtSite, noise: dict[str, np.ndarray], learnt: Masks, tested: Masks, cell_pixels: int) -> Outcome:
    def rows(split: str, masks: Masks) -> np.ndarray:
        of_label = noise[split][np.searchsorted(split_ids(here.study, split), masks.prompt_ids)]
        return of_label.reshape(len(of_label), -1).astype(float)

    return noise_neighbours(learnt, tested, rows("dictionary", learnt), rows("layout", tested), cell_pixels)


def _around(here: AtSite, noise: dict[str, np.ndarray], split: str) -> Features:
    place = 0
    for first, last in split_runs(here.study, split):
        of_run = noise[split][place : place + last - first]
        yield range(first, last), neighbourhoods(of_run)
        place += last - first


def _raw(here: AtSite, split: str) -> Features:
    for ids, maps in here.maps(split):
        yield ids, maps.reshape(len(ids), -1, maps.shape[-1])
