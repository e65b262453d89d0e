"""Every figure is drawn, depends on its data alone and shows what it was given."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from concepts import edit_controls
from concepts.edit_controls import CONCEPTS, UNEDITED
from figures import draw, pictures

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 255, (64, 64, 3)).astype(np.uint8)
MASK = np.zeros((64, 64), bool)
MASK[10:30, 20:50] = True
WINDOWS = ["early", "middle", "final"]


def upper(value):
    return np.triu(np.ones((8, 8)), k=int(10 * value))


def metrics(value):
    return [
        {"block": b, "t": t, "conditioning": "cond", "k": 10, "kind": kind, "explained_variance": value * share}
        for b in ("mid", "up")
        for t in (1.0, 0.5, 0.0)
        for kind, share in (
            ("trained", 1.0),
            ("shared", 0.9),
            ("frozen", 0.5),
            ("soft_frozen", 0.7),
            ("untrained", 0.3),
        )
    ]


def curves(value):
    return [
        {"block": b, "t": t, "share": share, "explained_variance": value * share - 0.1, "dead_fraction": 0.1 * share}
        | {"init_cosine": 1 - value * share, "stability": None if b == "up" else share}
        for b in ("mid", "up")
        for t in (1.0, 0.0)
        for share in (0.0, 1 / 64, 0.4, 1.0)
    ]


def layout_rows(value):
    return [
        {
            "block": "mid",
            "t": t,
            "conditioning": "cond",
            "method": m,
            "iou": value,
            "iou_ci_low": 0.1,
            "iou_ci_high": 0.8,
        }
        for t in (1.0, 0.0)
        for m in draw.LAYOUT_METHODS
    ]


def effects(value):
    return [
        {"kind": k, "window": w, "control": c, "success": value, "success_ci_low": 0.1, "success_ci_high": 0.9}
        for k in ("spatial", "global")
        for w in WINDOWS
        for c in draw.CONTROLS
        if (k, w, c) != ("global", "final", "none")  # a target that no concept carries has no edited rows
    ]


def case(value):
    edited = (PICTURE * value).astype(np.uint8)
    return {"title": "tree", "before": PICTURE, "edited": edited, "control": PICTURE, "region": MASK}


DRAWINGS = {
    "images_and_masks": lambda v, path: pictures.images_and_masks(
        [{"image": (PICTURE * v).astype(np.uint8), "caption": "a tree on the grass", "masks": {"tree": MASK}}] * 2, path
    ),
    "explained_variance": lambda v, path: draw.explained_variance(metrics(v), path),
    "learning_curves": lambda v, path: draw.learning_curves(curves(v), path),
    "concept_cards": lambda v, path: pictures.concept_cards(
        [
            {"title": "tree", "examples": [(PICTURE, upper(v))]},
            {"title": "sun", "examples": [(PICTURE, upper(v))]},
        ],
        path,
    ),
    "concepts_through_time": lambda v, path: pictures.concepts_through_time(
        [
            {
                "title": "tree: CID 3",
                "times": [1.0, 0.0],
                "examples": [(PICTURE, {1.0: upper(v), 0.0: upper(0.1)})] * (2 - i),
                "iou": {0.0: v},
            }
            for i in range(2)
        ],
        path,
    ),
    "layouts": lambda v, path: pictures.layouts(
        [{"image": PICTURE, "label": "tree", "truth": MASK, "predictions": {1.0: upper(v), 0.0: np.eye(8) > 0}}],
        path,
    ),
    "layout_scores": lambda v, path: draw.layout_scores(layout_rows(v), path),
    "interventions": lambda v, path: pictures.interventions([case(v), {**case(v), "region": None}], path),
    "intervention_effects": lambda v, path: draw.intervention_effects(effects(v), WINDOWS, path),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_is_a_function_of_its_data(name, tmp_path, monkeypatch):
    """The second time with matplotlib's own tight frame, for which it draws the figure once more."""
    paths = [DRAWINGS[name](value, tmp_path / f"{value}.png") for value in (0.4, 0.7)]
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **how: save(self, path, **how | {"bbox_inches": "tight"}))
    paths.append(DRAWINGS[name](0.4, tmp_path / "again.png"))
    first, other, again = (path.read_bytes() for path in paths)
    assert first == again and first != other
    with Image.open(paths[0]) as image:
        assert min(image.size) > 100 and len(image.convert("RGB").getcolors(1 << 24)) > 10


