"""What a judge's maps and scores say of edits: from maps drawn by hand, whose masses and centres are known."""

import numpy as np
import pytest

from concepts.judging import ThingsKept, global_outcomes, seen, spatial_outcomes
from concepts.settings import REGIONS

ROWS, COLUMNS = 4, 6


def heat(*cells, value=0.75, haze=0.0):
    """A map [4, 6] with a value in some cells and haze in all others."""
    found = np.full((ROWS, COLUMNS), haze)
    for row, column in cells:
        found[row, column] = value
    return found


def picture(height=8, width=10, level=0):
    return np.full((height, width, 3), level, np.uint8)


def outcome(region, after, before=None, image=None, original=None):
    image = picture() if image is None else image
    original = picture() if original is None else original
    before = heat() if before is None else before
    (found,) = spatial_outcomes([region], [image], [original], after[None], before[None])
    return found


@pytest.mark.parametrize(
    ("cell", "region"),
    [((0, 2), "top_left"), ((1, 3), "top_right"), ((2, 1), "bottom_left"), ((3, 5), "bottom_right")],
)
def test_an_object_succeeds_in_its_own_quadrant_alone(cell, region):
    """The map is wider than high: who took its rows for columns would look elsewhere."""
    found = [outcome(name, heat(cell))["success"] for name in REGIONS]
    assert found == [name == region for name in REGIONS]


def test_an_object_counts_from_one_half():
    assert outcome("top_left", heat((0, 1), value=0.5))["success"]
    assert not outcome("top_left", heat((0, 1), value=np.nextafter(0.5, 0)))["success"]
    # Haze below it pulls no centre: all of it together would lie at the middle, in the lower right quadrant.
    assert outcome("top_left", heat((0, 1), value=0.5, haze=0.49))["success"]


def test_the_effect_is_the_rise_of_the_share_in_the_region():
    """Three quarters of the mass after, a fifth before; it is of the map as it is, also below one half."""
    after = heat((0, 0), (1, 2), (0, 1), (3, 5), value=0.25)
    before = heat((0, 0), (0, 3), (0, 4), (1, 5), (2, 0), value=0.125)
    assert outcome("top_left", after, before)["effect"] == pytest.approx(3 / 4 - 1 / 5)
    assert outcome("top_right", after, before)["effect"] == pytest.approx(0 - 3 / 5)
    assert outcome("bottom_left", after, before)["effect"] == pytest.approx(0 - 1 / 5)
    assert outcome("bottom_right", after, before)["effect"] == pytest.approx(1 / 4 - 0)
    assert outcome("top_left", after)["effect"] == pytest.approx(3 / 4)  # nothing before


def test_the_pixels_inside_the_region_may_change():
    """Outside it one row of six pixels, of the 60 there, goes from 10 to 61: a fifth of 255."""
    original, image = picture(level=10), picture(level=10)
    image[:4, :5] = 255
    image[5, 2:8] = 61
    assert outcome("top_left", heat(), image=image, original=original)["outside_change"] == pytest.approx(6 / 60 / 5)
    assert outcome("top_left", heat(), image=original, original=image)["outside_change"] == pytest.approx(6 / 60 / 5)
    # Of the quadrant below right the row's three right pixels are inside.
    expected = (20 * 245 + 3 * 51) / 255 / 60
    found = outcome("bottom_right", heat(), image=image, original=original)
    assert found["outside_change"] == pytest.approx(expected)


def test_every_image_is_judged_by_its_own_map_and_region():
    images = [picture(), picture(level=51)]
    after, before = np.stack([heat((0, 0)), heat((3, 5))]), np.stack([heat((3, 5)), heat((3, 5))])
    found = spatial_outcomes(["top_left", "top_left"], images, [picture(), picture()], after, before)
    assert found == [
        {"success": True, "effect": 1.0, "outside_change": 0.0},
        {"success": False, "effect": 0.0, "outside_change": pytest.approx(0.2)},
    ]
    assert {type(value) for row in found for value in row.values()} == {bool, float}
    with pytest.raises(ValueError, match="argument"):
        spatial_outcomes(["top_left"], images, images, after, before)
    with pytest.raises(ValueError, match="argument"):
        global_outcomes(images, images[:1], np.zeros(2), np.zeros(2))


def test_a_look_succeeds_from_one_half_and_its_effect_is_a_rise():
    after, before = np.array([0.5, np.nextafter(0.5, 0), 0.75, 0.25]), np.array([0.125, 0.0, 1.0, 0.25])
    original = picture()
    half = picture()
    half[:4] = 102  # two fifths of 255 in half of all pixels
    found = global_outcomes([half, original, original, original], [original] * 4, after, before)
    assert [row["success"] for row in found] == [True, False, True, False]
    assert [row["effect"] for row in found] == pytest.approx([0.375, 0.5, -0.25, 0.0])
    assert [row["outside_change"] for row in found] == [pytest.approx(0.2), 0.0, 0.0, 0.0]
    assert {type(value) for row in found for value in row.values()} == {bool, float}


def test_of_what_was_seen_the_part_that_still_is():
    """Four images. A tree in 0, 1 and 2, of which 1 loses it; a dog in 1 and 3, of which 3 does."""
    there, gone, edge = (seen(h) for h in (heat((1, 2)), heat((1, 2), value=0.499), heat((3, 5), value=0.5)))
    found = ThingsKept(5)
    found.add([0, 1, 2], np.stack([there, there, edge]), np.stack([edge, gone, there]))
    found.add([1, 3], np.stack([there, edge]), np.stack([there, gone]))
    assert found.shares() == [1.0, 0.5, 1.0, 0.0, None]
    found.add([0, 3, 4], np.stack([gone, there, gone]), np.stack([there, there, there]))  # 0 and 4 had none to keep
    assert found.shares() == [1.0, 0.5, 1.0, 0.5, None]
    found.add([4], gone[None], gone[None])
    assert found.shares()[4] is None
    assert ThingsKept(0).shares() == [] and ThingsKept(2).shares() == [None, None]
    assert {type(share) for share in found.shares()} == {float, type(None)}


def test_places_are_kept_as_far_as_masks_overlap():
    """A house two cells wide stays, shifts by one, is lost, was not there; a tree is where it was, or is the target."""
    house, shifted, nothing = (seen(heat(*cells)) for cells in (((1, 1), (1, 2)), ((1, 2), (1, 3)), ()))
    found = ThingsKept(5)
    found.add([0, 1, 2, 3], np.stack([house, house, house, nothing]), np.stack([house, shifted, nothing, house]))
    assert found.ious() == [1.0, pytest.approx(1 / 3), 0.0, None, None]
    tree = seen(heat((3, 5)))[None]
    found.add([1], tree, tree)
    found.add([2], tree, tree, moved=True)
    found.add([4], tree, tree, moved=True)
    assert found.ious() == [1.0, pytest.approx((1 / 3 + 1) / 2), 0.0, None, None]
    assert found.shares() == [1.0, 1.0, 0.5, None, 1.0]  # what is moved is still kept, or not


def test_fidelity_is_of_all_that_the_caption_names_whether_it_was_there_before():
    there, nothing = seen(heat((0, 0))), seen(heat())
    found = ThingsKept(3)
    found.add([0, 1], np.stack([nothing, there]), np.stack([there, there]))
    found.add([0, 1], np.stack([there, there]), np.stack([there, nothing]), moved=True)
    assert found.fidelities() == [1.0, 0.5, None]
