"""The steps of segmenting over a shard, against brute force on a backend of known masks."""

import json
from pathlib import Path

import numpy as np
import pytest

from storage.activations import ActivationStore
from storage.errors import StorageError
from storage.images import encode_png
from storage.records import read_record
from storage.tables import part_path, read_table
from study.config import load_config
from study.errors import StudyError
from study.paths import shard_name
from study.publish import lacking, read_shards
from study.reading import cell_colours, label_areas, label_masks
from study.study import Study
from tasks import segment
from tasks.segment import areas_of_shard, detect_shard, segment_shard, segmented_ids, tag_shard
from tests.parts import add_part, make_old
from tests.paths import ROOT
from vision.ceiling import iou_ceiling
from vision.types import Backend, Box, Segment, Tag

SIZE = 24
GRIDS = {"mid": (4, 4), "up": (8, 6)}
SPLITS = {"train": 5, "dictionary": 12, "layout": 4, "style": 3}  # ids 5 to 20 in shards of 8: 0, 1 and 2


class Known:
    """Two boxes at random places for each tag, and the ellipses in them; images of ids divisible by 5 show nothing."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.seen: dict[str, list] = {"tags": [], "boxes": []}

    def tag(self, images, captions):
        self.calls.append("tag")
        numbers = [int(caption.split()[-1]) for caption in captions]
        return [[] if n % 5 == 0 else [Tag("sun", 0.5), Tag("hill", 0.25), Tag("sun", 0.75)] for n in numbers]

    def detect(self, images, tags):
        self.calls.append("detect")
        self.seen["tags"] += tags
        return [
            [
                Box(tag.label, 0.5, tag.score, (float(x), float(y), float(x + 9), float(y + 7)))
                for tag in of_image
                for x, y in self._corners(image, tag.label)
            ]
            for image, of_image in zip(images, tags, strict=True)
        ]

    def _corners(self, image, label):
        rng = np.random.default_rng([int(image.sum()), len(label)])
        return rng.integers(0, SIZE - 9, (2, 2))

    def segment(self, images, boxes):
        self.calls.append("segment")
        self.seen["boxes"] += boxes
        return [
            [Segment(b.label, self._disc(b.xyxy), b.tag_score, b.score, 0.5, b.xyxy) for b in of_image]
            for of_image in boxes
        ]

    def _disc(self, xyxy):
        x0, y0, x1, y1 = xyxy
        y, x = np.mgrid[:SIZE, :SIZE]
        return ((x - (x0 + x1) / 2) / 4.5) ** 2 + ((y - (y0 + y1) / 2) / 3.5) ** 2 <= 1

    def confirm(self, images, segments):
        self.calls.append("confirm")
        return [[round(s.mask.mean(), 3) for s in of_image] for of_image in segments]


@pytest.fixture
def known(monkeypatch):
    vision = Known()
    backend = Backend("known", vision, vision, vision, vision)
    monkeypatch.setattr(segment, "backend_of", lambda study: backend)
    return vision


@pytest.fixture
def study(tmp_path):
    config = load_config(ROOT / "configs" / "tiny.yaml", [f"prompts.splits={json.dumps(SPLITS)}"])
    total = sum(SPLITS.values())
    shapes = {site: (*GRIDS[site[0]], 2) for site in config.sites_list()}
    ActivationStore.create(tmp_path, shapes, total, 8)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (total, SIZE, SIZE, 3), dtype=np.uint8)
    about = {"split": "train", "source_file": "", "source_row": 0, "n_tokens": 3, "seed": 0}
    add_part(tmp_path, "prompts", "prompts", [{"prompt_id": i, "caption": f"a {i}", **about} for i in range(total)])
    for shard in range(3):
        rows = [
            {"prompt_id": i, "image": encode_png(images[i]), "width": SIZE, "height": SIZE, "sha256": ""}
            for i in range(8 * shard, 8 * shard + 8)
        ]
        add_part(tmp_path, "images", shard_name(shard), rows)
    return Study(str(tmp_path), config, "whole")


def run_steps(study, shards=range(3)):
    for shard in shards:
        for step in (tag_shard, detect_shard, segment_shard, areas_of_shard):
            step(study, shard)


def images_of(study):
    return segment.images_of(study, 0, 24)


def test_only_the_images_of_the_segmented_splits_are_read(study):
    assert [segmented_ids(study, shard) for shard in range(3)] == [[5, 6, 7], list(range(8, 16)), list(range(16, 21))]


def test_every_step_has_a_part_and_a_record_and_needs_only_the_one_before(study, known):
    run_steps(study)
    names = [shard_name(shard) for shard in range(3)]
    tables = {"tag": ["tags"], "detect": ["boxes"], "segment": ["segments"], "areas": ["cell_colours", "label_cells"]}
    for stage, written in tables.items():
        assert lacking(study, stage, names) == []
        record = read_record(study.root, stage, names[1])
        assert sorted(record["tables"]) == written and record["config_hash"] == study.hash_of(stage)
    known.calls.clear()
    segment_shard(study, 1)
    assert known.calls == ["segment"]
    known.calls.clear()
    areas_of_shard(study, 1)
    assert known.calls == []


def test_labels_of_an_image_are_distinct_and_keep_their_best_score(study, known):
    run_steps(study)
    tags = read_table(study.root, "tags").to_pylist()
    assert [(r["label"], r["score"]) for r in tags if r["prompt_id"] == 6] == [("hill", 0.25), ("sun", 0.75)]
    assert {r["tagger"] for r in tags} == {"known"} and not {r["prompt_id"] for r in tags} & {5, 10, 15, 20}
    assert known.seen["tags"][1] == [Tag("sun", 0.75), Tag("hill", 0.25)]  # best first


def test_boxes_come_back_as_they_were_found(study, known):
    run_steps(study)
    tags = [[Tag("sun", 0.75), Tag("hill", 0.25)] if i % 5 else [] for i in range(5, 21)]
    images = list(images_of(study).values())[5:21]
    assert known.seen["boxes"] == known.detect(images, tags)


def test_a_second_opinion_is_stored_where_there_is_one(study, known, monkeypatch):
    run_steps(study, [1])
    assert set(read_table(study.root, "segments")["second_opinion"].to_pylist()) == {None}
    backend = Backend("known", known, known, known, known, known)
    monkeypatch.setattr(segment, "backend_of", lambda study: backend)
    segment_shard(study, 1)
    rows = read_table(study.root, "segments").to_pylist()
    assert [row["second_opinion"] for row in rows] == pytest.approx(
        [row["area_px"] / SIZE**2 for row in rows], abs=1e-3
    )


@pytest.mark.parametrize("grid", sorted(GRIDS.values()))
def test_areas_and_colours_are_those_of_the_masks_counted_pixel_by_pixel(study, known, grid):
    run_steps(study)
    masks, images = label_masks(study, 0, 24), images_of(study)
    areas, colours = label_areas(study, 0, 24, grid), cell_colours(study, 0, 24, grid)
    assert sorted(colours) == list(range(5, 21)) and set(areas) == {i for i in range(5, 21) if i % 5}
    for prompt_id, of_image in areas.items():
        assert sorted(of_image) == sorted(masks[prompt_id]) == ["hill", "sun"]
        for label, area in of_image.items():
            assert area.dtype == np.int64 and area.tolist() == count(masks[prompt_id][label], grid)
    rows, columns = grid
    for prompt_id, rgb in colours.items():
        assert rgb.dtype == np.uint8 and rgb.shape == (rows * columns, 3)
        tiles = [t for band in np.split(images[prompt_id], rows) for t in np.split(band, columns, axis=1)]
        assert np.abs(rgb - np.array([t.reshape(-1, 3).mean(0) for t in tiles])).max() <= 0.5


def count(mask, grid):
    counted = [0] * (grid[0] * grid[1])
    for y, x in zip(*np.nonzero(mask), strict=True):
        counted[y * grid[0] // SIZE * grid[1] + x * grid[1] // SIZE] += 1
    return counted


def test_the_table_holds_filled_cells_union_area_and_ceiling(study, known):
    run_steps(study)
    masks = label_masks(study, 0, 24)
    rows = read_table(study.root, "label_cells").to_pylist()
    assert len(rows) == sum(map(len, masks.values())) * 2 and {row["grid"] for row in rows} == {"4x4", "8x6"}
    for row in rows:
        mask, grid = masks[row["prompt_id"]][row["label"]], tuple(int(n) for n in row["grid"].split("x"))
        assert row["area_px"] == mask.sum() == sum(row["pixels"]) and min(row["pixels"]) > 0
        assert row["iou_ceiling"] == pytest.approx(iou_ceiling(mask, grid), abs=1e-6)


def test_readers_open_only_the_parts_of_their_shards(study, known):
    run_steps(study)
    for table in ("label_cells", "cell_colours", "segments"):
        for shard in (0, 2):
            Path(study.root, "tables", table, f"{shard_name(shard)}.parquet").write_bytes(b"damaged")
    assert sorted(cell_colours(study, 8, 16, (4, 4))) == list(range(8, 16))
    assert sorted(label_areas(study, 9, 12, (4, 4))) == [9, 11]
    assert sorted(label_masks(study, 14, 16)) == [14]
    with pytest.raises(StorageError, match=r"segments/000002.parquet is damaged .* run `concepts repair`"):
        label_masks(study, 14, 17)


def test_a_part_that_is_gone_is_said(study, known):
    with pytest.raises(StudyError, match=r"stage 'tag' has no record of shard 000001, whose rows of tags are needed"):
        detect_shard(study, 1)
    tag_shard(study, 1)
    part_path(study.root, "tags", shard_name(1)).unlink()
    with pytest.raises(StorageError, match=r"tags/000001.parquet is missing, .* run `concepts repair`"):
        detect_shard(study, 1)


def test_a_range_without_segmented_images_is_empty(study, known):
    run_steps(study)
    assert label_areas(study, 22, 24, (4, 4)) == {} and label_areas(study, 0, 5, (4, 4)) == {}
    assert read_shards(study, "tags", 0, 0).num_rows == 0


def test_a_grid_that_does_not_divide_the_images_is_refused(study, known, monkeypatch):
    run_steps(study, [1])
    monkeypatch.setitem(GRIDS, "mid", (5, 4))
    shapes = {site: (*GRIDS[site[0]], 2) for site in study.config.sites_list()}
    ragged = ActivationStore.create(f"{study.root}/ragged", shapes, 24, 8)
    monkeypatch.setattr(segment, "store_of", lambda study: ragged)
    with pytest.raises(StudyError, match=r"grid of 5 x 4 does not divide images of 24 x 24 px: choose sampling.height"):
        areas_of_shard(study, 1)


def test_a_record_of_other_settings_does_not_vouch_for_new_parts(study, known, monkeypatch):
    run_steps(study, [1])

    def killed(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("storage.publish.write_record", killed)
    with pytest.raises(KeyboardInterrupt):
        tag_shard(study, 1)
    assert lacking(study, "tag", ["000001"]) == ["000001"] and lacking(study, "detect", ["000001"]) == []


def test_records_of_the_whole_configuration_count_too(study, known):
    run_steps(study, [1])
    for digest, undone in (("whole", []), ("another", ["000001"])):
        make_old(study.root, "tag", "000001", config_hash=digest)
        assert lacking(study, "tag", ["000001"]) == undone
