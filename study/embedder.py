"""Vectors of labels, from the embedder that ``labels.embedder`` names."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence

import numpy as np

from concepts.embeddings import Embed, centre, load_minilm, load_word2vec, unit_rows
from diffusion.settings import ModelSettings
from study.config import StudyConfig
from study.study import Study

_lock = threading.Lock()


class Meanings:
    """Labels by what they mean: their vectors, and what any words are embedded by to be compared with them."""

    def __init__(self, config: StudyConfig, labels: Sequence[str]) -> None:
        """Load the embedder of a study's settings, and embed every label once.

        Raises ``ConceptError`` or ``DiffusionError`` where it cannot be loaded, or cannot read a label.
        """
        self._labels = list(labels)
        self._embed = _embedder(config)
        vectors_LE = self._embed(self._labels)
        self._mean_E = vectors_LE.mean(0) if config.labels.centred and self._labels else np.float32(0)
        self._units_LE = unit_rows(vectors_LE - self._mean_E)

    def nearest(self, words: str, n: int) -> list[tuple[str, float]]:
        """The ``n`` labels whose vectors have the largest cosine with that of the words, and that, largest first.

        Centred, where the labels are, by the labels' own mean. Raises as the class does for words it cannot read.
        """
        if not self._labels:
            return []
        unit_E = unit_rows(self._embed([words]) - self._mean_E)[0]
        cosines_L = self._units_LE @ unit_E
        return [(self._labels[i], float(cosines_L[i])) for i in np.argsort(-cosines_L, kind="stable")[:n]]


def _embedder(config: StudyConfig) -> Embed:
    """What embeds any words as the study's labels are embedded, not centred."""
    if config.labels.embedder == "minilm":
        return load_minilm()
    if config.labels.embedder == "word2vec":
        return load_word2vec(config.labels.word2vec_path)
    return _text_encoder(config.model)


def _text_encoder(settings: ModelSettings) -> Embed:
    """The model's own, loaded without the rest of the model."""
    from diffusion.model import embed_labels, load_text_encoder

    return functools.partial(embed_labels, load_text_encoder(settings))


def label_vectors(study: Study, labels: list[str]) -> np.ndarray:
    """float32 [len(labels), e], not centred.

    ``text_encoder`` is the model's own CLIP text encoder, which every diffusers folder carries.
    """
    if study.config.labels.embedder == "text_encoder":
        with _lock:  # every dictionary of a study asks for the same labels: one thread embeds, the others wait
            return _by_text_encoder(study.config.model, study.hash_of("plan"), tuple(labels))
    return _embedder(study.config)(labels)


def prepared_vectors(study: Study, labels: list[str]) -> np.ndarray:
    """float [len(labels), e], of length 1, as cosines are formed of them; centred, if the settings say so."""
    if not labels:
        return np.zeros((0, 1), np.float32)
    vectors = label_vectors(study, labels)
    return centre(vectors) if study.config.labels.centred else unit_rows(vectors)


@functools.lru_cache(maxsize=16)  # one a device
def _by_text_encoder(settings: ModelSettings, _plan: str, labels: tuple[str, ...]) -> np.ndarray:
    """The encoder is gone when the labels are embedded."""
    vectors = _text_encoder(settings)(list(labels))
    vectors.flags.writeable = False
    return vectors
