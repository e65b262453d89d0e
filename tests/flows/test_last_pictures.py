"""The pictures on a run's page: the last of the newest part, small, and looked for seldom."""

import base64
import os
import re
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows import last_pictures
from flows.last_pictures import LastPictures
from flows.pages import page
from storage.images import decode_png, encode_png
from storage.tables import table_folder
from tests.flows.test_pages import facts

SHADES = np.random.default_rng(0).permutation(np.arange(40, 250, 5))


def picture(prompt, height=8):
    return np.full((height, 2 * height, 3), SHADES[prompt], np.uint8)


def put(root, table, part, prompts, age, height=8, kept=True):
    """A part as old as that, in seconds."""
    path = table_folder(root, table) / f"{part}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = [encode_png(picture(prompt, height)) if kept else None for prompt in prompts]
    pq.write_table(pa.table({"prompt_id": prompts, "image": pa.array(encoded, pa.binary())}), path)
    os.utime(path, (time.time() - age,) * 2)
    return path


def shown(markdown):
    """(what is said, uint8 picture)."""
    told, image = markdown.split("\n\n")
    return told, decode_png(base64.b64decode(re.search(r"base64,([^)]+)", image)[1]))


def test_a_study_without_pictures_has_none(tmp_path):
    assert LastPictures(tmp_path).markdown() == ""
    put(tmp_path, "interventions", "a", [0, 1], age=0, kept=False)
    assert LastPictures(tmp_path).markdown() == ""
    assert "data:" not in page(facts())


def test_the_last_four_of_the_newest_part_side_by_side(tmp_path):
    put(tmp_path, "images", "000000", [0, 1], age=50)
    put(tmp_path, "images", "000001", [2, 3, 4, 5, 6], age=20)
    told, image = shown(LastPictures(tmp_path).markdown())
    assert told == "Images of the study, the last: prompt 3, 4, 5, 6"
    assert np.array_equal(image, np.concatenate([picture(p) for p in (3, 4, 5, 6)], axis=1))
    put(tmp_path, "interventions", "spatial-tree-early", [7], age=10)
    told, image = shown(LastPictures(tmp_path).markdown())
    assert told == "Edited images, the last: prompt 7" and np.array_equal(image, picture(7))
    assert told in page(facts(pictures=LastPictures(tmp_path).markdown()))


def test_large_ones_are_made_small(tmp_path):
    put(tmp_path, "images", "000000", [0, 1], age=50, height=512)
    markdown = LastPictures(tmp_path).markdown()
    assert len(markdown) < 100_000 and shown(markdown)[1].shape == (128, 2 * 256, 3)


def test_it_is_looked_for_seldom_and_a_part_once(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        last_pictures.pq, "read_table", lambda path, **more: read.append(path) or pq.ParquetFile(path).read(**more)
    )
    put(tmp_path, "images", "000000", [0], age=50)
    pictures = LastPictures(tmp_path)
    first = pictures.markdown()
    newer = put(tmp_path, "images", "000001", [1], age=10)
    assert pictures.markdown() == first and len(read) == 1
    pictures.forget()
    second = pictures.markdown()
    assert second != first and read[1:] == [newer]
    pictures.forget()
    assert pictures.markdown() == second and len(read) == 2


@pytest.mark.parametrize("harm", [b"", b"PAR1 no more than that"])
def test_a_damaged_part_breaks_no_page(tmp_path, harm):
    """It is for verify to tell; the page goes on showing what it had."""
    put(tmp_path, "images", "000000", [0], age=50)
    pictures = LastPictures(tmp_path)
    before = pictures.markdown()
    path = put(tmp_path, "images", "000001", [1], age=0)
    path.write_bytes(harm)
    pictures.forget()
    assert pictures.markdown() == before
