"""Which captions name a label."""

import pytest

from vision.words import mentioned, mentions


@pytest.mark.parametrize(
    ("caption", "label", "named"),
    [
        ("a sun, a red ball and a boat over the water", "sun", True),
        ("Two Boats on the water", "boat", True),
        ("three boxes", "box", True),
        ("a carpet on the floor", "car", False),
        ("a hot dog", "hot dog", True),
        ("a dog that is hot", "hot dog", False),
        ("a sketch of a c++ book", "c++", True),
        ("c++11 is newer", "c++", False),
        ("un café à Paris", "café", True),
        ("Ｔｗｏ ｃａｔｓ", "cat", True),
        ("一只狗在草地上", "狗", True),
        ("большая рыба", "рыба", True),
        ("a dog's bowl", "dog", True),
        ("", "tree", False),
    ],
)
def test_mentions(caption, label, named):
    assert mentions(caption, label) is named


def test_all_that_are_mentioned_in_the_order_of_the_labels():
    labels = ["tree", "car", "cat", "hot dog", "ＣＡＴ", "carpet"]
    caption = "Two cats on a carpet beside a hot dog"
    assert mentioned(caption, labels) == ["cat", "hot dog", "ＣＡＴ", "carpet"]
    assert mentioned(caption, labels) == [label for label in labels if mentions(caption, label)]
