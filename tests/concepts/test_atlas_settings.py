"""Settings of the atlas that cannot be are refused with a sentence."""

import pytest
from pydantic import ValidationError

from concepts.atlas_settings import AtlasSettings


def test_a_caption_asks_for_a_look_by_its_phrase():
    settings = AtlasSettings(phrases={"night": "{caption} at night"})
    assert settings.asked_for("a {tree}", "night") == "a {tree} at night"
    assert settings.asked_for("a tree", "sepia") == "a tree, sepia"


@pytest.mark.parametrize("per_prompt", [1, 2, 3, 4, None])
def test_looks_take_turns(per_prompt):
    """Twelve prompts and four looks: every prompt has as many, every look as many prompts."""
    settings = AtlasSettings(looks_per_prompt=per_prompt)
    taken = [[settings.takes(place, look, 4) for look in range(4)] for place in range(12)]
    assert [sum(row) for row in taken] == [per_prompt or 4] * 12
    assert [sum(column) for column in zip(*taken, strict=True)] == [3 * (per_prompt or 4)] * 4


def test_one_length_or_several():
    assert AtlasSettings(length=0.3).lengths == (0.3,) and AtlasSettings(length=[0.4, 0.2]).lengths == (0.4, 0.2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"phrases": {"night": "at night"}}, r"atlas.phrases.night is 'at night': it must hold \{caption\}"),
        ({"controls": ["randm"]}, "atlas.controls must be distinct ones of random_direction, "),
        ({"controls": ["neurons", "neurons"]}, "must be distinct"),
        ({"length": 0}, r"atlas.length must be distinct spans of time above 0 and up to 1, got 0"),
        ({"length": [0.4, 1.2]}, "atlas.length must be distinct spans"),
        ({"length": [0.4, 0.4]}, "atlas.length must be distinct spans"),
        ({"length": []}, "atlas.length must be distinct spans"),
        ({"looks_per_prompt": 0}, "greater than or equal to 1"),
        ({"onsets": 2}, "greater than or equal to 3"),
    ],
)
def test_what_cannot_be_is_refused(given, said):
    with pytest.raises(ValidationError, match=said):
        AtlasSettings(**given)
