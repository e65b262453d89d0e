"""Where an edit acts: areas against geometry, and what cannot be read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from concepts.effects import region_mask
from concepts.errors import ConceptError
from concepts.regions import NAMED, cell_share, region_share
from concepts.settings import REGIONS


@pytest.mark.parametrize("name", REGIONS)
def test_quadrants_are_those_of_the_spatial_edits(name):
    assert np.array_equal(region_share(name, 64, 48), region_mask(name, 64, 48).astype(float))


def test_every_name_has_its_area():
    areas = {name: region_share(name, 32, 64).mean() for name in NAMED}
    assert areas.pop("everywhere") == 1.0
    assert {name: area for name, area in areas.items() if area == 0.5} == dict.fromkeys(
        ("top", "bottom", "left", "right"), 0.5
    )
    assert {area for area in areas.values() if area != 0.5} == {0.25}


@given(st.tuples(*[st.floats(0, 1)] * 4), st.sampled_from([(8, 8), (64, 32)]))
def test_a_box_covers_its_own_area(edges, size):
    left, right = sorted(edges[:2])
    top, bottom = sorted(edges[2:])
    box = f"box:{left!r},{top!r},{right!r},{bottom!r}"
    area = (right - left) * (bottom - top)
    if area * size[0] * size[1] < 1e-6:
        return
    share = region_share(box, *size)
    assert share.mean() == pytest.approx(area, rel=1e-6, abs=1e-12) and share.min() >= 0 and share.max() <= 1


def test_a_box_has_left_and_top_first():
    share = region_share("box:0,0.5,0.25,1", 8, 8)
    assert share[4:, :2].min() == 1 and share.sum() == 8


def test_a_polygon_is_the_box_or_the_triangle_that_it_describes():
    box = region_share("polygon:0.25,0.5 1,0.5 1,1 0.25,1", 16, 16)
    assert np.abs(box - region_share("box:0.25,0.5,1,1", 16, 16)).max() < 0.3
    assert box.mean() == pytest.approx(0.375, abs=0.01)
    triangle = region_share("polygon:0,0 1,0 0,1", 64, 64)
    assert triangle.mean() == pytest.approx(0.5, abs=0.01) and triangle[0, 0] == 1 and triangle[-1, -1] == 0


def test_a_picture_is_its_grey(tmp_path):
    grey = np.zeros((8, 8), np.uint8)
    grey[2:4, 5], grey[0, 0] = 255, 51
    Image.fromarray(grey).save(tmp_path / "mask.png")
    share = region_share(str(tmp_path / "mask.png"), 8, 8)
    assert share[2, 5] == 1 and share[0, 0] == pytest.approx(0.2) and share.sum() == pytest.approx(2.2)


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([(8, 8), (24, 16)]), st.data())
def test_painted_cells_cover_the_boxes_that_they_are(rows, columns, size, data):
    on = data.draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns).filter(any))
    digits = -(-rows * columns // 4)
    number = sum(1 << (4 * digits - 1 - i) for i, bit in enumerate(on) if bit)
    share = region_share(f"cells:{rows}x{columns}:{number:0{digits}x}", *size)
    boxes = [divmod(i, columns) for i, bit in enumerate(on) if bit]
    expected = sum(
        region_share(f"box:{c / columns},{r / rows},{(c + 1) / columns},{(r + 1) / rows}", *size) for r, c in boxes
    )
    assert np.allclose(share, expected)


def test_a_feather_softens_the_edge_and_keeps_the_middle():
    hard, soft = (region_share("left", 64, 64, feather) for feather in (0, 3))
    assert soft[32, 0] == pytest.approx(1, abs=1e-6) and soft[32, 63] == pytest.approx(0, abs=1e-6)
    assert soft[32, 31] + soft[32, 32] == pytest.approx(1) and 0.5 < soft[32, 31] < 0.6
    assert soft.mean() == pytest.approx(hard.mean(), abs=1e-6)


def test_cells_have_the_mean_of_their_pixels():
    share = region_share("box:0,0,0.375,0.5", 16, 16)
    assert np.allclose(cell_share(share, (2, 4)), [[1, 0.5, 0, 0], [0, 0, 0, 0]])
    with pytest.raises(ConceptError, match="a grid of 3 x 4 does not divide an image of 16 x 16"):
        cell_share(share, (3, 4))


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ("topleft", "neither a file nor one of everywhere, top, bottom"),
        ("box:0,0,1", "cannot be read: give one of"),
        ("box:0,0,1,2", "cannot be read"),
        ("box:0,0,nan,1", "cannot be read"),
        ("box:0.5,0,0.5,1", "is empty: a box is LEFT,TOP,RIGHT,BOTTOM"),
        ("polygon:0,0 1,1", "is no polygon: give three corners"),
        ("polygon:0,0 1,1 0.5", "is no polygon"),
        ("cells:2x2", "cannot be read: cells are ROWSxCOLUMNS:HEX"),
        ("cells:2x2:8421", "cannot be read: cells are"),
        ("cells:0x4:8", "cannot be read: cells are"),
        ("cells:99x1:8", "cannot be read: cells are"),
        ("cells:2x2:x", "cannot be read: cells are"),
        ("cells:2x2:0", "holds no pixel"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(region, said):
    with pytest.raises(ConceptError, match=said) as error:
        region_share(region, 8, 8)
    assert repr(region) in str(error.value)


def test_pictures_that_do_not_fit_are_named(tmp_path):
    Image.new("L", (9, 8), 255).save(tmp_path / "wide.png")
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    (tmp_path / "text.png").write_text("no image")
    for name, said in {
        "wide.png": "is 9 x 8 pixels, the study's images are 8 x 8",
        "black.png": "holds no pixel",
        "text.png": "cannot be read as an image",
    }.items():
        with pytest.raises(ConceptError, match=said) as error:
            region_share(str(tmp_path / name), 8, 8)
        assert name in str(error.value)
    with pytest.raises(ConceptError, match="feather is nan"):
        region_share("left", 8, 8, float("nan"))
