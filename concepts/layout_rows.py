"""The rows of ``layout_scores``: every label by every method, and summaries of several labels with differences.

Intervals resample images, all methods by the same draws: differences between methods are paired. Nouns of a caption
that no segment shows are left out of ``iou``, as in the paper, and count as 0 in ``iou_all``.

Shapes: images I, labels L, methods M, resamples S.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from concepts.intervals import TAILS, resampling

Method = tuple[str, str]  # whose codes (a kind of SAE), and the method
ALL_LABELS = "*"  # every image counts once, by the mean over its labels
BY_LABEL = "* by label"  # every label counts once, by the mean over its images
SMALL, LARGE = "* small", "* large"
BASELINES = ("position", "noise")  # what differences are taken to
SMALLEST_GROUP = 2  # labels


@dataclass(frozen=True)
class LabelScores:
    """One label: the images tested, in order; methods -> IoU [I] in each; methods -> threshold.

    ``undetected`` are the images whose captions name it though no segment shows it.
    """

    prompt_ids: Sequence[int]
    undetected: Sequence[int] = ()
    ious: dict[Method, np.ndarray] = field(default_factory=dict)
    thresholds: dict[Method, float] = field(default_factory=dict)

    def take(self, method: Method, threshold: float, ious_I: np.ndarray) -> None:
        """Add what a method gives."""
        self.ious[method], self.thresholds[method] = ious_I, threshold


Scores = Mapping[str, LabelScores]


def layout_rows(
    scores: Scores, groups: Mapping[str, Collection[str]], baselines: Sequence[Method], samples: int, seed: int
) -> list[dict[str, Any]]:
    """The rows but for the site: each label by each method, then summaries with their differences to ``baselines``.

    ``groups``: name of a summary -> the labels whose means over images it gives, beside those over all labels. All
    labels have the same methods.
    """
    rows = [row for label in sorted(scores) for row in _label_rows(label, scores[label], samples, seed)]
    if not scores:
        return rows
    for name, labels in ({ALL_LABELS: scores.keys()} | dict(groups)).items():
        members = {label: scores[label] for label in sorted(labels)}
        rows += _summary_rows(name, members, over_images, baselines, samples, seed)
    return rows + _summary_rows(BY_LABEL, scores, over_labels, baselines, samples, seed)


def size_groups(shares: Mapping[str, float], large: float) -> dict[str, list[str]]:
    """The labels by how much of an image they cover on average: less than ``large``, or as much. None that is empty."""
    small = [label for label, share in shares.items() if share < large]
    groups = {SMALL: small, LARGE: [label for label in shares if label not in set(small)]}
    return {name: labels for name, labels in groups.items() if labels}


def parent_groups(parents: Mapping[str, str]) -> dict[str, list[str]]:
    """The labels by their next broader term, of those that two or more share; ``parents``: label -> term."""
    groups: dict[str, list[str]] = {}
    for label, parent in sorted(parents.items()):
        groups.setdefault(f"* {parent}", []).append(label)
    return {name: labels for name, labels in groups.items() if len(labels) >= SMALLEST_GROUP}


class IoUs:
    """The IoUs of several labels in several images, made for one method at a time."""

    def __init__(self, scores: Scores, undetected: bool) -> None:
        """With ``undetected``, nouns that no segment shows are there with IoU 0."""
        missed = [one.undetected if undetected else () for one in scores.values()]
        ids = {i for one, absent in zip(scores.values(), missed, strict=True) for i in (*one.prompt_ids, *absent)}
        row = {prompt_id: number for number, prompt_id in enumerate(sorted(ids))}
        self._seen = [(one.ious, [row[prompt_id] for prompt_id in one.prompt_ids]) for one in scores.values()]
        self.methods = tuple(self._seen[0][0])
        self.there_IL = np.zeros((len(row), len(scores)), bool)
        for number, ((_, rows), absent) in enumerate(zip(self._seen, missed, strict=True)):
            self.there_IL[rows + [row[prompt_id] for prompt_id in absent], number] = True

    def values(self, method: Method) -> np.ndarray:
        """float64 [I, L]; 0 where there is none."""
        values_IL = np.zeros(self.there_IL.shape)
        for number, (ious, rows) in enumerate(self._seen):
            values_IL[rows, number] = ious[method]
        return values_IL


Summary = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # IoUs, there [I, L], draws [S, I] -> [S]


def over_images(values_IL: np.ndarray, there_IL: np.ndarray, draws_SI: np.ndarray) -> np.ndarray:
    """[S]: mean over images, each drawn so many times, of the mean over an image's labels; every image has one."""
    means_I = values_IL.sum(1) / there_IL.sum(1)
    return draws_SI @ means_I / draws_SI.sum(1)


def over_labels(values_IL: np.ndarray, there_IL: np.ndarray, draws_SI: np.ndarray) -> np.ndarray:
    """[S]: mean over labels of each label's mean over its images; labels of which none was drawn are left out."""
    counts_SL = draws_SI @ there_IL
    means_SL = draws_SI @ values_IL / np.maximum(counts_SL, 1)
    return means_SL.sum(1) / np.maximum((counts_SL > 0).sum(1), 1)


def _label_rows(label: str, scores: LabelScores, samples: int, seed: int) -> Iterator[dict[str, Any]]:
    for row in _summary_rows(label, {label: scores}, over_images, (), samples, seed):
        yield row | {"threshold": scores.thresholds[row["kind"], row["method"]]}


def _summary_rows(
    name: str, scores: Scores, summary: Summary, baselines: Sequence[Method], samples: int, seed: int
) -> list[dict[str, Any]]:
    missed = sum(len(one.undetected) for one in scores.values())
    shown = _summed(IoUs(scores, undetected=False), summary, baselines, samples, seed)
    every = _summed(IoUs(scores, undetected=True), summary, baselines, samples, seed) if missed else shown
    images = len({prompt_id for one in scores.values() for prompt_id in one.prompt_ids})
    return [
        {
            "kind": kind,
            "label": name,
            "method": method,
            "threshold": None,
            **dict(zip(("iou", "iou_ci_low", "iou_ci_high"), shown[kind, method], strict=True)),
            "n": images,
            **dict(zip(("iou_all", "iou_all_ci_low", "iou_all_ci_high"), every[kind, method], strict=True)),
            "n_undetected": missed,
        }
        for kind, method in shown
    ]


def _summed(
    grid: IoUs, summary: Summary, baselines: Sequence[Method], samples: int, seed: int
) -> dict[Method, tuple[float, float, float]]:
    """Method, or difference of two -> its value and the ends of its interval."""
    images = len(grid.there_IL)
    draws_SI = np.concatenate([np.ones((1, images)), resampling(images, samples, seed)])  # first the images as they are
    drawn = {method: summary(grid.values(method), grid.there_IL, draws_SI) for method in grid.methods}
    for baseline in baselines:
        for kind, method in grid.methods:
            if (kind, method) != baseline:
                drawn[kind, f"{method} - {baseline[1]}"] = drawn[kind, method] - drawn[baseline]
    values_MS = np.stack(list(drawn.values()))
    low_M, high_M = np.quantile(values_MS[:, 1:], TAILS, axis=1)
    found = zip(values_MS[:, 0].tolist(), low_M.tolist(), high_M.tolist(), strict=True)
    return dict(zip(drawn, found, strict=True))
