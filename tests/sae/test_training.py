"""Whole training runs: what they learn, what they refuse, and resume after kill -9."""

import functools
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sae.checkpoint import RunPaths
from sae.errors import SAEError
from sae.kinds import FROZEN
from sae.members import Member, Stack, fold, members_of, untrained
from sae.metrics import evaluate, stability
from sae.points import curve_steps
from sae.settings import SAESettings
from sae.source import EqualShares, Standardised, measure, prefetched
from storage.errors import StorageError
from tests.paths import ROOT
from tests.sae.synthetic import Synthetic, standardised, train_on
from tests.sae.train_slowly import MEMBERS, STEPS

SETTINGS = SAESettings(k=(3,), batch_size=64, lr=3e-3, epochs=12, dead_after_vectors=500, aux_k=8, checkpoint_every=5)
SHORT = SETTINGS.model_copy(update={"epochs": 2})


def raw(sae, source):
    statistics = measure(source)
    return fold(sae, statistics.mean, statistics.scale)


def variance_explained(sae, source):
    return evaluate(raw(sae, source), Synthetic(source.d, 2000, seed=9).chunks()).explained_variance


def place(folder, members):
    return RunPaths(folder / "checkpoint.json", {m: folder / str(i) for i, m in enumerate(members)})


@functools.cache  # several tests look at one training
def learned(**variant):
    """A source and the SAE that a variant of the training learned from it."""
    source, member = Synthetic(16, 6000, seed=0), Member(3, 64, 0)
    return source, train_on(source, SETTINGS.model_copy(update=variant), [member]).saes[member]


@pytest.mark.slow
def test_training_beats_both_controls_and_recovers_directions():
    source = Synthetic(16, 6000, seed=0)
    trained, frozen = Member(3, 32, 0), Member(3, 32, 0, FROZEN)
    saes = train_on(source, SETTINGS, [trained, frozen]).saes
    learned = torch.nn.functional.normalize(saes[trained].concept_vectors(), dim=1)
    assert (learned @ source.dictionary.T).max(0).values.median() > 0.9
    scores = [variance_explained(sae, source) for sae in (saes[trained], saes[frozen], untrained(16, trained))]
    assert scores[0] > 0.75 and scores[0] > scores[1] + 0.1 and scores[1] > scores[2] + 0.05, scores


@pytest.mark.slow
@pytest.mark.parametrize("variant", [{"variant": "batchtopk"}, {"matryoshka": (0.25, 1.0)}])
def test_variants_learn_the_directions_too(variant):
    source, sae = learned(**variant)
    found = evaluate(raw(sae, source), Synthetic(16, 2000, seed=9).chunks())
    assert found.explained_variance > 0.75
    assert found.l0 == pytest.approx(3, abs=0.25), "the threshold must let through k latents on average"


def test_a_matryoshka_prefix_reconstructs_better_than_a_plain_one():
    scores = {}
    for shares in ((), (0.25, 1.0)):
        source, sae = learned(matryoshka=shares)
        x = next(standardised(source).batches(3000, 1, 0))
        values, latents = sae.encode(x)
        prefix = sae.decode(values * (latents < 16), latents)
        scores[shares] = float(1 - (x - prefix).square().sum() / x.square().sum())
    assert scores[0.25, 1.0] > scores[()] + 0.1, scores


def test_the_members_of_a_site_are_every_k_width_and_seed_and_the_controls():
    controls = ("frozen_encoder", "soft_frozen")
    settings = SAESettings(k=(10, 20), expansion=(4, 8), seeds=2, controls=controls)
    members = members_of(settings, d=32, seed=7)
    assert len(members) == 2 * 2 * 2 + 3 * 2 and len(set(members)) == len(members)
    assert members[:2] == [Member(10, 128, 7), Member(20, 128, 7)]
    assert {m.seed for m in members} == {7, 8} and [m.k for m in members if m.kind == FROZEN] == [10, 20]
    for kind in controls:
        assert [m for m in members if m.kind == kind] == [Member(10, 128, 7, kind), Member(20, 128, 7, kind)]
    assert SAESettings(expansion=4).expansion == (4,)


