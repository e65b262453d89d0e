"""Which captions name a label."""

import pytest

from vision.words import mentions


@pytest.mark.parametrize(
    ("caption", "label", "named"),
    [
        ("a sun, a red ball and a boat over the water", "sun", True),
        ("Two Boats on the water", "boat", True),
        ("three boxes", "box", True),
        ("a carpet on the floor", "car", False),
        ("a hot dog", "hot dog", True),
        ("a dog that is hot", "hot dog", False),
        ("a sketch of a c++ book", "c++", False),
        ("", "tree", False),
    ],
)
def test_mentions(caption, label, named):
    assert mentions(caption, label) is named
