"""Layouts by a linear probe of each position's features: of the block's activations, or of the initial noise.

A label's probe is a ridge regression of how much of a cell the label covers, around its prior p: a cell's score is
p + sqrt(p) w (x - mean x), the mean being that cell's over images. Whether a cell is covered varies by about sqrt(p),
so that a feature moves little where the label hardly ever is; without weights the score is the position's.

All labels share the covariance of the features within a cell, over all images; only the covariance with the masks is a
label's own. So one pass over the images gives the sums that solve every label at every penalty. Two more passes score:
the learning images, each half (even and odd prompt ids) by the other's probes, which chooses penalty and threshold;
then the images tested.

Shapes: images I, cells C, features F, penalties P.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from concepts.layout import Masks, Outcome, fit_choice, ious, position_scores

PENALTIES = (
    np.inf,
    1000.0,
    100.0,
    10.0,
    1.0,
    0.1,
    0.01,
)  # of features of variance 1; the first: the prior
UNVARIED = 1e-12  # share of the largest variance below which a feature is taken not to vary

Features = Iterable[tuple[Sequence[int], np.ndarray]]  # runs of images: their prompt ids, and features [I, C, F]
Probes = dict[str, "Probe"]


@dataclass(frozen=True)
class Probe:
    """A label's prior float64 [C], its weights [F, P] at every penalty, and the mean features [C, F] of an image."""

    prior_C: np.ndarray
    weights_FP: np.ndarray
    mean_CF: np.ndarray

    def scores(self, x_CF: np.ndarray) -> np.ndarray:
        """[C, P]."""
        return self.prior_C[:, None] + np.sqrt(self.prior_C)[:, None] * ((x_CF - self.mean_CF) @ self.weights_FP)


def probe_layouts(
    learning: Callable[[], Features],
    testing: Callable[[], Features],
    learnt: Mapping[str, Masks],
    tested: Mapping[str, Masks],
    cell_pixels: int,
) -> dict[str, Outcome]:
    """Label -> how well its probe predicts. ``learning`` and ``testing`` give the images' features, anew each time.

    Images without a label of ``learnt`` serve the covariance of the features. Every label is in both mappings.
    """
    *halves, whole = fit_probes(learning(), learnt, cell_pixels)
    chosen = _choose(halves, learning(), learnt, cell_pixels)
    found = {label: np.zeros(len(tested[label].prompt_ids)) for label in chosen}
    for label, row, _, x_CF in _met(testing(), tested):
        best, threshold = chosen[label]
        scores_1C = whole[label].scores(x_CF)[None, :, best]
        found[label][row] = ious(scores_1C, tested[label].areas_IC[row][None], cell_pixels, threshold)[0]
    return {label: Outcome(threshold, found[label]) for label, (_, threshold) in chosen.items()}


def fit_probes(learning: Features, learnt: Mapping[str, Masks], cell_pixels: int) -> tuple[Probes, Probes, Probes]:
    """The probes of the even prompt ids, of the odd ones, and of all. A label is in a half that has an image of it."""
    shares = {label: (masks.prompt_ids, masks.areas_IC / cell_pixels) for label, masks in learnt.items()}
    targets = [_Targets.of(shares, half) for half in (0, 1, None)]
    moments = [_Moments(), _Moments()]
    for ids, x_ICF in learning:
        x_ICF, odd_I = x_ICF.astype(float), np.asarray(ids) % 2 == 1
        for half, of_half in enumerate((~odd_I, odd_I)):
            moments[half].add(x_ICF[of_half])
        for prompt_id, x_CF in zip(ids, x_ICF, strict=True):
            targets[prompt_id % 2].add(prompt_id, x_CF)
            targets[2].add(prompt_id, x_CF)
    even, odd = moments
    first, second, both = (
        found.solved(sums) for found, sums in zip(targets, (even, odd, even.joined(odd)), strict=True)
    )
    return first, second, both


class _Moments:
    """Over images: how many, the sum of their features float64 [C, F], and of the products of these [F, F]."""

    def __init__(self) -> None:
        self.images, self.total_CF, self.product_FF = 0, np.zeros(()), np.zeros(())

    def add(self, x_ICF: np.ndarray) -> None:
        rows = x_ICF.reshape(-1, x_ICF.shape[-1])
        self.images += len(x_ICF)
        self.total_CF = self.total_CF + x_ICF.sum(0)
        self.product_FF = self.product_FF + rows.T @ rows

    def joined(self, other: _Moments) -> _Moments:
        joined = _Moments()
        joined.images = self.images + other.images
        joined.total_CF, joined.product_FF = self.total_CF + other.total_CF, self.product_FF + other.product_FF
        return joined

    @property
    def mean(self) -> np.ndarray:
        """[C, F]."""
        return self.total_CF / max(self.images, 1)

    def covariance(self) -> np.ndarray:
        """[F, F], within cells: every cell is taken as it differs from its mean over the images."""
        mean_CF = self.mean
        return (self.product_FF / max(self.images, 1) - mean_CF.T @ mean_CF) / len(mean_CF)


