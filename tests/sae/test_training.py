"""Training against a plain dense implementation, the traps of AuxK, and resume after kill -9."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sae.checkpoint import TrainState
from sae.errors import SAEError
from sae.model import TopKSAE
from sae.settings import SAESettings
from sae.train import aux_loss, learning_rate, make_untrained, train, train_step
from tests.sae.synthetic import Synthetic

SETTINGS = SAESettings(k=(3,), batch_size=64, lr=3e-3, epochs=2, dead_after_vectors=500, aux_k=8, checkpoint_every=5)


def dense_step(params, adam, x, since_fired, settings, k, lr):
    """One step written out densely, AuxK to the letter; no embedding_bag, no in-place tricks."""
    w_enc, w_dec, b = params
    pre = (x - b) @ w_enc
    top, where = pre.topk(k, dim=1)
    z = torch.zeros_like(pre).scatter(1, where, top.relu())
    error = x - (z @ w_dec + b)
    loss = error.square().sum(1).mean()
    dead = since_fired >= settings.dead_after_vectors
    if dead.any():
        target = error.detach()
        masked = pre.masked_fill(~dead, -torch.inf)
        count = min(settings.aux_k, int(dead.sum()))
        aux_top, aux_where = masked.topk(count, dim=1)
        aux_z = torch.zeros_like(pre).scatter(1, aux_where, aux_top.relu())
        variance = (target - target.mean(0)).square().sum(1).mean()
        loss = loss + settings.aux_alpha * (target - aux_z @ w_dec).square().sum(1).mean() / variance
    adam.zero_grad()
    loss.backward()
    with torch.no_grad():
        w_dec.grad -= (w_dec.grad * w_dec).sum(1, keepdim=True) * w_dec
        torch.nn.utils.clip_grad_norm_(params, settings.clip * x.shape[1] ** 0.5)
        adam.param_groups[0]["lr"] = lr
        adam.step()
        w_dec /= w_dec.norm(dim=1, keepdim=True)
        since_fired += len(x)
        since_fired[(z > 0).any(0)] = 0
    return loss.detach()


def test_two_hundred_steps_match_the_dense_reference():
    torch.manual_seed(0)
    sae = TopKSAE(16, 64, 3)
    sae.initialise(torch.zeros(16), seed=0)
    params = [torch.nn.Parameter(p.detach().clone()) for p in (sae.W_enc, sae.W_dec, sae.b_dec)]
    adam = torch.optim.Adam(params, lr=1.0, eps=SETTINGS.adam_eps)
    state = TrainState.fresh(sae, SETTINGS)
    since_fired = torch.zeros(64, dtype=torch.int64)
    saw_dead = False
    for step in range(200):
        x = Synthetic(16, 64, seed=step).x
        lr = learning_rate(SETTINGS, step, 200)
        saw_dead |= bool((since_fired >= SETTINGS.dead_after_vectors).any())
        fast = train_step(state, x, SETTINGS, lr)
        slow = dense_step(params, adam, x, since_fired, SETTINGS, 3, lr)
        assert torch.allclose(fast, slow, atol=1e-4, rtol=1e-4)
    assert saw_dead, "the comparison must cover AuxK"
    assert torch.equal(state.since_fired, since_fired)
    assert (sae.W_dec - params[1]).abs().max() < 1e-4
    assert (sae.W_enc - params[0]).abs().max() < 1e-3


def test_aux_gradient_reaches_dead_latents_only_and_never_the_live_reconstruction():
    sae = TopKSAE(8, 32, 2)
    sae.initialise(torch.zeros(8), seed=1)
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    dead = torch.zeros(32, dtype=torch.bool)
    dead[5:12] = True
    pre = sae.pre_activations(x)
    error = (x - sae(x)).detach()
    aux_loss(sae, pre, error, dead, aux_k=4).backward()
    for gradient in (sae.W_enc.grad.T, sae.W_dec.grad):
        assert (gradient[dead].abs().sum(1) > 0).any()
        assert (gradient[~dead] == 0).all()


def test_aux_loss_rewards_reconstructing_the_residual_itself():
    """Sign of the target and absence of the bias: a dead latent along the residual lowers it, against it does not."""
    sae = TopKSAE(4, 8, 1)
    sae.initialise(torch.full((4,), 100.0), seed=0)
    error = torch.zeros(32, 4)
    error[:, 0] = torch.linspace(0.5, 1.5, 32)
    dead = torch.zeros(8, dtype=torch.bool)
    dead[3] = True
    pre = torch.zeros(32, 8)
    pre[:, 3] = error[:, 0]
    with torch.no_grad():
        sae.W_dec[3] = torch.tensor([1.0, 0, 0, 0])
        assert aux_loss(sae, pre, error, dead, 1) < 1e-9
        sae.W_dec[3] = torch.tensor([-1.0, 0, 0, 0])
        assert aux_loss(sae, pre, error, dead, 1) > 1


def test_training_beats_the_untrained_control_and_recovers_directions(tmp_path):
    source = Synthetic(16, 6000, seed=0)
    settings = SETTINGS.model_copy(update={"epochs": 12, "expansion": 2})
    result = train(source, settings, 3, seed=0)
    from sae.metrics import evaluate

    held_out = Synthetic(16, 2000, seed=9)
    trained = evaluate(result.sae, held_out.chunks()).explained_variance
    control = evaluate(make_untrained(source, settings, 3, 0), held_out.chunks()).explained_variance
    assert trained > 0.75 and trained > control + 0.2
    learned = torch.nn.functional.normalize(result.sae.concept_vectors(), dim=1)
    best = (learned @ source.dictionary.T).max(0).values
    assert best.median() > 0.9


def test_too_few_vectors_and_values_that_are_not_finite_are_refused():
    with pytest.raises(SAEError, match="fewer than sae.batch_size"):
        train(Synthetic(8, 10, 0), SETTINGS, 2, 0)
    broken = Synthetic(8, 200, 0)
    broken.x[7, 2] = np.nan
    with pytest.raises(SAEError, match="not finite"):
        train(broken, SETTINGS, 2, 0)
    constant = Synthetic(8, 200, 0)
    constant.x[:] = 1.0
    with pytest.raises(SAEError, match="do not vary"):
        train(constant, SETTINGS, 2, 0)
    with pytest.raises(SAEError, match="only 8 latents"):
        TopKSAE(4, 8, 9)


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(tmp_path):
    train(Synthetic(8, 640, 0), SETTINGS, 2, 0, tmp_path)
    with pytest.raises(SAEError, match="another configuration"):
        train(Synthetic(8, 640, 0), SETTINGS, 3, 0, tmp_path)
    next((tmp_path / "checkpoint").glob("*.safetensors")).write_bytes(b"x")
    with pytest.raises(SAEError, match="damaged"):
        train(Synthetic(8, 640, 0), SETTINGS, 2, 0, tmp_path)


@pytest.mark.parametrize("seconds", [0.3, 0.9])
def test_kill_nine_and_resume_gives_the_same_bits(tmp_path, seconds):
    """A process is killed in mid-training; a second one goes on from its checkpoint."""
    undisturbed, killed = tmp_path / "a", tmp_path / "b"
    command = [sys.executable, "-m", "tests.sae.train_slowly"]
    subprocess.run([*command, str(undisturbed), "0"], check=True)
    process = subprocess.Popen([*command, str(killed), "0.02"])
    wait_for(killed / "checkpoint" / "latest.json")
    time.sleep(seconds)
    process.kill()
    process.wait()
    assert not (killed / "final.safetensors").exists(), "the kill came too late to test anything"
    subprocess.run([*command, str(killed), "0"], check=True)
    a, b = (load_file(folder / "final.safetensors") for folder in (undisturbed, killed))
    assert all(torch.equal(a[name], b[name]) for name in a)


def wait_for(path: Path, limit: float = 60.0) -> None:
    end = time.time() + limit
    while not path.exists():
        assert time.time() < end, f"{path} never appeared"
        time.sleep(0.01)
