"""Vectors of labels, from the embedder that ``labels.embedder`` names."""

from __future__ import annotations

import numpy as np

from concepts.embeddings import load_minilm, load_word2vec
from diffusion.model import embed_labels
from tasks.study import Study, borrowed_model


def label_vectors(study: Study, labels: list[str]) -> np.ndarray:
    """float32 [len(labels), e], not centred.

    ``text_encoder`` is the model's own CLIP text encoder, which every diffusers folder carries.
    """
    settings = study.config.labels
    if settings.embedder == "text_encoder":
        with borrowed_model(study) as model:
            return embed_labels(model, labels)
    embed = load_minilm() if settings.embedder == "minilm" else load_word2vec(settings.word2vec_path)
    return embed(labels)
