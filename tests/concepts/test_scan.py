"""The passes over codes against dense maps, plain numpy and small cases by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.codes import Codes, CodesOnDisk
from concepts.scan import (
    FINE,
    ConceptScan,
    StrongestImages,
    by_concept,
    example_map,
    find_examples,
    fine_bin,
    scan_concepts,
    scan_ranges,
)

N, GRID, K = 7, (1, 9), 2


def make_codes(rng, images, shard):
    values = (rng.exponential(1.0, (images, 9, K)) * (rng.random((images, 9, K)) < 0.6)).astype(np.float32)
    latents = np.stack([[rng.permutation(N - 1)[:K] for _ in range(9)] for _ in range(images)])  # N - 1 never fires
    ids = list(range(100, 100 + images))
    return [Codes(ids[i : i + shard], values[i : i + shard], latents[i : i + shard]) for i in range(0, images, shard)]


def dense(parts):
    """float32 [images, N, cells]."""
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
def stored(tmp_path):
    def write(parts):
        codes = CodesOnDisk(tmp_path, N)
        for part in parts:
            codes.append(part)
        return codes

    return write


def test_codes_come_back_as_they_were(stored, tmp_path):
    parts = make_codes(np.random.default_rng(0), 10, 4)
    codes = stored(parts)
    assert len(list(tmp_path.iterdir())) == 6 and codes.n_concepts == N
    for _ in range(2):
        again = list(codes)
        assert [found.ids for found in again] == [part.ids for part in parts] and len(parts) == 3
        for found, part in zip(again, parts, strict=True):
            assert np.array_equal(found.values, part.values) and np.array_equal(found.latents, part.latents)
            assert (found.values.dtype, found.latents.dtype) == (np.float32, np.int64)


def test_nothing_stored_is_nothing_read(stored):
    codes = stored([])
    assert list(codes) == []
    found = scan_concepts(codes, GRID).columns()
    assert not found["alive"].any() and (found["density"] == 0).all() and (found["act_mean"] == 0).all()
    assert find_examples(codes, scan_concepts(codes, GRID), 10, 3)["cid"].tolist() == []


def one_cell(peaks, first=0):
    """Each peak an image of one cell, in which concept 0 is on with that strength."""
    values = np.array(peaks, np.float32).reshape(-1, 1, 1)
    return Codes(list(range(first, first + len(peaks))), values, np.zeros(values.shape, np.int64))


def stored_peaks(folder, peaks, first=0):
    codes = CodesOnDisk(folder, 2)
    codes.append(one_cell(peaks, first))
    return codes


def test_statistics_by_hand():
    """Two images of two cells: concept 0 at 4 and 1, then at 3; concept 2 once at 2; concept 1 never."""
    scan = ConceptScan(3, (1, 2))
    values = np.array([[[4, 0], [1, 2]], [[3, 0], [0, 0]]], np.float32)
    codes = Codes([8, 9], values, np.array([[[0, 1], [0, 2]], [[0, 1], [0, 1]]]))
    scan.add_maxima(codes)
    scan.add_images(codes)
    found = scan.columns()
    assert found["cid"].tolist() == [0, 1, 2] and found["alive"].tolist() == [True, False, True]
    assert found["density"].tolist() == [3 / 4, 0, 1 / 4] and found["act_mean"].tolist() == [8 / 3, 0, 2]
    assert found["act_max"].tolist() == [4, 0, 2] and found["n_images"].tolist() == [2, 0, 1]
    assert scan.count2.tolist() == [5, 0, 1] and scan.images == 2
    assert np.argwhere(scan.strengths_CF).tolist() == [[0, 768], [0, 1023], [2, 1023]] and scan.strengths_CF.max() == 1
    assert scan.places.at_cell.tolist() == [[1.75, 0.25], [0, 0], [0, 1]]  # in parts of each concept's maximum


def test_of_one_image_density_is_its_share_of_cells(tmp_path):
    codes = CodesOnDisk(tmp_path, 1)
    codes.append(Codes([4], np.array([[[1], [0], [2], [0], [0]]], np.float32), np.zeros((1, 5, 1), np.int64)))
    assert scan_concepts(codes, (1, 5)).columns()["density"].tolist() == [2 / 5]


def test_a_pickle_among_the_files_of_codes_is_not_read(tmp_path):
    codes = stored_peaks(tmp_path, [1.0])
    np.save(next(tmp_path.glob("*values*")), np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        list(codes)


def test_what_a_concepts_only_image_exceeds_is_in_the_last_bin():
    scan = ConceptScan(2, (1, 1))
    scan.add_maxima(one_cell([0.5]))
    scan.add_images(one_cell([0.5]))
    bins = scan.quantile_bins(5)
    assert bins[0, 1023] == 0 and bins[0, 0] == 4 and not bins[1].any()


def test_the_first_pass_alone_knows_the_maxima(stored):
    parts = make_codes(np.random.default_rng(1), 12, 5)
    scan = scan_ranges(stored(parts), GRID)
    assert np.array_equal(scan.act_max, dense(parts).max((0, 2))) and scan.images == 0 and not scan.count.any()
    assert scan.grid == GRID and scan.n_cells == 9


def test_an_images_codes_by_concept():
    found = by_concept(np.array([5, 2, 5, 2, 7]), np.array([1.0, 4.0, 3.0, 2.0, 6.0]))
    assert found.active.tolist() == [2, 5, 7] and found.peaks.tolist() == [4, 3, 6]
    assert found.order.tolist() == [1, 3, 0, 2, 4] and found.starts.tolist() == [0, 2, 4]
    nothing = by_concept(np.zeros(0, int), np.zeros(0))
    assert found.sums.tolist() == [6, 4, 6] and [len(part) for part in nothing] == [0, 0, 0, 0, 0]


def test_strength_is_known_to_a_part_in_1024():
    assert fine_bin(np.array([0.0, 1 / 1024, 0.5, 1023 / 1024, 1.0])).tolist() == [0, 1, 512, 1023, 1023]
    assert fine_bin(np.array([0.9999 / 1024, 1.9999 / 1024])).tolist() == [0, 1]


def test_deciles_of_ten_images_of_their_own_strength_are_one_each(tmp_path):
    codes = stored_peaks(tmp_path, [0.5, 1.0, 0.1, 0.7, 0.3, 0.9, 0.2, 0.8, 0.4, 0.6], first=30)
    found = find_examples(codes, scan_concepts(codes, (1, 1)), 10, 3)
    assert found["bin"].tolist() == list(range(10)) and found["rank"].tolist() == [0] * 10
    assert found["prompt_id"].tolist() == [31, 35, 37, 33, 39, 30, 38, 34, 36, 32]
    assert found["act_max"] == [np.float32(x / 10) for x in range(10, 0, -1)]


def test_images_of_one_strength_share_the_bin_of_the_strongest_of_them(tmp_path):
    """Fifths of ten images.

    Of the three at 1/2 the second lies at the border of the first fifth, and none is split off; of the six at 1/4 the
    strongest opens the third fifth, and the fourth and the fifth stay empty.
    """
    codes = stored_peaks(tmp_path, [0.25] * 6 + [0.5] * 3 + [1.0])
    scan = scan_concepts(codes, (1, 1))
    found = find_examples(codes, scan, 5, 4)
    rows = list(zip(found["bin"].tolist(), found["rank"].tolist(), found["prompt_id"].tolist(), strict=True))
    assert rows == [(0, 0, 9), (0, 1, 6), (0, 2, 7), (0, 3, 8), (2, 0, 0), (2, 1, 1), (2, 2, 2), (2, 3, 3)]
    # A strength that exactly a tenth of the images exceed opens the next bin.
    assert scan.quantile_bins(10)[0, [1023, 512, 256]].tolist() == [0, 1, 4]
    assert scan.quantile_bins(5)[0, [1023, 512, 256]].tolist() == [0, 0, 2]
    assert scan.quantile_bins(5)[0, 0] == 4  # what all exceed is in the last bin
    assert scan.quantile_bins(5).dtype == np.int8


def test_a_concept_that_never_fires_has_no_examples(tmp_path):
    """Concept 1 of two; and of concept 0, which fires once, one example in the first bin."""
    codes = stored_peaks(tmp_path, [0.5])
    with np.errstate(all="raise"):
        found = find_examples(codes, scan_concepts(codes, (1, 1)), 10, 2)
    assert (found["cid"].tolist(), found["bin"].tolist(), found["rank"].tolist()) == ([0], [0], [0])


def test_codes_of_fewer_images_than_ids_are_refused():
    whole, scan = one_cell([0.5, 1.0]), ConceptScan(2, (1, 1))
    scan.add_maxima(whole)
    with pytest.raises(ValueError, match="shorter"):
        scan.add_images(whole._replace(latents=whole.latents[:1]))
    with pytest.raises(ValueError, match="shorter"):
        StrongestImages(scan, 1, 1).offer(whole._replace(values=whole.values[:1], latents=whole.latents[:1]))


def test_a_stronger_image_takes_the_place_of_the_weakest_and_of_equals_the_latest(tmp_path):
    codes = stored_peaks(tmp_path, [0.5, 0.25, 0.25, 0.75, 0.25, 1.0, 0.75])
    scan = scan_concepts(codes, (1, 1))
    kept = []
    for n in range(1, 8):
        examples = StrongestImages(scan, 1, 3)
        examples.offer(one_cell([0.5, 0.25, 0.25, 0.75, 0.25, 1.0, 0.75][:n]))
        kept.append(examples.columns()["prompt_id"].tolist())
    assert kept == [[0], [0, 1], [0, 1, 2], [3, 0, 1], [3, 0, 1], [5, 3, 0], [5, 3, 6]]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), shard=st.integers(1, 9))
def test_columns_equal_those_of_dense_maps(tmp_path_factory, seed, shard):
    parts = make_codes(np.random.default_rng(seed), 15, shard)
    codes = CodesOnDisk(tmp_path_factory.mktemp("codes"), N)
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


def test_examples_are_the_strongest_of_each_decile(stored):
    """Against sorting all peaks; strengths closer than a fine bin may share a bin, so only clear cases are asked."""
    parts = make_codes(np.random.default_rng(3), 200, 32)
    assert_strongest(stored(parts), dense(parts), 3)


@pytest.mark.parametrize("seed", range(5))
def test_examples_of_few_strengths_are_those_of_the_smallest_ids(stored, seed):
    """A map reaches a quarter, a half, three quarters or the whole of its maximum: most ranks are decided by ties."""
    rng = np.random.default_rng(seed)
    parts = [p._replace(values=(rng.integers(0, 5, p.values.shape) / 4).astype(np.float32)) for p in
             make_codes(rng, 60, 7)]  # fmt: skip
    assert_strongest(stored(parts), dense(parts), 2)


def assert_strongest(codes, maps, per_bin):
    scan = scan_concepts(codes, GRID)
    found = find_examples(codes, scan, bins=10, per_bin=per_bin)
    rows = list(zip(found["cid"], found["bin"], found["rank"], found["prompt_id"], found["act_max"], strict=True))
    assert rows == sorted(rows, key=lambda r: r[:3]) and {int(r[0]) for r in rows} == set(range(N - 1))
    peaks = maps.max(2)
    for cid in range(N - 1):
        on = np.flatnonzero(peaks[:, cid] > 0)
        fine = np.minimum((peaks[on, cid] / scan.act_max[cid] * FINE).astype(int), FINE - 1)
        stronger = np.array([(fine > f).sum() for f in fine])
        bin_of = np.minimum(stronger * 10 // len(on), 9)
        for bin_ in range(10):
            members = on[bin_of == bin_]
            best = sorted(members, key=lambda i: (-peaks[i, cid], i))[:per_bin]
            mine = [r for r in rows if r[0] == cid and r[1] == bin_]
            assert [int(r[3]) - 100 for r in mine] == best
            assert [r[2] for r in mine] == list(range(len(best)))
    for number, (cid, _, _, prompt_id, act_max) in enumerate(rows):
        whole = np.zeros(9, np.float32)
        whole[found["map_indices"][number]] = found["map_values"][number]
        assert np.array_equal(whole, maps[prompt_id - 100, cid]) and act_max == whole.max()
        assert (np.diff(found["map_indices"][number]) > 0).all() and found["map_indices"][number].dtype == np.int32
        assert (found["map_values"][number] > 0).all() and found["grid"][number] == [1, 9]


def test_equally_strong_images_rank_by_their_number(stored):
    values, latents = np.ones((6, 9, K), np.float32), np.tile([0, 1], (6, 9, 1))
    codes = stored([Codes([3, 4, 5, 6, 7, 8], values, latents)])
    found = find_examples(codes, scan_concepts(codes, GRID), bins=10, per_bin=2)
    assert list(found["prompt_id"][found["cid"] == 0]) == [3, 4]


def test_memory_does_not_grow_with_the_images(stored):
    def size(images):
        scan = scan_concepts(stored(make_codes(np.random.default_rng(0), images, 16)), GRID)
        return sum(value.nbytes for value in vars(scan).values() if isinstance(value, np.ndarray))

    assert size(16) == size(160)


def test_a_row_of_an_example_holds_its_map():
    row = {"grid": [2, 3], "map_indices": [1, 5], "map_values": [0.5, 2.0]}
    found = example_map(row)
    assert found.dtype == np.float32 and found.tolist() == [[0.0, 0.5, 0.0], [0.0, 0.0, 2.0]]


@pytest.mark.parametrize("shard", [4, 15])
def test_ranked_by_the_mean_the_widest_image_comes_first(tmp_path_factory, shard):
    """Every concept's images in the order of their means over all positions, from dense maps."""
    parts = make_codes(np.random.default_rng(5), 15, shard)
    codes = CodesOnDisk(tmp_path_factory.mktemp("codes"), N)
    for part in parts:
        codes.append(part)
    scan, maps = scan_concepts(codes, GRID, "mean"), dense(parts)
    found = find_examples(codes, scan, bins=1, per_bin=15)
    assert scan.sum_max == pytest.approx(maps.sum(2).max(0), rel=1e-6)
    differ = 0
    for cid in range(N):
        means = maps[:, cid].mean(1)
        by_mean = [100 + i for i in np.argsort(-means, kind="stable") if means[i] > 0]
        assert found["prompt_id"][found["cid"] == cid].tolist() == by_mean
        by_peak = [100 + i for i in np.argsort(-maps[:, cid].max(1), kind="stable") if means[i] > 0]
        differ += by_peak != by_mean
    assert differ == N - 1  # of each concept that fires


def test_a_faint_concept_all_over_beats_a_bright_spot_by_its_mean(tmp_path):
    codes = CodesOnDisk(tmp_path, 1)
    values = np.array([[[1.0], [0.0], [0.0]], [[0.5], [0.5], [0.5]]], np.float32)
    codes.append(Codes([3, 4], values, np.zeros((2, 3, 1), np.int64)))
    for ranked_by, order in (("peak", [3, 4]), ("mean", [4, 3])):
        found = find_examples(codes, scan_concepts(codes, (1, 3), ranked_by), 1, 2)
        assert found["prompt_id"].tolist() == order
        assert dict(zip(found["prompt_id"].tolist(), found["act_max"], strict=True)) == {3: 1.0, 4: 0.5}
