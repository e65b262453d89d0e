"""Learning curves: when they are measured, against what, and that training does not notice."""

import json
from itertools import permutations

import numpy as np
import pytest
import torch

from sae import curve
from sae.checkpoint import RunPaths
from sae.commit import commit_bytes, read_commit
from sae.curve import over_samples, sample_digest
from sae.errors import SAEError
from sae.members import Member, untrained
from sae.metrics import evaluate, partner_cosines, stability
from sae.points import curve_steps
from sae.settings import SAESettings
from tests.sae.synthetic import Synthetic, standardised, train_on

SETTINGS = SAESettings(k=(3,), batch_size=64, lr=3e-3, epochs=2, dead_after_vectors=500, aux_k=8, checkpoint_every=5)
SOURCE = Synthetic(16, 1280, seed=0)  # 40 steps
STEPS = 40
MEMBERS = [Member(3, 32, 0), Member(3, 32, 1), Member(3, 64, 0), Member(3, 32, 0, "frozen"), Member(3, 32, 1, "frozen")]


def samples(*sizes):
    """Held-out vectors, standardised as the source is."""
    statistics = standardised(SOURCE).statistics
    drawn = [Synthetic(16, size, seed=7 + i).x for i, size in enumerate(sizes)]
    return [(x - statistics.mean) * statistics.scale for x in drawn]


@pytest.fixture(scope="module")
def trained():
    return train_on(SOURCE, SETTINGS, MEMBERS, samples=samples(1500, 300))


def test_every_member_is_measured_at_every_point_once_on_every_sample(trained):
    assert trained.steps == STEPS
    for member in MEMBERS:
        points = [(row["step"], row["sample"]) for row in trained.logs.curves[member]]
        assert points == [(step, sample) for step in curve_steps(STEPS) for sample in (0, 1)]


def test_the_first_point_is_the_untrained_sae_and_the_last_the_finished_one(trained):
    for member in MEMBERS:
        rows = trained.logs.curves[member]
        for sae, at in ((untrained(16, member), rows[:2]), (trained.saes[member], rows[-2:])):
            for x_ND, row in zip(samples(1500, 300), at, strict=True):
                wanted = evaluate(sae, [x_ND.numpy()])
                assert row["explained_variance"] == pytest.approx(wanted.explained_variance, abs=1e-6)
                assert row["dead_fraction"] == wanted.dead_fraction
        assert (rows[0]["init_cosine"], rows[0]["init_nearest"]) == (pytest.approx(1, abs=1e-6), 1)
        start, end = untrained(16, member).concept_vectors(), trained.saes[member].concept_vectors()
        cosine = (end @ start.T).numpy()
        assert rows[-1]["init_cosine"] == pytest.approx(cosine.diagonal().mean(), abs=1e-5)
        assert rows[-1]["init_nearest"] == (cosine.argmax(1) == np.arange(member.n)).mean()
    moved = [trained.logs.curves[member][-1]["init_cosine"] for member in MEMBERS]
    assert max(moved[:3]) < 0.99 and moved[3:] == [pytest.approx(1, abs=1e-6)] * 2  # a frozen decoder stays


def test_stability_is_of_further_seeds_of_trained_saes_to_the_first_at_the_same_point(trained):
    first, second, wide, *frozen = (trained.logs.curves[member] for member in MEMBERS)
    assert all(row["stability"] is None for rows in (first, wide, *frozen) for row in rows)
    ends = [trained.saes[member].concept_vectors() for member in MEMBERS[:2]]
    starts = [untrained(16, member).concept_vectors() for member in MEMBERS[:2]]
    assert second[0]["stability"] == pytest.approx(stability(*starts))
    assert second[-1]["stability"] == pytest.approx(stability(*ends)) != second[0]["stability"]


def test_of_many_latents_seeds_are_matched_at_the_end_alone(monkeypatch):
    monkeypatch.setattr(curve, "MATCHED", 31)
    rows = train_on(SOURCE, SETTINGS, MEMBERS[:2], samples=samples(100)).logs.curves[MEMBERS[1]]
    assert [row["stability"] is None for row in rows] == [True] * (len(rows) - 1) + [False]


VARIANTS = [{}, {"variant": "batchtopk"}, {"matryoshka": (0.25, 1.0)}, {"axes": "principal"}]


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_does_not_notice_that_it_is_measured(variant):
    settings = SETTINGS.model_copy(update=variant)
    alone = train_on(SOURCE, settings, MEMBERS)
    measured = train_on(SOURCE, settings, MEMBERS, samples=samples(200))
    assert alone.logs.curves == {member: [] for member in MEMBERS}
    assert alone.logs.history == measured.logs.history
    for member in MEMBERS:
        ours, theirs = (run.saes[member].state_dict() for run in (measured, alone))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert measured.logs.curves[member][-1]["explained_variance"] > 0.1


