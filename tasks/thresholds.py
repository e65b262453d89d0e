"""Calibrated thresholds of the zero-shot tagger, from a study's own images and captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from study.errors import StudyError
from study.models import backend_of
from study.paths import split_runs
from study.preconditions import require
from study.reading import images_of, prompts_of
from study.study import Study
from vision.tag_thresholds import TagThreshold, fit_thresholds, presence_from_captions
from vision.taggers import ZeroShotTagger
from vision.vocabulary import write_vocabulary


def calibrate_thresholds(study: Study, output: Path, min_positives: int) -> list[TagThreshold]:
    """Choose each label's threshold on the dictionary split and write the vocabulary file ``output``.

    Presence is what the captions name: no annotation is needed, and what a caption leaves out counts as absent, so that
    thresholds come out rather high. Raises ``StudyError`` for a study whose tagger has no scores to cut.
    """
    require(study, "collect")
    tagger = backend_of(study).tagger
    if not isinstance(tagger, ZeroShotTagger):
        raise StudyError(
            "only the zero-shot tagger has thresholds: set vision.backend to transformers and "
            "vision.transformers.tagger to zero-shot"
        )
    if output.exists():
        raise StudyError(f"{output} exists: name another file, so that no vocabulary is overwritten")
    labels = tagger.labels
    scores, present = _scores_and_presence(study, tagger)
    fitted = fit_thresholds(scores, present, labels, min_positives)
    write_vocabulary(output, labels, [one.threshold for one in fitted])
    return fitted


def _scores_and_presence(study: Study, tagger: ZeroShotTagger) -> tuple[np.ndarray, np.ndarray]:
    """Scores float [images, labels] and presence bool [images, labels], a shard of images in memory at a time."""
    scores, present = [], []
    for first, last in split_runs(study, "dictionary"):
        images = images_of(study, first, last)
        scores.append(tagger.scorer.probabilities([images[i] for i in range(first, last)], tagger.labels))
        captions = prompts_of(study, first, last)["caption"].to_pylist()
        present.append(presence_from_captions(captions, tagger.labels))
    return np.concatenate(scores), np.concatenate(present)
