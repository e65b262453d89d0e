"""What the trials of training settings measure, and the starts that they try."""

import numpy as np
import pytest
import torch

import sae.members
from benchmarks.leaving_the_start import CHANGES, FORMER, drawn_from, from_start
from benchmarks.paper_setting import known_directions, vectors
from sae.members import Member, Stack
from sae.settings import SAESettings
from study.config import load_config
from tests.paths import ROOT

D = 6


class Data:
    """Standardised vectors of three directions, each with a little noise."""

    d, sites = D, 1

    def batches(self, batch_size, seed, epoch, skip=0):
        rng = np.random.default_rng(seed)
        x = 3 * np.eye(D)[rng.integers(0, 3, batch_size)] + 0.01 * rng.normal(size=(batch_size, D))
        yield torch.from_numpy(x.astype(np.float32))


def test_how_far_rows_are_from_their_start_by_hand():
    start = torch.eye(4)
    rows = torch.tensor([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [0, 0, -1.0, 0], [0, 0, 0.6, 0.8]])
    cosine, nearest = from_start(rows, start)
    assert cosine == pytest.approx((1 + 0.6 - 1 + 0.8) / 4) and nearest == 0.5


def test_starts_from_the_data_lie_in_it_and_the_usual_one_is_back_afterwards():
    usual = Stack(D, [Member(2, 12, 3)]).start
    for start in ("vectors", "k-means"):
        with drawn_from(start, Data()):
            rows = Stack(D, [Member(2, 12, 3)]).start
        assert torch.allclose(rows.norm(dim=1), torch.ones(12), atol=1e-5)
        assert rows[:, :3].amax(1).min() > 0.99, start
    with drawn_from(None, Data()):
        assert torch.equal(Stack(D, [Member(2, 12, 3)]).start, usual)
    with pytest.raises(RuntimeError), drawn_from("vectors", Data()):
        raise RuntimeError
    assert torch.equal(sae.members._unit_rows(12, D, 3), usual)


def test_every_change_is_one_that_training_takes():
    own = load_config(ROOT / "configs" / "mini.yaml").sae.model_dump()
    names = [name for name, _ in CHANGES]
    assert len(set(names)) == len(names) and ("nothing: the demo's settings", {}) in CHANGES
    for name, change in CHANGES:
        setting = {key: value for key, value in change.items() if key not in ("prompts", "share", "start")}
        made = SAESettings.model_validate(own | setting)
        differs = [key for key, value in made.model_dump().items() if value != own[key]]
        assert bool(differs) == bool(setting), name
    assert SAESettings.model_validate(own | FORMER).vectors is None


def test_known_directions_are_on_as_often_as_they_should_be_and_are_no_dictionarys_start():
    directions, chance = known_directions(64, 8)
    assert torch.allclose(directions.norm(dim=1), torch.ones(64), atol=1e-5) and (np.diff(chance) <= 0).all()
    assert (directions @ Stack(8, [Member(2, 64, 0)]).start.T).diagonal().abs().max() < 0.99
    alone = vectors(torch.eye(64), chance, 20_000, seed=1)  # each direction in a channel of its own
    assert np.abs((alone > 0.5).float().mean(0).numpy() - chance).max() < 0.02
    assert not torch.equal(vectors(directions, chance, 10, seed=1), vectors(directions, chance, 10, seed=2))