def test_in_other_axes_the_figures_are_of_the_same_saes():
    """The sample is turned into them, and back is what is saved."""
    run = train_on(SOURCE, SETTINGS.model_copy(update={"axes": "principal"}), MEMBERS, samples=samples(500))
    for member in MEMBERS:
        rows = run.logs.curves[member]
        for sae, row in ((untrained(16, member), rows[0]), (run.saes[member], rows[-1])):
            wanted = evaluate(sae, [samples(500)[0].numpy()])
            assert row["explained_variance"] == pytest.approx(wanted.explained_variance, abs=1e-4)
        start, end = untrained(16, member).concept_vectors(), run.saes[member].concept_vectors()
        assert rows[-1]["init_cosine"] == pytest.approx(float((start * end).sum(1).mean()), abs=1e-5)


def test_a_threshold_comes_from_the_sample(monkeypatch):
    """BatchTopK's, with as many latents on as in training: neither all of them, nor the k largest of each vector."""
    settings = SETTINGS.model_copy(update={"variant": "batchtopk", "epochs": 8})
    x_ND = samples(2000)
    run = train_on(SOURCE, settings, MEMBERS[:1], samples=x_ND)
    wanted = evaluate(run.saes[MEMBERS[0]], [x_ND[0].numpy()]).explained_variance  # its threshold is the train split's
    assert run.logs.curves[MEMBERS[0]][-1]["explained_variance"] == pytest.approx(wanted, abs=0.02)


def paths_in(folder):
    return RunPaths(folder / "checkpoint.json", {m: folder / str(i) for i, m in enumerate(MEMBERS)})


def test_a_run_that_has_ended_tells_its_curve_again(tmp_path, trained):
    for _ in range(2):
        run = train_on(SOURCE, SETTINGS, MEMBERS, paths=paths_in(tmp_path), samples=samples(1500, 300))
        assert run.logs.curves == trained.logs.curves


def test_a_checkpoint_of_another_sample_or_of_none_is_of_another_run(tmp_path):
    train_on(SOURCE, SETTINGS, MEMBERS, paths=paths_in(tmp_path))
    with pytest.raises(SAEError, match=r"another configuration \(curves: then None, now 100 vectors, .*move it away"):
        train_on(SOURCE, SETTINGS, MEMBERS, paths=paths_in(tmp_path), samples=samples(100))


def test_a_checkpoint_from_before_there_were_curves_goes_on_where_none_is_asked_for(tmp_path):
    whole = train_on(SOURCE, SETTINGS, MEMBERS, paths=paths_in(tmp_path))
    commit = tmp_path / "checkpoint.json"
    facts = {key: value for key, value in read_commit(commit).items() if key != "curves"}
    commit.write_bytes(commit_bytes(facts))
    again = train_on(SOURCE, SETTINGS, MEMBERS, paths=paths_in(tmp_path))
    assert again.logs.history == whole.logs.history and again.logs.curves == whole.logs.curves
    assert "curves" not in json.loads(commit.read_text())


def test_a_diverging_run_is_one_sentence_when_it_is_measured(tmp_path):
    settings = SETTINGS.model_copy(update={"lr": 1e38, "warmup_fraction": 0.0})
    with pytest.raises(SAEError, match=r"diverged at step .* lower sae.lr"):
        train_on(SOURCE, settings, MEMBERS, samples=samples(100))


def test_the_means_over_samples():
    rows = [
        {
            "step": step,
            "sample": n,
            "explained_variance": v,
            "dead_fraction": 1 - v,
            "init_cosine": 0.5,
            "stability": None,
        }
        for step in (0, 4)
        for n, v in enumerate((0.25 + step, 0.75 + step))
    ]
    means = over_samples(rows)
    assert [row["step"] for row in means] == [0, 4] and [row["explained_variance"] for row in means] == [0.5, 4.5]
    assert means[0] == {
        "step": 0, "explained_variance": 0.5, "dead_fraction": 0.5, "init_cosine": 0.5, "stability": None
    }  # fmt: skip


def test_the_digest_tells_samples_apart():
    one, two = samples(100, 100)
    assert sample_digest([one]) == sample_digest([one.clone()]) != sample_digest([two])
    assert sample_digest([one, two]) != sample_digest([two, one]) and sample_digest([one]).startswith("100 vectors, ")


@pytest.mark.parametrize("seed", range(5))
def test_partners_are_those_of_the_best_of_all_one_to_one_matchings(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 5, 3)).astype(np.float32)
    cosine = (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    best = max(permutations(range(5)), key=lambda order: cosine[range(5), order].sum())
    found = partner_cosines(torch.from_numpy(a), torch.from_numpy(b))
    assert found == pytest.approx(cosine[range(5), best], abs=1e-6) and found.shape == (5,)
    assert stability(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(found.mean())
