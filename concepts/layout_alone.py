"""Layouts predicted without a dictionary, from a label's own images: what a method has to beat to show anything.

``position`` looks at nothing but where the label mostly is. ``position_given`` looks at the other nouns of the caption,
``noise_neighbours`` at the images whose initial noise is most like this one's, ``attention`` at where the block attends
to the label's words. The second and third are linear smoothers: the prior, plus a weighted sum of how the masks of the
learning images differ from it. How strongly they smooth is chosen on the learning images, each half of them (even and
odd prompt ids) predicted by the other; of equals the smoothest is taken, which is the prior itself.

Shapes: images learnt from I, images tested J, cells C, features D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from concepts.layout import Masks, Outcome, fit_choice, fit_threshold, ious, position_scores

PENALTIES = (1000.0, 100.0, 30.0, 10.0, 3.0, 1.0)  # of the ridge, in images: a noun in as many counts by half
NEIGHBOURS = (128, 64, 32, 16, 8, 4, 2, 1)

Weigh = Callable[..., np.ndarray]  # (learnt [I, D], tested [J, D], strength) -> [J, I]


def position(learnt: Masks, tested: Masks, cell_pixels: int) -> Outcome:
    """By the label's mean mask alone."""
    prior_C = position_scores(learnt.areas_IC, cell_pixels)
    threshold = fit_threshold(np.broadcast_to(prior_C, learnt.areas_IC.shape), learnt.areas_IC, cell_pixels)
    scores_JC = np.broadcast_to(prior_C, tested.areas_IC.shape)
    return Outcome(threshold, ious(scores_JC, tested.areas_IC, cell_pixels, threshold))


def position_given(
    learnt: Masks, tested: Masks, nouns_ID: np.ndarray, nouns_JD: np.ndarray, cell_pixels: int
) -> Outcome:
    """By the position given what else the caption names: bool [I, D] and [J, D], an image's D possible nouns.

    A ridge regression of every cell's share on the nouns, so that what a rare companion teaches is shrunk to the prior.
    """
    return _smoothed(
        learnt, tested, nouns_ID.astype(float), nouns_JD.astype(float), ridge_weights, PENALTIES, cell_pixels
    )


def noise_neighbours(
    learnt: Masks, tested: Masks, noise_ID: np.ndarray, noise_JD: np.ndarray, cell_pixels: int
) -> Outcome:
    """By the mean mask of the images whose initial noise [I, D] is nearest to that of the image, [J, D]."""
    return _smoothed(learnt, tested, noise_ID, noise_JD, neighbour_weights, NEIGHBOURS, cell_pixels)


def attention(learnt: Masks, tested: Masks, heat_IC: np.ndarray, heat_JC: np.ndarray, cell_pixels: int) -> Outcome:
    """By heat maps of the label's words [I, C] and [J, C], each as a share of its own largest value."""
    scores_IC, scores_JC = _of_largest(heat_IC), _of_largest(heat_JC)
    threshold = fit_threshold(scores_IC, learnt.areas_IC, cell_pixels)
    return Outcome(threshold, ious(scores_JC, tested.areas_IC, cell_pixels, threshold))


def _of_largest(heat_IC: np.ndarray) -> np.ndarray:
    return heat_IC / np.maximum(heat_IC.max(1, keepdims=True), np.finfo(np.float32).tiny)


def ridge_weights(learnt_ID: np.ndarray, tested_JD: np.ndarray, strength: float) -> np.ndarray:
    """[J, I]: what each learning image's deviation adds to a prediction, by ridge regression of that penalty.

    Its intercept is the prior: features are taken as they differ from their mean over the learning images.
    """
    mean_D = learnt_ID.mean(0)
    x_ID, x_JD = learnt_ID - mean_D, tested_JD - mean_D
    return np.linalg.solve(x_ID @ x_ID.T + strength * np.eye(len(x_ID)), x_ID @ x_JD.T).T


def neighbour_weights(learnt_ID: np.ndarray, tested_JD: np.ndarray, strength: int) -> np.ndarray:
    """[J, I]: 1 / ``strength`` for so many learning images of least Euclidean distance, all if there are fewer."""
    nearest = min(strength, len(learnt_ID))
    squared_JI = (learnt_ID**2).sum(1) - 2 * tested_JD @ learnt_ID.T  # but for what all images learnt from share
    chosen_JK = np.argsort(squared_JI, axis=1, kind="stable")[:, :nearest]
    weights_JI = np.zeros(squared_JI.shape)
    np.put_along_axis(weights_JI, chosen_JK, 1.0 / nearest, axis=1)
    return weights_JI


def _smoothed(
    learnt: Masks,
    tested: Masks,
    learnt_ID: np.ndarray,
    tested_JD: np.ndarray,
    weigh: Weigh,
    strengths: Sequence[float],
    cell_pixels: int,
) -> Outcome:
    shares_IC = learnt.areas_IC / cell_pixels
    ways: list[Callable[..., np.ndarray]] = [_unmoved]
    ways += [partial(weigh, strength=strength) for strength in strengths]
    candidates = [_crossed(learnt.prompt_ids, shares_IC, learnt_ID, way) for way in ways]
    best, threshold = fit_choice(candidates, learnt.areas_IC, cell_pixels)
    if best == 0:
        return position(learnt, tested, cell_pixels)
    scores_JC = _smooth(shares_IC, ways[best](learnt_ID, tested_JD))
    return Outcome(threshold, ious(scores_JC, tested.areas_IC, cell_pixels, threshold))


def _unmoved(learnt_ID: np.ndarray, tested_JD: np.ndarray) -> np.ndarray:
    """Weights that leave the prior."""
    return np.zeros((len(tested_JD), len(learnt_ID)))


def _smooth(shares_IC: np.ndarray, weights_JI: np.ndarray) -> np.ndarray:
    prior_C = shares_IC.mean(0)
    return prior_C + weights_JI @ (shares_IC - prior_C)


def _crossed(
    prompt_ids: np.ndarray,
    shares_IC: np.ndarray,
    features_ID: np.ndarray,
    weigh: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Scores [I, C] of the learning images, each half by the other; all by the prior where one half has none."""
    scores_IC = np.tile(shares_IC.mean(0), (len(shares_IC), 1))
    odd = prompt_ids % 2 == 1
    for half in (odd, ~odd):
        if half.any() and not half.all():
            scores_IC[half] = _smooth(shares_IC[~half], weigh(features_ID[~half], features_ID[half]))
    return scores_IC
