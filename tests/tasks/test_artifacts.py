"""Keys, order and size of what is shown in Prefect's UI."""

import base64
import re
from types import SimpleNamespace

import numpy as np
import pytest

from storage.images import THUMBNAIL_BYTES, decode_png, thumbnail
from tasks import artifacts, progress
from tasks.keys import artifact_key
from tasks.progress import StageProgress, Watcher, under_way, watching

STUDY = SimpleNamespace(config=SimpleNamespace(name="My Study 2.0"))
KEY = re.compile("[a-z0-9]+(-[a-z0-9]+)*")  # as Prefect's server takes them


@pytest.mark.parametrize("name", ["mini", "My Study 2.0", "日本", "__x__", "a -- b"])
def test_any_name_makes_a_key_that_prefect_takes(name):
    assert KEY.fullmatch(artifact_key(name, "sae-metrics"))
    assert KEY.fullmatch(artifact_key(name))


def test_keys_are_of_the_name_in_lower_case():
    assert artifact_key("My Study 2.0", "train", "mid/1.00/cond") == "my-study-20-train-mid-100-cond"


def test_tables_are_in_order_and_rounded(monkeypatch):
    shown = {}
    monkeypatch.setattr(artifacts, "create_table_artifact", lambda rows, key, description: shown.update({key: rows}))
    rows = [
        {"block": "up", "t": 0.0, "kind": "frozen", "v": 0.123456},
        {"block": "mid", "t": 0.0, "kind": "trained", "v": 1.0},
        {"block": "mid", "t": 1.0, "kind": "frozen", "v": None},
        {"block": "mid", "t": 1.0, "kind": "trained", "v": 12345.6},
    ]
    artifacts._table(STUDY, "x", rows, "Rows")
    assert shown["my-study-20-x"] == [
        {"block": "mid", "t": 1.0, "kind": "trained", "v": 12346},
        {"block": "mid", "t": 1.0, "kind": "frozen", "v": None},
        {"block": "mid", "t": 0.0, "kind": "trained", "v": 1.0},
        {"block": "up", "t": 0.0, "kind": "frozen", "v": 0.1235},
    ]
    artifacts._table(STUDY, "x", rows, "Rows", by=("-v",))
    assert [row["v"] for row in shown["my-study-20-x"]] == [12346, 1.0, 0.1235, None]


@pytest.mark.parametrize("shape", [(64, 512, 3), (512, 4096, 3), (2000, 10, 3)])
def test_a_picture_is_a_page_of_less_than_100_kb_and_says_where_it_is_in_full(monkeypatch, shape):
    shown = []
    monkeypatch.setattr(artifacts, "create_markdown_artifact", lambda text, key, description: shown.append((key, text)))
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)  # what compresses worst
    artifacts._picture(STUDY, "collect-images", noise, "The first images", "in full in the table `images`")
    [(key, text)] = shown
    assert key == "my-study-20-collect-images" and len(text) < 101_000
    assert text.startswith("The first images; in full in the table `images`\n\n![The first images](data:image/")
    kind, data = re.search(r"data:image/(png|jpeg);base64,([^)]+)\)$", text).groups()
    image = decode_png(base64.b64decode(data))
    assert image.shape[1] <= 1024
    assert image.shape[1] / image.shape[0] == pytest.approx(shape[1] / shape[0], rel=0.1)
    assert base64.b64decode(data).startswith(b"\x89PNG" if kind == "png" else b"\xff\xd8")


def test_a_small_picture_is_shown_bit_by_bit():
    image = np.random.default_rng(0).integers(0, 256, (64, 256, 3), dtype=np.uint8)
    kind, data = thumbnail(image)
    assert kind == "png" and len(data) <= THUMBNAIL_BYTES and np.array_equal(decode_png(data), image)


@pytest.fixture
def clock(monkeypatch):
    """The time, and what progress artifacts are told at it."""
    now, told = [0.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "create_progress_artifact", lambda p, key, description: told.append((p, description)))
    monkeypatch.setattr(progress, "update_progress_artifact", lambda _id, p, description: told.append((p, description)))
    return now, told


def test_progress_tells_rate_and_time_left_of_this_run_alone(clock):
    now, told = clock
    stage = StageProgress("train", 4, 10, "mini")
    assert told == [(40.0, "train: 4 of 10 units")]
    now[0] = 3.0
    stage.step({"steps": 5})
    assert told[1:] == [(50.0, "train: 5 of 10 units, 3 s each, 15 s left")]
    now[0] = 3.5
    stage.step()  # too soon for another update
    assert len(told) == 2 and stage.words == "6 of 10 units, 1.8 s each, 7 s left"
    now[0] = 120.0
    for _ in range(4):
        stage.step()
    assert told[-1] == (100.0, "train: 10 of 10 units, 20 s each")


def test_progress_that_nobody_can_see_is_told_each_half_minute_and_at_the_end(clock):
    now, told = clock
    with progress.seldom_told():
        stage = StageProgress("train", 0, 4, "mini")
        for now[0] in (5.0, 29.0, 31.0, 32.0):
            stage.step()
    assert [percent for percent, _ in told] == [0.0, 75.0, 100.0]
    with_pages = StageProgress("label", 0, 4, "mini")
    now[0] = 35.0
    with_pages.step()
    assert told[-1][0] == 25.0


def test_who_watches_is_told_of_units_that_begin_end_and_fail(clock):
    seen = []

    class Seen(Watcher):
        def begun(self, unit):
            seen.append(("begun", unit))

        def ended(self, unit):
            seen.append(("ended", unit))

        def counted(self, progress, made):
            seen.append((progress.stage, progress.done, made))

        def failed(self, stage):
            seen.append(("failed", stage))

    with watching(Seen()):
        stage = StageProgress("collect", 0, 3)
        with pytest.raises(OSError, match="full"), under_way("collect shard 0"):
            raise OSError("full")
        stage.step({"prompts": 8})
        stage.fail()
        stage.step()
    stage.step()
    assert seen == [
        ("collect", 0, None), ("begun", "collect shard 0"), ("ended", "collect shard 0"),
        ("collect", 1, {"prompts": 8}), ("failed", "collect"),
        ("collect", 2, {}),
    ]  # fmt: skip
