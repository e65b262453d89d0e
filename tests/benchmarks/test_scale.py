"""docs/scale.md: its arithmetic by hand, its tables as the script makes them, its counts of operations as published."""

import shutil

import pytest

from benchmarks import scale
from benchmarks.scale import COSTS, collect, label, makespan, run_of, site_seconds, tasks, train

PAPER = run_of(1)
GPU = 227e12


def test_the_page_has_the_figures_of_the_script_and_another_figure_is_found(tmp_path, monkeypatch):
    page = shutil.copy(scale.PAGE, tmp_path / "scale.md")
    monkeypatch.setattr(scale, "PAGE", page)
    assert scale.main(["--check"]) == 0
    page.write_text(page.read_text().replace("246,000", "246,001"))
    assert scale.main(["--check"]) == 1 and scale.main([]) == 0 and scale.main(["--check"]) == 0


def test_whoever_is_free_takes_the_longest_job():
    assert makespan([1.0, 2.0, 3.0, 4.0], 2) == 5.0  # 4 + 1, 3 + 2
    assert makespan([2.0] * 18, 64) == 2.0  # more workers than jobs
    assert makespan([2.0] * 18, 8) == 6.0  # 8 + 8 + 2


def test_sampling_by_hand():
    """961 shards of 256; 100 passes an image; 46,000 of 246,000 images are decoded."""
    each = 100 * 0.803e12 / GPU + 46 / 246 * 0.019
    assert collect(PAPER, 1) == pytest.approx(961 * 256 * each)
    assert collect(PAPER, 64) == pytest.approx(16 * 256 * each)  # 961 / 64 is 15.02
    assert PAPER.counts.activation_bytes == 246_000 * 6 * 2 * 1280 * (256 + 64 + 256)


def test_training_by_hand():
    """Four SAEs a site, two k and a frozen one of each, of 5120 concepts: 4.2 us a vector, less than to read it."""
    assert 4 * 4.28e-3 / 4096 < 5.17e-6
    assert site_seconds(PAPER, "mid") == pytest.approx(200_000 * 64 * 5.17e-6)
    assert train(PAPER, 1) == pytest.approx(200_000 * (12 * 256 + 6 * 64) * 5.17e-6)
    assert train(PAPER, 64) == train(PAPER, 18) == site_seconds(PAPER, "up")


def test_labels_and_units_by_hand():
    """45,000 images, of the splits dictionary and layout, are segmented: 176 shards; 36 dictionaries, a core each."""
    found = 256 * (0.089 + 0.082)
    assert label(PAPER, 1) == pytest.approx(176 * found + 36 * 1140)
    assert label(PAPER, 64) == pytest.approx(3 * found + 1140)
    assert tasks(PAPER) == 961 + 4 * 176


def test_a_hundred_times_is_every_split_and_no_more_edits():
    more = run_of(100)
    assert more.counts.activation_bytes == 100 * PAPER.counts.activation_bytes
    assert (more.counts.edits, more.counts.saes) == (PAPER.counts.edits, PAPER.counts.saes)


def test_training_is_the_steps_where_they_are_slower_than_reading(monkeypatch):
    monkeypatch.setitem(COSTS, "loader", scale.Cost(1e-6, "", "", ""))
    assert site_seconds(PAPER, "mid") == pytest.approx(200_000 * 64 * 4 * 4.28e-3 / 4096)


def test_operations_are_those_of_the_networks():
    published = {"unet": COSTS["unet"].value, "decoder": 2.515e12, "sam": 5.961e12}
    counted = scale.count()
    assert {name: counted[name] / published[name] for name in counted} == pytest.approx(
        dict.fromkeys(published, 1.0), abs=1e-3
    )