def test_one_sae_over_several_sources_explains_each_of_them():
    """Two 'times' with the same directions, other offsets and scales: folded apart, one SAE serves both."""
    one, two = Synthetic(16, 6000, seed=0), Synthetic(16, 6000, seed=1)
    two.x = 40 * two.x - 7
    member = Member(3, 32, 0)
    from sae.train import train

    both = EqualShares([standardised(one), standardised(two)])
    sae = train(both, SETTINGS, [member], seed=0).saes[member]
    for source in (one, two):
        statistics = measure(source)
        folded = fold(Stack(16, [member]).member(0), statistics.mean, statistics.scale)
        with torch.no_grad():
            folded.W_enc.copy_(sae.W_enc), folded.W_dec.copy_(sae.W_dec)
            folded.b_dec.copy_(sae.b_dec / statistics.scale + statistics.mean)
        assert evaluate(folded, source.chunks()).explained_variance > 0.75
    x = next(both.batches(64, 0, 0))
    assert x.shape == (64, 16) and both.n_batches(64) == 6000 // 32


def test_two_seeds_are_matched_one_to_one():
    a = torch.nn.functional.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert stability(a, 3 * a[order]) == pytest.approx(1.0, abs=1e-6)
    assert stability(a, torch.randn(40, 8, generator=torch.Generator().manual_seed(5))) < 0.85


class TestBadInput:
    def test_too_few_vectors(self):
        with pytest.raises(SAEError, match=r"fewer training vectors than sae.batch_size 64"):
            train_on(Synthetic(8, 10, 0), SHORT, [Member(2, 16, 0)])

    def test_values_that_are_not_finite(self):
        broken = Synthetic(8, 200, 0)
        broken.x[7, 2] = np.nan
        with pytest.raises(SAEError, match="not finite"):
            measure(broken)

    def test_vectors_that_do_not_vary(self):
        constant = Synthetic(8, 200, 0)
        constant.x[:] = 1.1
        with pytest.raises(SAEError, match="do not vary"):
            measure(constant)

    def test_a_constant_channel_is_named_and_does_no_harm(self):
        source = Synthetic(16, 3200, 0)
        source.x[:, 5] = 60000.0
        statistics = measure(source)
        assert statistics.constant == (5,) and "1 channels never vary (5)" in statistics.cautions("mid/1.00/cond")[-1]
        member = Member(3, 32, 0)
        sae = raw(train_on(source, SETTINGS, [member]).saes[member], source)
        assert evaluate(sae, source.chunks()).explained_variance > 0.7

    def test_a_dominant_mean_is_said(self):
        source = Synthetic(16, 3200, 0)
        source.x += 100
        assert "times as long as the deviation" in measure(source).cautions("mid/1.00/cond")[0]
        assert not measure(Synthetic(16, 3200, 0)).cautions("mid/1.00/cond")

    def test_more_latents_asked_for_than_there_are(self):
        with pytest.raises(SAEError, match="only 8 latents"):
            train_on(Synthetic(4, 640, 0), SHORT, [Member(9, 8, 0)])

    def test_a_diverging_run(self):
        settings = SHORT.model_copy(update={"lr": 1e30, "warmup_fraction": 0.0})
        with pytest.raises(SAEError, match=r"diverged at step .* lower sae.lr"):
            train_on(Synthetic(8, 640, 0), settings, [Member(2, 16, 0)])

    def test_a_checkpoint_of_another_run_or_a_damaged_one(self, tmp_path):
        members = [Member(2, 16, 0)]
        paths = place(tmp_path, members)
        train_on(Synthetic(8, 640, 0), SHORT, members, paths=paths)
        with pytest.raises(SAEError, match=r"another configuration \(lr: then 0.003, now 0.5\): move it away"):
            train_on(Synthetic(8, 640, 0), SHORT.model_copy(update={"lr": 0.5}), members, paths=paths)
        with pytest.raises(SAEError, match=r"another configuration .*data"):
            train_on(Synthetic(8, 640, 4), SHORT, members, paths=paths)
        next(tmp_path.rglob("step-*.safetensors")).write_bytes(b"x")
        with pytest.raises(SAEError, match=r"is damaged .* run `concepts repair`"):
            train_on(Synthetic(8, 640, 0), SHORT, members, paths=paths)

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "0").write_text("a file where a folder should be")
        with pytest.raises(StorageError, match=r"cannot write .*make its folder writable"):
            train_on(Synthetic(8, 640, 0), SHORT, [Member(2, 16, 0)], paths=place(tmp_path, [Member(2, 16, 0)]))

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"k": [0]}, "sae.k must be distinct positive"),
            ({"k": [4, 4]}, "sae.k must be distinct positive"),
            ({"expansion": []}, "sae.expansion must be distinct positive"),
            ({"controls": ["soft_frozen", "soft_frozen"]}, "names a control twice"),
            ({"controls": ["untrained"]}, "soft_frozen"),
            ({"matryoshka": [0.5, 0.25, 1]}, "must ascend"),
            ({"matryoshka": [0.5]}, "must ascend"),
            ({"warmup_fraction": 0.6, "decay_fraction": 0.6}, "no plateau"),
        ],
    )
    def test_contradictory_settings(self, given, sentence):
        with pytest.raises(ValueError, match=sentence):
            SAESettings.model_validate(given)


