"""The paper's own measures of a global edit: CLIP's similarity to its words, and LPIPS to the image before."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from storage.tables import read_table
from study.at import Dictionary
from study.errors import StudyError
from study.models import backend_of
from study.saes import TRAINED
from study.study import Study
from vision.perceptual import Perceptual


def words_of(here: Dictionary, target: str, cids: list[int]) -> list[str]:
    """The labels in the concepts' lists, sorted, by whose mean embedding the paper judges; without any, the target."""
    filters = [*here.filters, ("kind", "==", TRAINED), ("paper_assigned", "==", True)]
    rows = read_table(here.study.root, "concept_labels", ["cid", "label"], filters).to_pylist()
    return sorted({row["label"] for row in rows if row["cid"] in cids}) or [target]


def resemblances(
    study: Study, words: list[str], images: list[np.ndarray], before: list[np.ndarray]
) -> list[dict[str, Any]]:
    """``similarity_rise`` and ``lpips`` of each edited image; None where the settings do not ask for one."""
    settings = study.config.interventions
    rises: list[float | None] = [None] * len(images)
    distances: list[float | None] = [None] * len(images)
    if settings.similarity and images:
        judge = backend_of(study).judge
        if not hasattr(judge, "similarity"):
            raise StudyError(
                "interventions.similarity is set, but the judge of this backend compares no words: drop it"
            )
        rises = [
            float(a - b) for a, b in zip(judge.similarity(images, words), judge.similarity(before, words), strict=True)
        ]
    if settings.lpips and images:
        distances = list(_perceptual(settings.lpips, _device(study)).distances(images, before))
    return [{"similarity_rise": r, "lpips": d} for r, d in zip(rises, distances, strict=True)]


@functools.cache  # one a device
def _perceptual(net: str, device: str) -> Perceptual:
    return Perceptual(net, device)


def _device(study: Study) -> str:
    given = study.config.vision.transformers
    return given.device if given else "cpu"
