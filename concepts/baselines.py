"""What a dictionary competes with on the bench: classical decompositions, and a probe that is given the labels.

Each is a function from vectors to non-negative features. Methods without a sign of their own (neurons, principal and
independent components) enter with both signs, so that either may be the concept: feature c < C is what is above zero,
C + c what is below.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np

from concepts.errors import ConceptError

Encode = Callable[[np.ndarray], np.ndarray]  # float32 [N, D] -> float32 [N, C], >= 0
NEURONS, PCA, ICA, NMF, PROBE = "neurons", "pca", "ica", "nmf", "probe"
RIDGE = 1e-3  # times the number of vectors
SMALLEST_SCALE = 1e-6  # added to each channel's deviation, for a channel that never moves


def split_signs(transform: Encode) -> Encode:
    """Features [N, 2 C] of a signed transform to [N, C]: what is above zero, then what is below."""

    def encode(x_ND: np.ndarray) -> np.ndarray:
        z_NC = transform(x_ND).astype(np.float32)
        return np.concatenate([np.maximum(z_NC, 0), np.maximum(-z_NC, 0)], 1)

    return encode


def classical(x_ND: np.ndarray, seed: int) -> Iterator[tuple[str, Encode]]:
    """The neurons themselves and as many components as channels of each decomposition, by name, fitted to x.

    Raises ``ConceptError`` where scikit-learn is not installed.
    """
    yield NEURONS, split_signs(centred(x_ND.mean(0)))
    try:
        from sklearn import decomposition
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as error:
        raise ConceptError(
            "concepts bench compares with PCA, ICA and NMF: `pip install 'concept-atlas[bench]'`"
        ) from error
    d = x_ND.shape[1]
    yield PCA, split_signs(decomposition.PCA(d, random_state=seed).fit(x_ND).transform)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a direction that still turns a little is good enough here
        ica = decomposition.FastICA(d, whiten="unit-variance", random_state=seed, max_iter=100).fit(x_ND)
        yield ICA, split_signs(ica.transform)
        split = split_signs(lambda v: v)
        nmf = decomposition.MiniBatchNMF(d, random_state=seed, max_iter=20, batch_size=2048, init="nndsvda")
        nmf.fit(split(x_ND))
        yield NMF, _quietly(lambda v: nmf.transform(split(v)).astype(np.float32))


def centred(mean_D: np.ndarray) -> Encode:
    """The vectors without their mean; signed."""
    return lambda x_ND: x_ND - mean_D


def _quietly(encode: Encode) -> Encode:
    """Without the warning that twenty rounds of a batch have not converged: further ones change little."""

    def quiet(x_ND: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return encode(x_ND)

    return quiet


def fit_probe(x_ND: np.ndarray, truth_NL: np.ndarray) -> Encode:
    """The supervised ceiling: one ridge regression a label, on vectors whose labels bool [N, L] are given to it.

    On standardised channels and a constant, all penalised alike by ``RIDGE`` N. Features are shifted so that the
    smallest of the vectors that it is fitted to is 0; what lies below is cut off. That shift takes the constant out, so
    scikit-learn's ``Ridge`` finds the same; but with other last digits, which a table's content hash sees.
    """
    mean, scale = x_ND.mean(0), x_ND.std(0) + SMALLEST_SCALE
    z = np.concatenate([(x_ND - mean) / scale, np.ones((len(x_ND), 1), np.float32)], 1)
    gram = z.T @ z + RIDGE * len(z) * np.eye(z.shape[1], dtype=np.float32)
    weights = np.linalg.solve(gram, z.T @ truth_NL.astype(np.float32)).astype(np.float32)
    floor = (z @ weights).min(0)

    def encode(v_ND: np.ndarray) -> np.ndarray:
        return np.maximum(((v_ND - mean) / scale) @ weights[:-1] + weights[-1] - floor, 0).astype(np.float32)

    return encode
