"""Layout: predict where each label of a prompt will be, from one site's codes, beside baselines and controls.

What the methods are, and their arithmetic, is in ``concepts.layout``. All of them are scored with the dictionary, and
those that read codes again with each control that the study trained, and its own labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from concepts.embeddings import centre
from concepts.layout import BASELINE, Scored, Scorer, fit_labels, layout_rows, predict
from storage.site import Site
from storage.tables import read_table
from study.at import Dictionary
from study.embedder import label_vectors
from study.paths import split_range
from study.publish import publish
from study.reading import image_area, prompts_of, study_labels
from study.saes import HELD, TRAINED, UNTRAINED
from study.study import Study
from vision.words import mentions

KINDS = (TRAINED, *HELD, UNTRAINED)  # of which labelling keeps every pair of concept and label that a method reads


def score_layout(study: Study, site: Site, k: int) -> dict[str, Any]:
    """Fit each method per label on the dictionary split, score on the layout split, write the rows.

    Only labels that the caption names are predicted, as in the paper.
    """
    here = study.at(site, k)
    rows = [row for kind in KINDS if here.has(kind) for row in kind_rows(here, kind)]
    publish(study, "layout", here.name, {"layout_scores": [here.columns | row for row in rows]})
    labels = {row["label"] for row in rows if row["threshold"] is not None}
    return {**here.columns, "labels": len(labels)}


def kind_rows(here: Dictionary, kind: str) -> list[dict[str, Any]]:
    """The rows of one kind of SAE. The position's, which read no SAE and are the same for all, stand under trained."""
    settings, predictor = here.study.config.layout, Predictor(here, kind)
    learning, cell_pixels = predictor.scored("dictionary"), predictor.cell_pixels
    fitted = fit_labels(learning, settings.fit_images, settings.min_images, cell_pixels)
    predicted = predict(predictor.scored("layout"), fitted, cell_pixels)
    rows = layout_rows(predicted, fitted, settings.min_images, settings.bootstrap, here.study.config.seed)
    return [{"kind": kind, **row} for row in rows if kind == TRAINED or row["method"] != BASELINE]


class Predictor:
    """What a study holds about one (site, k) for predicting layouts, by its dictionary or by a control."""

    def __init__(self, here: Dictionary, kind: str = TRAINED) -> None:
        self.here, self.kind, study = here, kind, here.study
        self.sae = here.sae(kind)
        labels = study_labels(study)
        self.image_area = image_area(study)
        self.cell_pixels = self.image_area // (here.grid[0] * here.grid[1])
        vectors = centre(label_vectors(study, labels)) if labels else np.zeros((0, 1))
        self.vectors = dict(zip(labels, vectors, strict=True))
        self.scorer = Scorer(self._label_columns(), self.vectors, self.sae.n, study.config.layout.top_concepts)

    def _label_columns(self) -> dict[str, np.ndarray]:
        names = ["cid", "label", "precision", "n_hit50"]
        filters = [*self.here.filters, ("kind", "==", self.kind)]
        labels = read_table(self.here.study.root, "concept_labels", names, filters)
        return {name: labels[name].to_numpy(zero_copy_only=False) for name in names}

    def scored(self, split: str) -> Iterator[Scored]:
        """Every (prompt, label) of a split that caption and segments both name, unless the label fills the image."""
        start, stop = split_range(self.here.study, split)
        captions = prompts_of(self.here.study, start, stop)["caption"].to_pylist()
        for ids, values, latents in self.here.codes(self.sae, split):
            areas = self.here.areas(ids[0], ids[-1] + 1)
            for row, prompt_id in enumerate(ids):
                named = self._named(captions[prompt_id - start], areas.get(prompt_id, {}))
                if named:
                    yield from self.scorer.score(prompt_id, named, values[row], latents[row])

    def _named(self, caption: str, areas: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            label: area
            for label, area in areas.items()
            if label in self.vectors and mentions(caption, label) and area.sum() < self.image_area
        }