class _Targets:
    """What some images' masks say: each label's prior, and the sum of its masks' products with the features."""

    def __init__(self, priors: Mapping[str, np.ndarray], pulls: Mapping[int, list[tuple[str, np.ndarray]]]) -> None:
        self.priors, self._pulls = priors, pulls
        self._cross: dict[str, np.ndarray] = {}

    @classmethod
    def of(cls, shares: Mapping[str, tuple[np.ndarray, np.ndarray]], half: int | None) -> _Targets:
        """Of the prompt ids of one parity, or of all."""
        priors: dict[str, np.ndarray] = {}
        pulls: dict[int, list[tuple[str, np.ndarray]]] = {}
        for label, (prompt_ids, shares_IC) in shares.items():
            members = np.full(len(prompt_ids), True) if half is None else prompt_ids % 2 == half
            if not members.any():
                continue
            priors[label] = prior_C = shares_IC[members].mean(0)
            # By these, weights solve the regression of the share's deviation on sqrt(p) x: its right-hand side.
            scale = max(members.sum() * prior_C.sum(), np.finfo(float).tiny)
            pulls_IC = np.sqrt(prior_C) * (shares_IC[members] - prior_C) / scale
            for prompt_id, pull_C in zip(prompt_ids[members].tolist(), pulls_IC, strict=True):
                pulls.setdefault(prompt_id, []).append((label, pull_C))
        return cls(priors, pulls)

    def add(self, prompt_id: int, x_CF: np.ndarray) -> None:
        for label, pull_C in self._pulls.get(prompt_id, ()):
            self._cross[label] = self._cross.get(label, 0.0) + pull_C @ x_CF

    def solved(self, moments: _Moments) -> Probes:
        """Label -> its probe, by ridge regression on features scaled to variance 1."""
        if not self._cross:
            return {}
        covariance_FF, mean_CF = moments.covariance(), moments.mean
        variance_F = np.diag(covariance_FF)
        varied_F = variance_F > UNVARIED * variance_F.max(initial=0.0)
        scale_F = np.where(varied_F, np.sqrt(np.maximum(variance_F, 0.0)), np.inf)
        values_F, vectors_FF = np.linalg.eigh(covariance_FF / np.outer(scale_F, scale_F))
        shrunk_FP = 1.0 / (np.maximum(values_F, 0.0)[:, None] + np.array(PENALTIES))
        probes = {}
        for label, cross_F in self._cross.items():
            rotated_F = vectors_FF.T @ (cross_F / scale_F)
            weights_FP = (vectors_FF @ (rotated_F[:, None] * shrunk_FP)) / scale_F[:, None]
            probes[label] = Probe(self.priors[label], weights_FP, mean_CF)
        return probes


def _choose(
    halves: Sequence[Probes], learning: Features, learnt: Mapping[str, Masks], cell_pixels: int
) -> dict[str, tuple[int, float]]:
    """Label -> penalty's number and threshold of highest mean IoU, where each half is scored by the other.

    A label that one half alone has is scored by its prior, which every penalty then shares.
    """
    scores: dict[str, np.ndarray] = {}
    for label, masks in learnt.items():
        prior_C = position_scores(masks.areas_IC, cell_pixels)
        scores[label] = np.tile(prior_C.astype(np.float32), (len(PENALTIES), len(masks.prompt_ids), 1))
    for label, row, prompt_id, x_CF in _met(learning, learnt):
        other = halves[1 - prompt_id % 2].get(label)
        if other is not None:
            scores[label][:, row] = other.scores(x_CF).T
    return {label: fit_choice(list(scores[label]), masks.areas_IC, cell_pixels) for label, masks in learnt.items()}


def _met(features: Features, masks: Mapping[str, Masks]) -> Iterator[tuple[str, int, int, np.ndarray]]:
    """Every label of every image: its name, the image's row in its masks, the prompt id, features float64 [C, F]."""
    rows: dict[int, list[tuple[str, int]]] = {}
    for label, one in masks.items():
        for row, prompt_id in enumerate(one.prompt_ids.tolist()):
            rows.setdefault(prompt_id, []).append((label, row))
    for ids, x_ICF in features:
        for prompt_id, x_CF in zip(ids, x_ICF, strict=True):
            if prompt_id in rows:
                x_CF = x_CF.astype(float)
                yield from ((label, row, prompt_id, x_CF) for label, row in rows[prompt_id])
