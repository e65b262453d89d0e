"""Which dictionaries are said to have been drawn rather than learned, from hand-made rows and from a folder."""

import subprocess
import sys

import pytest

from study.cautions import learning_cautions, study_cautions
from study.config import load_config
from tests.parts import add_part, open_study
from tests.paths import ROOT

TINY = load_config(ROOT / "configs" / "tiny.yaml", [])
NAMED = {"block": "mid", "t": 0.0, "conditioning": "cond", "k": 4, "expansion": 2, "seed": 0, "kind": "trained"}
SHARED_UP = {"block": "up", "t": 1.0, "kind": "shared"}


def row(**given):
    return {**NAMED, "init_cosine": 0.2, "dead_fraction": 0.01, **given}


def curve(*gained, total=64, **given):
    """Points at 0.6, 0.8 and all of the steps, explained variance rising by so much on the plateau."""
    steps = (0, round(0.6 * total), round(0.8 * total), total)
    values = (0.2, 0.8, 0.8 + gained[0], 0.99)
    return [{**NAMED, **given, "step": step, "explained_variance": v} for step, v in zip(steps, values, strict=True)]


def test_nothing_is_said_where_all_is_well_or_at_a_limit_or_unknown():
    rows = [row(), row(init_cosine=0.5, dead_fraction=0.1), row(init_cosine=None, dead_fraction=None)]
    assert learning_cautions(rows, curve(0.0049), TINY) == [] == learning_cautions(rows, [], TINY)
    assert learning_cautions([row()], curve(-0.1), TINY) == [] == learning_cautions([], curve(0.5), TINY)
    assert learning_cautions([row()], curve(0.5)[:2], TINY) == []  # a run of one point has no plateau


REMEDY = "train longer (sae.vectors or sae.epochs), on more prompts (prompts.splits.train) or with a larger sae.lr"


@pytest.mark.parametrize(
    ("column", "bad", "worse", "shown", "means"),
    [
        ("init_cosine", 0.51, 0.754, "0.75", "their concepts still stand near the random directions they began as"),
        ("dead_fraction", 0.11, 0.3, "0.30", "many of their latents never fire"),
    ],
)
def test_each_kind_of_caution_is_one_line_with_the_count_the_worst_and_a_remedy(column, bad, worse, shown, means):
    rows = [row(), row(**{column: bad}), row(**{column: worse}, **SHARED_UP), row(**{column: None})]
    limit = {"init_cosine": 0.5, "dead_fraction": 0.1}[column]
    where = f"in 2 of 3 dictionaries (largest at up/1.00/cond k4 shared: {shown})"
    assert learning_cautions(rows, [], TINY) == [f"{column} is above {limit} {where}: {means}; {REMEDY}"]


def test_a_curve_that_rose_on_its_plateau_is_told_whatever_the_end_gained():
    rows = [row(), row(**SHARED_UP), row(conditioning="uncond"), row(block="down")]
    curves = [*curve(0.0061), *curve(0.0123, **SHARED_UP, total=1000), *curve(0.001, conditioning="uncond")]
    beyond = "the gain from 0.6 to 0.8 of the steps is above 0.005 in 2 of 3 dictionaries"
    means = "explained variance was still rising before the learning rate fell"
    wanted = f"{beyond} (largest at up/1.00/cond k4 shared: 0.0123): {means}; {REMEDY}"
    assert learning_cautions(rows, curves, TINY) == [wanted]


@pytest.mark.parametrize("other", [{"kind": "frozen"}, {"kind": "untrained"}, {"seed": 1}, {"expansion": 3}])
def test_controls_and_relatives_are_no_dictionaries(other):
    rows = [row(init_cosine=1.0, dead_fraction=1.0, **other)]
    assert learning_cautions(rows, curve(0.5, **other), TINY) == []


def metrics(**given):
    numbers = dict.fromkeys(("explained_variance", "fvu", "scaled_mse", "l0", "gamma", "init_nearest"), 0.5)
    counts = dict.fromkeys(("n_vectors", "n_train_vectors", "steps"), 1)
    return {"late_gain": None, **row(**given), **numbers, **counts, "density_histogram": [1], "stability": None}


def test_a_folder_is_read_and_one_that_cannot_be_says_nothing(tmp_path):
    open_study(tmp_path, {"name": "x"}, {})
    assert study_cautions(tmp_path, TINY) == []
    part = add_part(tmp_path, "sae_metrics", "a", [metrics(init_cosine=0.9), metrics(block="up")])
    (sentence,) = study_cautions(tmp_path, TINY)
    assert "in 1 of 2 dictionaries (largest at mid/0.00/cond k4: 0.90)" in sentence
    measured = dict.fromkeys(("dead_fraction", "init_cosine", "init_nearest"), 0.5) | {"vectors": 1, "stability": None}
    add_part(tmp_path, "sae_curves", "a", [{**point, **measured} for point in curve(0.02)])
    assert len(study_cautions(tmp_path, TINY)) == 2
    part.write_bytes(part.read_bytes()[:50])
    assert study_cautions(tmp_path, TINY) == []


def test_looking_for_cautions_loads_no_torch():
    """``concepts status`` answers at once."""
    asked = "import sys, study.status, study.cautions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], cwd=ROOT).returncode == 0
