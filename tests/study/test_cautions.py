"""Which dictionaries are said to have been drawn rather than learned, from hand-made rows and from a folder."""

import subprocess
import sys

import pytest

from study.cautions import learning_cautions, study_cautions
from study.config import load_config
from tests.parts import add_part, open_study
from tests.paths import ROOT

TINY = load_config(ROOT / "configs" / "tiny.yaml", [])
WELL = {"init_cosine": 0.2, "late_gain": 0.001, "dead_fraction": 0.01}


def row(**given):
    named = {"block": "mid", "t": 0.0, "conditioning": "cond", "k": 4, "expansion": 2, "seed": 0, "kind": "trained"}
    return {**named, **WELL, **given}


def test_nothing_is_said_where_all_is_well_or_at_a_limit_or_unknown():
    at_limits = {"init_cosine": 0.5, "late_gain": 0.005, "dead_fraction": 0.1}
    unknown = dict.fromkeys(WELL)
    assert learning_cautions([row(), row(**at_limits), row(**unknown)], TINY) == [] == learning_cautions([], TINY)


@pytest.mark.parametrize(
    ("column", "bad", "worse", "shown", "means"),
    [
        ("init_cosine", 0.51, 0.754, "0.75", "near the random directions they began as"),
        ("late_gain", 0.006, 0.0123, "0.0123", "still rising when training ended"),
        ("dead_fraction", 0.11, 0.3, "0.30", "many of their latents never fire"),
    ],
)
def test_each_kind_of_caution_is_one_line_with_the_count_the_worst_and_a_remedy(column, bad, worse, shown, means):
    rows = [
        row(),
        row(**{column: bad}),
        row(**{column: worse}, block="up", t=1.0, kind="shared"),
        row(**{column: None}),
    ]
    (sentence,) = learning_cautions(rows, TINY)
    assert (
        sentence.startswith(f"{column} is above ")
        and f"in 2 of 3 dictionaries (largest at up/1.00/cond k4 shared: {shown})" in sentence
    )
    assert (
        means in sentence
        and "train longer (sae.vectors or sae.epochs), on more prompts" in sentence
        and "larger sae.lr" in sentence
    )


@pytest.mark.parametrize("other", [{"kind": "frozen"}, {"kind": "untrained"}, {"seed": 1}, {"expansion": 3}])
def test_controls_and_relatives_are_no_dictionaries(other):
    assert learning_cautions([row(init_cosine=1.0, late_gain=1.0, dead_fraction=1.0, **other)], TINY) == []


def metrics(**given):
    numbers = dict.fromkeys(("explained_variance", "fvu", "scaled_mse", "l0", "gamma", "init_nearest"), 0.5)
    counts = dict.fromkeys(("n_vectors", "n_train_vectors", "steps"), 1)
    return {**row(**given), **numbers, **counts, "density_histogram": [1], "stability": None}


def test_a_folder_is_read_and_one_that_cannot_be_says_nothing(tmp_path):
    open_study(tmp_path, {"name": "x"}, {})
    assert study_cautions(tmp_path, TINY) == []
    part = add_part(tmp_path, "sae_metrics", "a", [metrics(init_cosine=0.9), metrics(block="up")])
    (sentence,) = study_cautions(tmp_path, TINY)
    assert "in 1 of 2 dictionaries (largest at mid/0.00/cond k4: 0.90)" in sentence
    part.write_bytes(part.read_bytes()[:50])
    assert study_cautions(tmp_path, TINY) == []


def test_looking_for_cautions_loads_no_torch():
    """``concepts status`` answers at once."""
    asked = "import sys, study.status, study.cautions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], cwd=ROOT).returncode == 0