def test_a_mask_is_drawn_in_the_colour_of_its_label(tmp_path):
    masks = {"sky": ~MASK, "tree": MASK}
    path = pictures.images_and_masks([{"image": PICTURE, "caption": "", "masks": masks}], tmp_path / "a.png")
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    sky, tree = ((np.array(colour) == pixels).all(1).sum() for colour in ((31, 119, 180), (174, 199, 232)))
    assert tree / (sky + tree) == pytest.approx(MASK.mean(), abs=0.03)


def test_learning_curves_show_each_site_as_a_line_and_nothing_where_there_is_no_figure(tmp_path, monkeypatch):
    """What stands in the axes, in percent where the title says so; the legend is beside them."""
    kept = []
    monkeypatch.setattr(draw, "save", lambda figure, path: kept.append(figure) or path)
    draw.learning_curves(curves(0.5), tmp_path / "a.png")
    (figure,) = kept
    assert [axis.get_title() for axis in figure.axes] == list(draw.CURVES.values())
    assert [len(axis.lines) for axis in figure.axes] == [4, 4, 4, 2]
    first = figure.axes[0].lines[0]
    assert list(first.get_xdata()) == [0, 1 / 64, 0.4, 1] and list(first.get_ydata())[-1] == pytest.approx(40)
    assert list(figure.axes[2].lines[0].get_ydata()) == pytest.approx([1, 1 - 0.5 / 64, 0.8, 0.5])
    assert figure.axes[0].get_ylim()[0] < -9 and figure.axes[1].get_ylim()[0] == 0 == figure.axes[2].get_ylim()[0]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["mid", "up", "t = 1", "t = 0"]
    assert not any(axis.get_legend() for axis in figure.axes)


def test_the_effects_show_every_control_that_was_run_and_none_that_succeeds_nowhere_by_definition(
    tmp_path, monkeypatch
):
    kept = []
    monkeypatch.setattr(draw, "save", lambda figure, path: kept.append(figure) or path)
    more = [row | {"control": "random_concepts", "success": 0.2} for row in effects(0.5) if row["control"] == "none"]
    draw.intervention_effects(effects(0.5) + more, WINDOWS, tmp_path / "a.png")
    (figure,) = kept
    (legend,) = [axis.get_legend() for axis in figure.axes if axis.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == ["by concepts", "random direction", "random concepts"]
    shown = [drawn.lines[0] for drawn in figure.axes[0].containers]
    assert [list(line.get_ydata()) for line in shown] == [[0.5] * len(WINDOWS)] * 2 + [[0.2] * len(WINDOWS)]
    assert len({line.get_color() for line in shown}) == 3
    x = np.array([line.get_xdata() for line in shown])
    assert np.diff(x, axis=0) == pytest.approx(0.15) and np.abs(x - range(len(WINDOWS))).max() < 0.5
    low, high = figure.axes[0].get_ylim()
    assert low < 0 and high > 1


def test_a_caption_that_has_no_room_ends_in_an_ellipsis(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(pictures.Sheet, "text", lambda self, x, y, text, **how: said.append(text))
    caption = "an image of a purple ball, a white balloon and a yellow kite by the road at night"
    pictures.images_and_masks([{"image": PICTURE, "caption": caption, "masks": {}}], tmp_path / "a.png")
    (lines,) = said
    assert lines.endswith(" …") and lines.count("\n") == 2 and max(map(len, lines.split("\n"))) <= 24


def test_every_control_that_can_be_asked_for_has_a_colour_of_its_own():
    looks = draw.looks_of([{"control": control} for control in (CONCEPTS, UNEDITED, *edit_controls.CONTROLS)])
    assert len({colour for _, colour in looks.values()}) == len(looks) == 10
    assert looks["wrong_region"][0] == "wrong region" and list(looks)[:2] == [CONCEPTS, "random_direction"]
