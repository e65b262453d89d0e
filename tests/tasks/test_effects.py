"""What is summed up and shown of edits, labels and dictionaries, from tables made by hand."""

import operator
from pathlib import Path

import numpy as np
import pytest

from concepts.effect_table import COLUMNS, effect_rows
from concepts.settings import REGIONS
from storage.tables import read_table
from study.config import load_config
from study.study import Study
from tasks import draw
from tasks.artifacts import bench_summary
from tasks.effects import summarise_effects
from tests.parts import add_part

CONFIG = Path(__file__).parents[2] / "configs" / "tiny.yaml"
PROMPTS = 6


def edit(prompt_id, region, control, success, **more):
    row = {
        "prompt_id": prompt_id, "kind": "spatial", "block": "mid", "t": 1.0, "window": "early", "target": "tree",
        "cid_count": 2, "region": region, "strength": 4.0, "control": control, "seed": 1, "success": success,
        "effect": 0.5 * success, "outside_change": 0.1, "objects_kept": None, "image": None,
    }  # fmt: skip
    return row | more


def quadrants():
    """Six prompts whose tree is at the top left: concepts move it in all but one, random directions never."""
    rows = []
    for prompt_id in range(PROMPTS):
        for region in REGIONS:
            there = region == "top_left"
            rows.append(edit(prompt_id, region, "unedited", there, strength=0.0))
            rows.append(edit(prompt_id, region, "random_direction", there))
            rows.append(edit(prompt_id, region, "none", (prompt_id, region) != (0, "top_right")))
    house = {"target": "house", "prompt_id": 7}
    return rows + [
        edit(0, r, c, s) | house
        for r in REGIONS
        for c, s in (("unedited", False), ("random_direction", False), ("none", True))
    ]


@pytest.fixture
def study(tmp_path):
    return Study(str(tmp_path), load_config(CONFIG, []), "hash")


def test_the_table_is_made_from_the_rows_of_the_edits(study):
    """What it holds is shown in ``tests/concepts/test_effect_table.py``."""
    add_part(study.root, "interventions", "a", quadrants())
    assert summarise_effects(study) == {"rows": 15}  # three targets; all cases of three controls, new ones of two
    settings = study.config.interventions
    rows = [{name: row.get(name) for name in COLUMNS} for row in quadrants()]
    expected = effect_rows(rows, settings.bootstrap, study.config.seed)
    found = read_table(study.root, "intervention_effects").to_pylist()
    key = operator.itemgetter("kind", "window", "control", "target", "cases")
    assert sorted(found, key=key) == sorted(expected, key=key)


def test_the_picture_shows_cases_that_no_success_has_picked(study, monkeypatch):
    """Whichever edits succeed, the same cases are shown; and none that the image before fulfils."""
    shown = []
    monkeypatch.setattr(draw, "decode_png", lambda data: data)
    monkeypatch.setattr(draw, "images_of", lambda study, start, stop: {start: np.zeros((8, 8, 3), np.uint8)})
    monkeypatch.setattr(draw.pictures, "interventions", lambda items, path: shown.append(items))
    for turned in (False, True):
        rows = [row | {"image": b"x"} if row["control"] != "unedited" else row for row in quadrants()]
        for row in rows:
            if row["control"] == "none" and turned:
                row.update(success=not row["success"], effect=-row["effect"] - row["prompt_id"])
        add_part(study.root, "interventions", "a", rows)
        draw._interventions(study, Path("unused"))
    titles = [[item["title"] for item in items] for items in shown]
    assert titles[0] == titles[1] == ["house, early\ntop left", "tree, early\nbottom left"]


def bench_row(t, f1_chosen, f1):
    ends = {f"{name}_ci_{end}": 0.5 for name in ("precision", "recall", "f1") for end in ("low", "high")}
    return ends | {
        "block": "mid", "t": t, "conditioning": "cond", "k": 4, "snr": 1.0, "method": "trained", "scope": "image",
        "kind": "*", "label": "*", "cid": None, "threshold": None, "precision": f1, "recall": f1, "f1": f1,
        "f1_chosen": f1_chosen, "prevalence": 0.1, "n_positive": 9, "splitting": 1.0, "absorption": None,
        "absorption_base": None,
    }  # fmt: skip


def test_a_method_is_shown_where_the_images_that_choose_find_it_best(study):
    add_part(study.root, "bench", "a", [bench_row(1.0, 0.8, 0.6), bench_row(0.0, 0.7, 0.75)])
    (row,) = bench_summary(study)
    assert (row["t"], row["f1"]) == (1.0, 0.6)
