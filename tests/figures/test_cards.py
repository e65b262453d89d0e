"""A concept's card: a function of its data, with every text inside it, apart from each other and cut where too long."""

import dataclasses
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from figures import cards
from figures.cards import Card, LabelLine, MappedImage, concept_card, overlay
from tests.paths import ROOT

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 255, (64, 64, 3)).astype(np.uint8)
LONG = "WIDE WORDS $5 or $10 of a caption that never ends " * 4


def heat(value):
    return np.triu(np.full((8, 8), value), k=4)


def make_card(value=0.4, **more):
    bins = {b: [MappedImage(PICTURE, heat(value * (10 - b) / 10), LONG)] * 3 for b in range(10)}
    held_out = [(0.4, 0.02), *[(None, None)] * 13]
    labels = [LabelLine(f"label {i}", 0.5, *held_out[i], 1e-120, i < 2, i < 4) for i in range(14)]
    facts = [("broader label", "w" * 90), ("cohesion of its labels", "0.8")]
    card = Card("dog", "block mid", 1.0, 10, bins, labels, 37, facts, (200.0, 120.0, 40.0))
    return dataclasses.replace(card, **more)


def test_a_card_is_a_function_of_its_data(tmp_path):
    paths = [concept_card(make_card(v), tmp_path / f"{i}.png") for i, v in enumerate((0.4, 0.4, 0.7))]
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again and first != other


@pytest.mark.parametrize("more", [{}, {"bins": {}}, {"labels": [], "more_labels": 0, "colour": None}, {"title": LONG}])
def test_texts_stay_on_the_page_and_apart(monkeypatch, tmp_path, more):
    kept = []
    monkeypatch.setattr(cards, "save", lambda figure, path: kept.append(figure) or path)
    concept_card(make_card(**more), tmp_path / "a.png")
    (figure,) = kept
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in texts]
    for i, (text, box) in enumerate(zip(texts, boxes, strict=True)):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text.get_text()
        for other, their in zip(texts[:i], boxes[:i], strict=True):
            apart = box.x1 <= their.x0 or their.x1 <= box.x0 or box.y1 <= their.y0 + 1 or their.y1 <= box.y0 + 1
            assert apart, (text.get_text(), other.get_text())


def test_pictures_lie_on_a_grid(monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(cards, "save", lambda figure, path: kept.append(figure) or path)
    concept_card(make_card(), tmp_path / "a.png")
    (figure,) = kept
    extents = np.array([image.get_extent() for image in figure.axes[0].images if image.get_array().ndim == 3])
    assert len(extents) == 60
    assert len(set(extents[:, 0].round(6))) == 6 and len(set(extents[:, 3].round(6))) == 10
    assert np.ptp(extents[:, 1] - extents[:, 0]) < 1e-9 and np.ptp(extents[:, 2] - extents[:, 3]) < 1e-9


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.sampled_from([4, 8, 7]), columns=st.sampled_from([4, 8, 16]))
def test_the_overlay_colours_exactly_the_cells_that_are_on(seed, rows, columns):
    rng = np.random.default_rng(seed)
    grid = rng.random((rows, columns)) * (rng.random((rows, columns)) < 0.3)
    grey = np.full((56, 64, 3), 128, np.uint8)
    drawn = overlay(grey, grid, 1.0)
    assert drawn.shape == grey.shape and drawn.min() >= 0 and drawn.max() <= 1
    on = np.kron(grid > 0, np.ones((56 // rows, 64 // columns))) > 0
    assert ((np.abs(drawn - 128 / 255) > 1e-6).any(-1) == on).all()


def test_a_stronger_cell_is_brighter():
    levels = [overlay(PICTURE * 0, np.full((1, 1), v), 2.0).mean() for v in (0.1, 0.5, 1.0, 2.0)]
    assert levels == sorted(levels) and levels[-1] > 2 * levels[0]


def test_without_examples_or_at_other_sizes_a_page_is_drawn(tmp_path):
    wide = {0: [MappedImage(PICTURE[:32], np.zeros((4, 8)), "a caption")]}
    for name, bins in {"none": {}, "wide": wide}.items():
        with Image.open(concept_card(make_card(bins=bins), tmp_path / f"{name}.png")) as image:
            assert image.width > 500 and len(image.convert("RGB").getcolors(1 << 24)) > 10


def test_texts_are_cut_and_numbers_short():
    assert cards.shortened("abcdef", 6) == "abcdef" and cards.shortened("abc defg", 5) == "abc…"
    lines = cards.caption_lines(LONG).split("\n")
    assert len(lines) == 2 and max(map(len, lines)) <= cards.CAPTION_WIDTH and lines[1].endswith("…")
    assert cards.caption_lines("a dog") == "a dog"
    numbers = {0: "0", 0.01234: "0.0123", 1234.6: "1,235", 2.5e-7: "2.5e-07", 123456: "123,456", 2e7: "2.0e+07"}
    assert {value: cards.number(value) for value in numbers} == numbers
    assert [cards.small(v) for v in (0.5, 0.05, 3e-8, 0.0)] == ["0.50", "0.05", "3e-08", "<1e-99"]
    assert cards.quantile_name(0, 10) == "strongest 10 %" and cards.quantile_name(2, 3) == "66.7 to 100 %"


def test_drawing_leaves_the_settings_of_the_process_alone_and_does_not_hang_on_them(tmp_path):
    plain = concept_card(make_card(), tmp_path / "a.png").read_bytes()
    with matplotlib.rc_context({"font.size": 20, "text.color": "red", "savefig.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        assert concept_card(make_card(), tmp_path / "b.png").read_bytes() == plain
        assert dict(matplotlib.rcParams) == before


def test_nobody_chooses_a_backend():
    """A notebook shows its figures inline: a library that takes Agg for the whole process would end that."""
    code = """
import sys, matplotlib
before = matplotlib.rcParams._get_backend_or_none()
import figures.cards, figures.draw
assert matplotlib.rcParams._get_backend_or_none() == before and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
