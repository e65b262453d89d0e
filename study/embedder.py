"""Vectors of labels, from the embedder that ``labels.embedder`` names."""

from __future__ import annotations

import functools
import threading

import numpy as np

from concepts.embeddings import centre, load_minilm, load_word2vec, unit_rows
from diffusion.settings import ModelSettings
from study.study import Study

_lock = threading.Lock()


def label_vectors(study: Study, labels: list[str]) -> np.ndarray:
    """float32 [len(labels), e], not centred.

    ``text_encoder`` is the model's own CLIP text encoder, which every diffusers folder carries.
    """
    settings = study.config.labels
    if settings.embedder == "text_encoder":
        with _lock:  # every dictionary of a study asks for the same labels: one thread embeds, the others wait
            return _by_text_encoder(study.config.model, study.hash_of("plan"), tuple(labels))
    embed = load_minilm() if settings.embedder == "minilm" else load_word2vec(settings.word2vec_path)
    return embed(labels)


def prepared_vectors(study: Study, labels: list[str]) -> np.ndarray:
    """float [len(labels), e], of length 1, as cosines are formed of them; centred, if the settings say so."""
    if not labels:
        return np.zeros((0, 1), np.float32)
    vectors = label_vectors(study, labels)
    return centre(vectors) if study.config.labels.centred else unit_rows(vectors)


@functools.lru_cache(maxsize=16)  # one a device
def _by_text_encoder(settings: ModelSettings, _plan: str, labels: tuple[str, ...]) -> np.ndarray:
    """The encoder is loaded without the rest of the model, and is gone when the labels are embedded."""
    from diffusion.model import embed_labels, load_text_encoder

    vectors = embed_labels(load_text_encoder(settings), list(labels))
    vectors.flags.writeable = False
    return vectors
