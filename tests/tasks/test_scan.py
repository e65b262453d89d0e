"""The passes over codes against dense maps and plain numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.codes import Codes, SpooledCodes
from tasks.scan import FINE, find_examples, scan_concepts

N, GRID, K = 7, (3, 3), 2


def make_codes(rng, images, shard):
    values = (rng.exponential(1.0, (images, 9, K)) * (rng.random((images, 9, K)) < 0.6)).astype(np.float32)
    latents = np.stack([[rng.permutation(N - 1)[:K] for _ in range(9)] for _ in range(images)])  # N - 1 never fires
    ids = list(range(100, 100 + images))
    return [Codes(ids[i : i + shard], values[i : i + shard], latents[i : i + shard]) for i in range(0, images, shard)]


def dense(parts):
    """float32 [images, N, cells]"""
    maps = []
    for part in parts:
        for values, latents in zip(part.values, part.latents, strict=True):
            image = np.zeros((N, 9), np.float32)
            for cell in range(9):
                for slot in range(K):
                    if values[cell, slot] > 0:
                        image[latents[cell, slot], cell] = values[cell, slot]
            maps.append(image)
    return np.stack(maps)


@pytest.fixture
def spool(tmp_path):
    def write(parts):
        codes = SpooledCodes(tmp_path, N)
        for part in parts:
            codes.append(part)
        return codes

    return write


def test_spooled_codes_come_back_as_they_were(spool):
    parts = make_codes(np.random.default_rng(0), 10, 4)
    for _ in range(2):
        for found, part in zip(spool(parts), parts, strict=True):
            assert found.ids == part.ids
            assert np.array_equal(found.values, part.values) and np.array_equal(found.latents, part.latents)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), shard=st.integers(1, 9))
def test_columns_equal_those_of_dense_maps(tmp_path_factory, seed, shard):
    parts = make_codes(np.random.default_rng(seed), 15, shard)
    codes = SpooledCodes(tmp_path_factory.mktemp("codes"), N)
    for part in parts:
        codes.append(part)
    scan, maps = scan_concepts(codes, GRID), dense(parts)
    found = scan.columns()
    on = maps > 0
    assert np.array_equal(found["alive"], on.any((0, 2)))
    assert found["density"] == pytest.approx(on.mean((0, 2)))
    assert np.array_equal(found["act_max"], maps.max((0, 2)))
    assert np.array_equal(found["n_images"], on.any(2).sum(0))
    assert found["act_mean"] == pytest.approx(maps.sum((0, 2)) / np.maximum(on.sum((0, 2)), 1), rel=1e-6)
    alive = found["alive"]
    scaled = (maps[:, alive] / maps[:, alive].max((0, 2))[None, :, None]).astype(float)
    actual, aligned = (np.square(m.sum(0)).sum(1) for m in (scaled, np.sort(scaled, 2)))
    sums = scaled.sum(2)
    random = np.square(scaled).sum((0, 2)) + (sums.sum(0) ** 2 - np.square(sums).sum(0)) / 9
    expected = np.where(on.any(2).sum(0)[alive] >= 10, (aligned - actual) / (aligned - random), np.nan)
    assert found["context_free_score"][alive] == pytest.approx(expected, nan_ok=True)
    assert np.isnan(found["context_free_score"][~alive]).all()
    assert np.array_equal(scan.count2, (on.sum(2) ** 2).sum(0))


def test_examples_are_the_strongest_of_each_decile(spool):
    """Against sorting all peaks; strengths closer than a fine bin may share a decile, so only clear cases are asked."""
    rng = np.random.default_rng(3)
    parts = make_codes(rng, 200, 32)
    codes = spool(parts)
    scan, maps = scan_concepts(codes, GRID), dense(parts)
    found = find_examples(codes, scan, bins=10, per_bin=3)
    rows = list(zip(found["cid"], found["bin"], found["rank"], found["prompt_id"], found["act_max"], strict=True))
    assert rows == sorted(rows, key=lambda r: r[:3]) and {int(r[1]) for r in rows} == set(range(10))
    peaks = maps.max(2)
    for cid in range(N - 1):
        on = np.flatnonzero(peaks[:, cid] > 0)
        fine = np.minimum((peaks[on, cid] / scan.act_max[cid] * FINE).astype(int), FINE - 1)
        stronger = np.array([(fine > f).sum() for f in fine])
        bin_of = np.minimum(stronger * 10 // len(on), 9)
        for bin_ in range(10):
            members = on[bin_of == bin_]
            best = sorted(members, key=lambda i: (-peaks[i, cid], i))[:3]
            mine = [r for r in rows if r[0] == cid and r[1] == bin_]
            assert [int(r[3]) - 100 for r in mine] == best
            assert [r[2] for r in mine] == list(range(len(best)))
    for number, (cid, _, _, prompt_id, act_max) in enumerate(rows):
        whole = np.zeros(9, np.float32)
        whole[found["map_indices"][number]] = found["map_values"][number]
        assert np.array_equal(whole, maps[prompt_id - 100, cid]) and act_max == whole.max()


def test_equally_strong_images_rank_by_their_number(spool):
    values, latents = np.ones((6, 9, K), np.float32), np.tile([0, 1], (6, 9, 1))
    codes = spool([Codes([3, 4, 5, 6, 7, 8], values, latents)])
    found = find_examples(codes, scan_concepts(codes, GRID), bins=10, per_bin=2)
    assert list(found["prompt_id"][found["cid"] == 0]) == [3, 4]


def test_memory_does_not_grow_with_the_images(spool):
    def size(images):
        scan = scan_concepts(spool(make_codes(np.random.default_rng(0), images, 16)), GRID)
        return sum(value.nbytes for value in vars(scan).values() if isinstance(value, np.ndarray))

    assert size(16) == size(160)
