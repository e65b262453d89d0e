"""What the overlap sums say about each (concept, label): IoU and its error, lift, chance, false discoveries.

All functions take one label's sums and return arrays over concepts, float64 [C] unless said otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammaincc, gammaln

from concepts.overlap import LEVELS, PAIR_SUMS, SELECTION, OverlapStats

BOTH = (0, 1)
MIN_COMMON = 10  # images that chance gives both, below which two moments say too little of the overlap's tail


class Iou(NamedTuple):
    """IoU pooled over images, S(I) / S(U), and its standard error; both [C]."""

    value: np.ndarray
    error: np.ndarray


class Chance(NamedTuple):
    """Mean and variance, float64 [C] each, of an overlap that is due to chance alone."""

    mean: np.ndarray
    variance: np.ndarray


def pair_sums(stats: OverlapStats, label: str, halves: tuple[int, ...] = BOTH) -> dict[str, np.ndarray]:
    """Name of each pair sum -> int64 [C], over the halves."""
    block = stats.pairs[label][list(halves)].sum(0)
    return dict(zip(PAIR_SUMS, block, strict=True))


def iou_of(stats: OverlapStats, label: str, halves: tuple[int, ...] = BOTH) -> Iou:
    """Pooled over *all* images of the halves: a concept that fires everywhere pays for every image without the label.

    The error is the delta method's with images as the sampling unit, sqrt(S(I^2) - 2 r S(IU) + r^2 S(U^2)) / S(U), from
    sums alone: U = on + label - I, and products with I, or of both, vanish where either is off.
    """
    which, pair = list(halves), pair_sums(stats, label, halves)
    on, on2 = stats.on[which].sum(0), stats.on2[which].sum(0)
    sums = stats.labels[label]
    size, size2 = sums.pixels[which].sum(), sums.pixels2[which].sum()
    union = np.maximum(on + size - pair["inter"], 1)
    inter_union = pair["inter_on"] + pair["inter_label"] - pair["inter2"]
    union2 = on2 + size2 + 2 * pair["on_label"] - 2 * (pair["inter_on"] + pair["inter_label"]) + pair["inter2"]
    iou = pair["inter"] / union
    square = pair["inter2"] - 2 * iou * inter_union + iou**2 * union2
    return Iou(iou, np.sqrt(np.maximum(square, 0.0)) / union)


def copresent_iou(stats: OverlapStats, label: str) -> np.ndarray:
    """Pooled over the images where both are on, NaN without any: a missing detection is no annotated absence."""
    pair = pair_sums(stats, label)
    with np.errstate(invalid="ignore"):
        return pair["inter"] / np.where(pair["union_co"] > 0, pair["union_co"], np.nan)


def expected_inter(stats: OverlapStats, label: str, halves: tuple[int, ...] = BOTH) -> np.ndarray:
    """Intersection if concept and label were independent given the position: sum_p on(p) label(p) / N."""
    which = list(halves)
    images = max(int(stats.images[which].sum()), 1)
    return stats.on_cells[which].sum(0) @ stats.labels[label].cells[which].sum(0) / images


def p_values(stats: OverlapStats, label: str) -> np.ndarray:
    """One-sided p-values, on the selection half, of "concept and label meet no more than chance would have them".

    The smallest of several tests, times their number (Bonferroni). For each of ``LEVELS`` the exact hypergeometric tail
    of the number of images that have the label and, in so many cells, the concept; and ``place_tail``. The first see
    what comes and goes, from a speck to a look; the last sees stuff that is always there and moves.
    """
    pair = pair_sums(stats, label, (SELECTION,))
    images, with_label = int(stats.images[SELECTION]), int(stats.labels[label].images[SELECTION])
    smallest = place_tail(stats, label)
    for level, name in enumerate(PAIR_SUMS[: len(LEVELS)]):
        tail = copresence_tail(pair[name], images, with_label, stats.on_images[SELECTION, level])
        smallest = np.fmin(smallest, tail)
    return np.minimum(1.0, (len(LEVELS) + 1) * smallest)


def place_tail(stats: OverlapStats, label: str) -> np.ndarray:
    """P(an overlap as large or larger), were the label's masks dealt to the images of the selection half anew, [C].

    NaN where fewer than ``MIN_COMMON`` images would have both by chance. The distribution over all permutations of
    the images is taken as the gamma distribution of its exact mean and variance: like an overlap it is never negative
    and leans to the right, where a normal tail would promise too much.
    """
    images = max(int(stats.images[SELECTION]), 1)
    common = stats.on_images[SELECTION, 0] * (int(stats.labels[label].images[SELECTION]) / images)
    tail = np.full(stats.n, np.nan)
    if not (common >= MIN_COMMON).any():
        return tail  # a rare label's, for which the moments would be a third of the labelling's work
    chance = permuted_overlap(stats, label)
    tested = (common >= MIN_COMMON) & (chance.variance > 0)
    mean, variance = chance.mean[tested], chance.variance[tested]
    overlap = pair_sums(stats, label, (SELECTION,))["meeting"][tested]
    tail[tested] = gammaincc(mean**2 / variance, overlap * mean / variance)
    return tail


def permuted_overlap(stats: OverlapStats, label: str) -> Chance:
    """Exact mean and variance of ``meeting`` over all permutations of the label's masks among the selection half.

    With on_i and area_i the vectors over places, the overlap is sum_i <on_i, area_i>. Dealt anew, its mean is that of
    all pairs of images, and its variance is sum_ij <on_i - mean, area_j - mean>^2 / (N - 1) (Hoeffding 1951). That sum
    over pairs is the inner product of the two scatter matrices: no pair of images has to be formed.
    """
    images, sums, places = int(stats.images[SELECTION]), stats.labels[label], stats.places
    on_CQ, area_Q = places.pooled(stats.on_cells[SELECTION]), places.pooled(sums.cells[SELECTION])
    scatter_QQ = (images * sums.products - area_Q[:, None] * area_Q).astype(float)
    product = places.against(on_CQ.astype(float), scatter_QQ, images)  # images^2 times that of the scatter matrices
    return Chance(on_CQ @ area_Q / max(images, 1), product / max(images**2 * (images - 1), 1))


def copresence_tail(both: np.ndarray, images: int, with_label: int, with_concept: np.ndarray) -> np.ndarray:
    """P(at least ``both`` [n] images have concept and label | both margins): the exact hypergeometric tail.

    1 where ``both`` is not above its expectation, which no test would call a discovery. Summed term by term, since
    the terms above the mean fall at least geometrically: above twenty times as fast as scipy's ``hypergeom.sf``, with
    the same result (``benchmarks/by_hand.py``).
    """
    tail = np.ones(len(both))
    above = np.flatnonzero(both * images > with_label * with_concept)
    x, n = both[above].astype(float), with_concept[above].astype(float)
    term = np.exp(_log_choose(with_label, x) + _log_choose(images - with_label, n - x) - _log_choose(images, n))
    total = term.copy()
    live = np.arange(len(above))
    while len(live):
        j, k = x[live], n[live]
        term[live] *= (with_label - j) * (k - j) / ((j + 1) * (images - with_label - k + j + 1))
        x[live] += 1
        total[live] += term[live]
        live = live[term[live] > 1e-14 * total[live]]
    tail[above] = np.minimum(total, 1.0)
    return tail


def _log_choose(n: float | np.ndarray, k: np.ndarray) -> np.ndarray:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def q_values(p: np.ndarray, tests: int) -> np.ndarray:
    """Benjamini-Hochberg q-values of ``p`` [n] among ``tests`` >= n hypotheses, those not listed having p = 1.

    q is the smallest false discovery rate at which the hypothesis is rejected. Overlaps of one image with several
    labels depend positively on each other, the dependence that the procedure allows (Benjamini and Yekutieli 2001).
    Not scipy's ``false_discovery_control``: it would have to be given, and sort, every pair that never met, and its
    last digit is another, which a table's content hash sees.
    """
    if not len(p):
        return np.zeros(0)
    order = np.argsort(p, kind="stable")
    ranked = p[order] * tests / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum.accumulate(ranked[::-1])[::-1]
    return np.minimum(q, 1.0)
