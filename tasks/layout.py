"""Layout: predict where each label of a prompt will be, from one site's codes, beside baselines and controls.

What the methods are, and their arithmetic, is in ``concepts.layout``, ``concepts.layout_alone`` and
``concepts.probes``. Those that read codes are scored with the dictionary, and again with each control that the study
trained, and its own labels; those that read none, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from concepts.layout import METHODS, Outcome, Scored, Scorer, fit_labels, predict
from concepts.layout_rows import BASELINES, LabelScores, layout_rows
from sae.model import SAE
from storage.site import Site
from storage.tables import read_table
from study.at import Dictionary
from study.embedder import prepared_vectors
from study.publish import publish
from study.saes import FROZEN_ENCODER, HELD, TRAINED, UNTRAINED
from study.study import Study
from tasks.layout_alone import alone_outcomes
from tasks.nouns import Nouns

KINDS = (TRAINED, *HELD, UNTRAINED)  # of which labelling keeps every pair of concept and label that a method reads
ROUNDING = 1e-5  # of an encoder's entries, which are about 1 over the root of the channels


def score_layout(study: Study, site: Site, k: int) -> dict[str, Any]:
    """Fit each method per label on the dictionary split, score on the layout split, write the rows.

    Only labels that the caption names are predicted, as in the paper.
    """
    here = study.at(site, k)
    nouns = Nouns(here)
    settings, scores = study.config.layout, label_scores(here, nouns)
    baselines = [(TRAINED, method) for method in BASELINES]
    rows = layout_rows(scores, nouns.groups(), baselines, settings.bootstrap, study.config.seed)
    publish(study, "layout", here.name, {"layout_scores": [here.columns | row for row in rows]})
    return {**here.columns, "labels": len(scores)}


def label_scores(here: Dictionary, nouns: Nouns) -> dict[str, LabelScores]:
    """Label -> how well each method predicts it by each kind of SAE. What reads no SAE stands under ``trained``."""
    tested, undetected = nouns.layout.masks, nouns.layout.undetected
    scores = {
        label: LabelScores(tested[label].prompt_ids.tolist(), undetected.get(label, ())) for label in nouns.scored
    }
    for method, outcomes in alone_outcomes(here, nouns):
        for label, outcome in outcomes.items():
            scores[label].take((TRAINED, method), *outcome)
    for kind, source in sources(here).items():
        if kind == source:
            for label, method, outcome in outcomes_by_codes(here, nouns, kind):
                scores[label].take((kind, method), *outcome)
        else:
            for one in scores.values():
                for method in METHODS:
                    one.take((kind, method), one.thresholds[source, method], one.ious[source, method])
    return scores


def sources(here: Dictionary) -> dict[str, str]:
    """Kind -> the kind whose rows it has, mostly its own.

    A frozen encoder gives the untrained one's codes, and with them its labels and layouts, but for roundings.
    """
    found = {kind: kind for kind in (UNTRAINED, TRAINED, *HELD) if here.has(kind)}
    if {UNTRAINED, FROZEN_ENCODER} <= set(found) and _one_encoder(here.sae(UNTRAINED), here.sae(FROZEN_ENCODER)):
        found[FROZEN_ENCODER] = UNTRAINED
    return found


def _one_encoder(one: SAE, other: SAE) -> bool:
    pairs = ((one.W_enc, other.W_enc), (one.b_enc, other.b_enc), (one.b_dec, other.b_dec))
    return type(one) is type(other) and all(torch.allclose(a, b, rtol=0, atol=ROUNDING) for a, b in pairs)


def outcomes_by_codes(here: Dictionary, nouns: Nouns, kind: str) -> Iterator[tuple[str, str, Outcome]]:
    """Label, method and how well it predicts, from the codes of one kind of SAE."""
    settings, predictor = here.study.config.layout, Predictor(here, kind, nouns)
    fitted = fit_labels(predictor.scored("dictionary"), settings.fit_images, settings.min_images, nouns.cell_pixels)
    predicted = predict(predictor.scored("layout"), fitted, nouns.cell_pixels)
    for label in nouns.scored:
        for method in METHODS:
            ious = np.array(predicted[label].ious[method])
            yield label, method, Outcome(fitted[label].thresholds[method], ious)


class Predictor:
    """What a study holds about one (site, k) for predicting layouts, by its dictionary or by a control."""

    def __init__(self, here: Dictionary, kind: str = TRAINED, nouns: Nouns | None = None) -> None:
        self.here, self.kind, study = here, kind, here.study
        self.sae = here.sae(kind)
        self.nouns = Nouns(here) if nouns is None else nouns
        labels = self.nouns.labels
        vectors = prepared_vectors(study, labels)
        self.vectors = dict(zip(labels, vectors, strict=True))
        self.scorer = Scorer(self._label_columns(), self.vectors, self.sae.n, study.config.layout.top_concepts)

    def _label_columns(self) -> dict[str, np.ndarray]:
        names = ["cid", "label", "precision", "n_hit50"]
        filters = [*self.here.filters, ("kind", "==", self.kind)]
        labels = read_table(self.here.study.root, "concept_labels", names, filters)
        return {name: labels[name].to_numpy(zero_copy_only=False) for name in names}

    def scored(self, split: str) -> Iterator[Scored]:
        """Every (prompt, label) of a split that caption and segments both name, unless the label fills the image.

        Of the dictionary split, the first ``layout.fit_images`` of each label.
        """
        areas = {"dictionary": self.nouns.dictionary, "layout": self.nouns.layout}[split].areas
        for ids, values, latents in self.here.codes(self.sae, split):
            for row, prompt_id in enumerate(ids):
                if prompt_id in areas:
                    yield from self.scorer.score(prompt_id, areas[prompt_id], values[row], latents[row])
