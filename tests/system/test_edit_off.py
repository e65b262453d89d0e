"""How far one edit drives the activations off what is usual, against recorded ones, and how far it has come."""

import numpy as np
import pytest

from concepts.distribution import RIDGE
from diffusion.sampling import SitesToRecord, sample
from storage.site import Site
from study.models import borrowed_model
from study.opening import study_with_models
from tasks.edit_off import gauges_of_plan
from tasks.edit_plan import plan_edit
from tasks.edit_request import request_of
from tasks.edit_words import told
from tasks.fits import fit_vectors
from tasks.one_edit import make_edit
from tasks.site_change import changes_of, edits_of

pytestmark = pytest.mark.system
ASKED = {"prompt": "a tree in the grass", "concept": "tree", "region": "left", "window": "early", "strength": 8.0}


@pytest.fixture(scope="module")
def study(tiny_study):
    return study_with_models(tiny_study)


def mean_distance(x, fit):
    """Mean over steps and positions of float64 [steps, rows, columns, D], by the inverse of the ridged covariance."""
    fit = fit.astype(np.float64)
    covariance = np.cov(fit.T, bias=True)
    inverse = np.linalg.inv(covariance + RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance)))
    apart = x - fit.mean(0)
    return np.sqrt(np.einsum("...i,ij,...j->...", apart, inverse, apart)).mean()


def test_the_columns_are_the_distances_of_recorded_activations(study):
    request = request_of(**ASKED)
    plan, row = plan_edit(study, request), make_edit(study, request).row
    changes, blocks = changes_of(plan), study.config.sites.blocks
    times = tuple(plan.first.times(study.config.sampling.steps))
    found = {}
    with borrowed_model(study) as model:
        for name, edits in (
            ("before", []),
            ("after", edits_of(study, changes, None)),
            ("control", edits_of(study, changes, [0])),
        ):
            record = SitesToRecord(blocks, times)
            kept = sample(model, [request.prompt], [plan.seed], study.config.sampling, record, edits).activations
            for block in blocks:
                x = np.stack([kept[block, t, "cond"][0] for t in times]).astype(np.float64)
                found[name, block] = mean_distance(x, fit_vectors(study.at(Site(block, 1.0, "cond"))))
    for picture in ("after", "control"):
        for block, column in (("mid", "off_distribution"), ("up", "off_downstream")):
            expected = found[picture, block] / found["before", block]
            assert row[f"{column}_{picture}"] == pytest.approx(expected, rel=3e-3)
    assert row["off_distribution_after"] > 1.05
    assert f"edit {row['off_distribution_after']:.2f} times as far as unedited" in told(row)[-1]


def test_what_two_parts_share_is_looked_at_once_and_is_edited_where_either_edits_it(study):
    parts = [
        {"concept": "tree", "region": "left", "window": "early", "strength": 3.0, "block": block}
        for block in ("mid", "up")
    ]
    found = gauges_of_plan(study, plan_edit(study, request_of(prompt="a tree", parts=parts)))
    blocks = study.config.sites.blocks
    assert {gauge.module: gauge.edited for gauge in found} == {blocks["mid"]: True, blocks["up"]: True}
    assert len(found) == 2
    (alone,) = [
        gauge
        for gauge in gauges_of_plan(study, plan_edit(study, request_of(prompt="a tree", **parts[0])))
        if not gauge.edited
    ]
    assert alone.module == blocks["up"]


@pytest.mark.parametrize("window", ["early", "final"])
def test_every_step_of_the_images_is_told_and_how_many_there_are(study, window):
    heard = []
    request = request_of(**{**ASKED, "window": window, "controls": 4})
    make_edit(study, request, lambda *told: heard.append(told))
    assert [done for done, _ in heard] == list(range(1, len(heard) + 1))
    assert {of for _, of in heard} == {len(heard)} and len(heard) > study.config.sampling.steps
