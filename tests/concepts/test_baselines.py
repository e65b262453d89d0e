"""The bench's competitors on planted directions, sources and factors; the probe against a least-squares solver."""

import sys
import warnings

import numpy as np
import pytest

from concepts.baselines import ICA, NEURONS, NMF, PCA, centred, classical, fit_probe, split_signs
from concepts.errors import ConceptError
from storage.errors import AtlasError


def test_the_positive_side_comes_before_the_negative_one():
    encode = split_signs(lambda x: 2 * x)
    found = encode(np.array([[1.0, -2.0, 0.0], [-0.5, 3.0, 4.0]]))
    assert found.dtype == np.float32
    assert found.tolist() == [[2, 0, 0, 0, 4, 0], [0, 6, 8, 1, 0, 0]]


def test_centred_vectors_have_lost_the_mean_they_were_given():
    assert centred(np.array([1.0, -2.0]))(np.array([[1.0, 1.0], [4.0, -3.0]])).tolist() == [[0, 3], [3, -1]]


@pytest.fixture(scope="module")
def sources():
    """Four independent heavy-tailed sources float32 [2000, 4], of falling scale."""
    drawn = np.random.default_rng(0).laplace(size=(2000, 4))
    return (drawn * [4.0, 3.0, 2.0, 1.0]).astype(np.float32)


def correlations(features: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """[C, S]: of each feature with each source."""
    return np.corrcoef(features.T, sources.T)[: features.shape[1], features.shape[1] :]


def test_every_method_is_non_negative_and_of_its_width(sources):
    found = dict(classical(sources, seed=0))
    assert list(found) == [NEURONS, PCA, ICA, NMF]
    for name, encode in found.items():
        features = encode(sources[:50])
        assert features.shape == (50, 4 if name == NMF else 8) and features.dtype == np.float32
        assert (features >= 0).all() and features.any()


def test_neurons_are_channels_beside_their_mean_of_the_vectors_fitted_to(sources):
    shift = np.array([0, 10, 0, 0])
    encode = dict(classical(sources + shift, seed=0))[NEURONS]
    mean = sources.astype(float).mean(0) + shift
    found = encode(np.array([[1.0, 12.0, -1.0, 0.0]]))[0]
    expected = np.array([1.0, 12.0, -1.0, 0.0]) - mean
    assert found[:4] - found[4:] == pytest.approx(expected, abs=1e-4)
    assert (found[:4] * found[4:] == 0).all()


def test_principal_components_are_the_planted_directions_in_order_of_variance(sources):
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    encode = dict(classical((sources @ rotation).astype(np.float32), seed=0))[PCA]
    features = encode((sources @ rotation).astype(np.float32))
    signed = correlations(features[:, :4] - features[:, 4:], sources)
    assert np.abs(np.diag(signed)).min() > 0.99


def test_independent_components_are_the_sources_whatever_mixed_them(sources):
    """A mixture of unequal norms and no right angles, which principal components cannot undo."""
    mixing = np.array([[1.0, 0.4, 0.0, 0.3], [0.5, 1.0, 0.3, 0.0], [0.0, -0.4, 1.0, 0.2], [0.6, 0.0, 0.2, 2.0]])
    mixed = (sources @ mixing).astype(np.float32)
    found = {name: encode(mixed) for name, encode in classical(mixed, seed=0)}
    best = {name: np.abs(correlations(found[name][:, :4] - found[name][:, 4:], sources)).max(0) for name in (PCA, ICA)}
    assert best[ICA].min() > 0.98 > best[PCA].min()


def test_non_negative_factors_are_parts_of_the_two_signs():
    """Two parts that overlap, one of them below zero: each comes out as a factor of its own."""
    rng = np.random.default_rng(2)
    amounts = rng.exponential(size=(3000, 2)) * (rng.random((3000, 2)) < 0.4)
    parts = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.5]])
    x = (amounts @ parts).astype(np.float32)
    features = dict(classical(x, seed=0))[NMF](x)
    found = correlations(features[:, features.std(0) > 0], amounts)
    assert found.max(0).min() > 0.95


def test_one_seed_gives_one_result_and_no_warning(sources):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        once, again = ({name: encode(sources[:100]) for name, encode in classical(sources, 3)} for _ in range(2))
    assert all(np.array_equal(once[name], again[name]) for name in once)
    other = {name: encode(sources[:100]) for name, encode in classical(sources, 4)}
    assert np.array_equal(once[PCA], other[PCA]) and not np.array_equal(once[ICA], other[ICA])


def test_without_scikit_learn_the_bench_says_what_to_install(sources, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ConceptError, match=r"with PCA, ICA and NMF: `pip install 'concept-atlas\[bench\]'`") as refused:
        list(classical(sources, seed=0))
    assert isinstance(refused.value, AtlasError) and "\n" not in str(refused.value)


def probed(x, truth, penalty, new):
    """Ridge regression in float64 by least squares: the penalty is further rows, its root times each weight."""
    mean, scale = x.mean(0), x.std(0) + 1e-6

    def lifted(v):
        return np.concatenate([(v - mean) / scale, np.ones((len(v), 1))], 1)

    rows = np.concatenate([lifted(x), np.sqrt(penalty) * np.eye(x.shape[1] + 1)])
    wanted = np.concatenate([truth, np.zeros((x.shape[1] + 1, truth.shape[1]))])
    weights = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    return np.maximum(lifted(new) @ weights - (lifted(x) @ weights).min(0), 0)


def test_the_probe_is_a_ridge_regression():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(90, 5)) * [1.0, 20.0, 0.3, 1.0, 1.0] + [0.0, 5.0, -3.0, 0.0, 1.0]
    x[:, 3] = x[:, 0] + 0.1 * x[:, 3]  # two channels that hardly differ: the penalty decides
    truth = np.stack([x[:, 0] > 0.3, x[:, 1] + 10 * x[:, 2] > -20], 1)
    new = np.concatenate([x[:20], 3 * rng.normal(size=(20, 5))])
    x[:, 4] = np.where(np.arange(90) % 2, 1e-6, -1e-6)  # one that hardly moves at all
    new[:, 4] = 0.0
    found = fit_probe(x.astype(np.float32), truth)(new.astype(np.float32))
    assert found.dtype == np.float32 and (found == 0).any() and (found >= 0).all()
    assert found == pytest.approx(probed(x, truth, 0.09, new), abs=2e-4)


def test_the_probe_finds_what_is_linear_and_bears_a_channel_that_never_moves():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    x[:, 1] = 0.5
    truth = (x[:, 0] - x[:, 2] > 0)[:, None]
    found = fit_probe(x, truth)(x)[:, 0]
    assert np.isfinite(found).all() and found.min() == pytest.approx(0.0, abs=1e-6)  # but for a rounding
    assert found[truth[:, 0]].mean() - found[~truth[:, 0]].mean() > 0.5
