"""What happens in a region, from maps and pixels set by hand."""

import numpy as np
import pytest

from concepts.effects import centre_of_mass, change_outside, region_mask, share_in_region, success_in_region
from concepts.settings import REGIONS

QUADRANTS = {
    "top_left": ["##...", "##...", ".....", ".....", "....."],
    "top_right": ["..###", "..###", ".....", ".....", "....."],
    "bottom_left": [".....", ".....", "##...", "##...", "##..."],
    "bottom_right": [".....", ".....", "..###", "..###", "..###"],
}


@pytest.mark.parametrize("name", REGIONS)
def test_a_region_is_a_quadrant(name):
    drawn = np.array([[c == "#" for c in line] for line in QUADRANTS[name]])
    found = region_mask(name, 5, 5)
    assert found.dtype == bool and np.array_equal(found, drawn)
    assert np.array_equal(region_mask(name, 5, 4), np.delete(drawn, 2, axis=1))
    assert np.array_equal(region_mask(name, 4, 5), np.delete(drawn, 2, axis=0))


def test_regions_tile_the_image():
    total = sum(region_mask(name, 7, 9).astype(int) for name in REGIONS)
    assert (total == 1).all()


@pytest.mark.parametrize("name", ["middle", "", "top", "left_top", "top_left_side", "top_middle", "mid_left"])
def test_an_unknown_region_is_refused(name):
    with pytest.raises(ValueError, match=f"unknown region '{name}': use top_left, top_right, bottom_left or bottom_r"):
        region_mask(name, 4, 4)


def test_the_centre_of_mass_by_hand():
    heat = np.zeros((3, 5))
    heat[0, 0], heat[2, 4] = 0.05, 0.15
    assert centre_of_mass(heat) == (pytest.approx(1.5), pytest.approx(3.0))
    assert centre_of_mass(np.zeros((3, 5))) is None


def test_success_needs_something_to_be_there():
    heat = np.zeros((8, 8))
    assert not success_in_region(heat, region_mask("top_left", 8, 8))
    heat[1:3, 5:7] = 0.9
    assert [success_in_region(heat, region_mask(r, 8, 8)) for r in REGIONS] == [False, True, False, False]
    heat[:] = 0.3
    assert not any(success_in_region(heat, region_mask(r, 8, 8)) for r in REGIONS)


def test_success_goes_by_the_cell_nearest_to_the_centre():
    """Two cells of an object in one row, at 1 and 5, of unequal strength: the centre is at 3.4, then at 3.6."""
    left, right = region_mask("top_left", 8, 8), region_mask("top_right", 8, 8)
    for weights, expected in (((0.6, 0.9), (True, False)), ((0.525, 0.975), (False, True))):
        heat = np.zeros((8, 8))
        heat[1, 1], heat[1, 5] = weights
        assert (success_in_region(heat, left), success_in_region(heat, right)) == expected


def test_what_lies_below_the_floor_pulls_no_centre():
    heat = np.full((8, 8), 0.4375)
    heat[6, 1] = 0.5
    assert success_in_region(heat, region_mask("bottom_left", 8, 8))
    assert not success_in_region(heat, region_mask("bottom_left", 8, 8), floor=0.5625)
    low = np.zeros((8, 8))
    low[0, 7] = 0.25
    assert success_in_region(low, region_mask("top_right", 8, 8), floor=0.25)


def test_the_share_of_a_map_in_a_region():
    heat = np.zeros((4, 6))
    heat[0, 0], heat[1, 2], heat[3, 5], heat[0, 5] = 0.125, 0.25, 0.0625, 0.0625
    assert [share_in_region(heat, region_mask(r, 4, 6)) for r in REGIONS] == [0.75, 0.125, 0.0, 0.125]
    assert share_in_region(np.zeros((4, 6)), region_mask("top_left", 4, 6)) == 0.0


def test_change_outside_ignores_the_region():
    before, after = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    after[:2, :2] = 255
    assert change_outside(before, after, region_mask("top_left", 4, 4)) == 0
    assert change_outside(before, after, region_mask("top_right", 4, 4)) == pytest.approx(4 / 12)
    assert change_outside(before, after, None) == pytest.approx(0.25)


def test_change_is_the_mean_distance_of_all_channels_whichever_way_it_goes():
    """A pixel that falls by 51 in one channel and one that rises by 102 in two: (51 / 3 + 204 / 3) / 255 over four."""
    before, after = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 100, np.uint8)
    after[0, 0, 1], after[1, 1, :2] = 49, 202
    expected = (0.2 / 3 + 0.8 / 3) / 4
    assert change_outside(before, after, None) == pytest.approx(expected)
    assert change_outside(after, before, None) == pytest.approx(expected)
    assert change_outside(before, after, region_mask("bottom_right", 2, 2)) == pytest.approx(0.2 / 3 / 3)