def test_a_loader_that_fails_fails_the_run_and_an_early_stop_ends_the_thread():
    def broken():
        yield 1
        raise SAEError("shard 3 is damaged")

    items = prefetched(broken())
    assert next(items) == 1
    with pytest.raises(SAEError, match="shard 3"):
        next(items)
    made = []
    endless = prefetched((made.append(i) or i for i in range(10**9)), ahead=2)
    assert next(endless) == 0
    endless.close()
    assert len(made) < 50
    assert list(prefetched(iter(range(100)), ahead=1)) == list(range(100))


def test_conditioning_centres_and_scales():
    source = Synthetic(16, 3000, 2)
    x = torch.cat(list(Standardised(source, measure(source)).batches(500, 0, 0)))
    assert x.mean(0).abs().max() < 1e-5 and x.square().mean().item() == pytest.approx(1.0, rel=1e-4)


@pytest.fixture(scope="module")
def trained():
    """Trains in a process forked from one that has imported torch; gives its exit code."""
    command = [sys.executable, "-m", "tests.sae.train_slowly"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as forking:

        def train(*line):
            print(*line, sep="\t", file=forking.stdin, flush=True)
            return int(forking.stdout.readline())

        yield train


@pytest.fixture(scope="module")
def undisturbed(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert trained(folder) == 0
    return folder


POINTS = int(os.environ.get("RESUME_POINTS", 4))


@pytest.mark.faults
@pytest.mark.parametrize("step", sorted(random.Random(2026).sample(range(1, STEPS), POINTS)))
def test_kill_nine_anywhere_and_resume_gives_the_same_bits(tmp_path, trained, undisturbed, step):
    """Weights of every SAE, logs, curves and last checkpoint, after a death inside a step or inside a checkpoint.

    At 20 points: RESUME_POINTS=20 python -m pytest tests/sae/test_training.py -m faults
    """
    assert trained(tmp_path, step) == -9
    assert not (tmp_path / "final.safetensors").exists()
    assert trained(tmp_path) == 0
    assert_same_bits(tmp_path, undisturbed)


def assert_same_bits(folder, undisturbed):
    ours, theirs = (load_file(f / "final.safetensors") for f in (folder, undisturbed))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for i in range(len(MEMBERS)):
        name = f"member{i}/log.jsonl"
        assert (folder / name).read_text() == (undisturbed / name).read_text()
        (mine,), (other,) = ((f / f"member{i}/checkpoint").glob("*.safetensors") for f in (folder, undisturbed))
        assert mine.read_bytes() == other.read_bytes()
    assert json.loads((folder / "checkpoint.json").read_text())["step"] == STEPS
    curves = json.loads((folder / "curves.json").read_text())
    assert curves == json.loads((undisturbed / "curves.json").read_text())
    for rows in curves:
        assert [row["step"] for row in rows if row["sample"] == 0] == list(curve_steps(STEPS))
