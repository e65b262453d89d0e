import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sae.errors import SAEError
from sae.io import load_sae, save_sae
from sae.metrics import evaluate
from sae.model import TopKSAE
from tests.sae.synthetic import Synthetic


def some_sae():
    sae = TopKSAE(16, 48, 4)
    sae.initialise(torch.zeros(16), 0)
    with torch.no_grad():
        sae.W_enc += 0.1 * torch.randn(16, 48, generator=torch.Generator().manual_seed(1))
    return sae.folded(torch.full((16,), 0.3), 1.7)


def saelens_forward(folder, x):
    """SAELens 6's documented TopK forward with apply_b_dec_to_input and rescale_acts_by_decoder_norm."""
    w, cfg = load_file(folder / "sae_weights.safetensors"), json.loads((folder / "cfg.json").read_text())
    norms = w["W_dec"].norm(dim=1)
    pre = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * norms
    top, where = pre.topk(cfg["k"], dim=1)
    codes = torch.zeros_like(pre).scatter(1, where, top.relu())
    return codes, (codes / norms) @ w["W_dec"] + w["b_dec"]


def test_saelens_formula_gives_our_reconstructions_and_the_same_active_latents(tmp_path):
    sae, x = some_sae(), Synthetic(16, 200, 0).x
    save_sae(tmp_path, sae, {"hook_name": "mid"})
    codes, reconstruction = saelens_forward(tmp_path, x)
    assert torch.allclose(reconstruction, sae(x), atol=1e-5)
    values, indices = sae.encode(x)
    norm = json.loads((tmp_path / "cfg.json").read_text())["metadata"]["decoder_norm"]
    assert torch.allclose(codes.gather(1, indices), values * norm, atol=1e-5)
    assert set(load_file(tmp_path / "sae_weights.safetensors")) == {"W_enc", "b_enc", "W_dec", "b_dec"}


def test_save_and_load_round_trip(tmp_path):
    sae, x = some_sae(), Synthetic(16, 200, 0).x
    save_sae(tmp_path, sae, {})
    again = load_sae(tmp_path)
    assert torch.allclose(again(x), sae(x), atol=1e-5)
    assert torch.allclose(again.encode(x)[0].sort().values, sae.encode(x)[0].sort().values, atol=1e-5)


def test_folding_leaves_codes_alone():
    sae = TopKSAE(16, 48, 4)
    sae.initialise(torch.zeros(16), 0)
    x, mean, scale = Synthetic(16, 100, 0).x, torch.full((16,), 0.4), 2.5
    inside, outside = sae.encode((x - mean) * scale), sae.folded(mean, scale).encode(x)
    assert torch.allclose(inside[0], outside[0], atol=1e-4)
    raw = sae.folded(mean, scale)(x)
    assert torch.allclose(raw, sae((x - mean) * scale) / scale + mean, atol=1e-4)


@pytest.mark.parametrize("damage", ["truncate", "no weights", "no tensor", "bad json"])
def test_damaged_folders_are_named(tmp_path, damage):
    save_sae(tmp_path, some_sae(), {})
    weights = tmp_path / "sae_weights.safetensors"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:200])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "bad json":
        (tmp_path / "cfg.json").write_text("{")
    else:
        from safetensors.torch import save_file

        save_file({"W_enc": torch.zeros(2, 2)}, weights)
    with pytest.raises(SAEError, match=str(tmp_path)):
        load_sae(tmp_path)


def test_metrics_equal_their_definitions_and_do_not_depend_on_chunking():
    sae, x = some_sae(), Synthetic(16, 500, 3).x
    one = evaluate(sae, [x.numpy()])
    many = evaluate(sae, [x[i : i + 7].numpy() for i in range(0, 500, 7)])
    error = (x - sae(x)).double()
    fvu = (error**2).sum() / ((x - x.mean(0)).double() ** 2).sum()
    assert one.fvu == pytest.approx(float(fvu), rel=1e-5) and one.explained_variance == pytest.approx(1 - one.fvu)
    values, indices = sae.encode(x)
    assert one.l0 == pytest.approx(float((values > 0).sum(1).double().mean()))
    fired = torch.zeros(48, dtype=torch.bool)
    fired[indices[values > 0]] = True
    assert one.dead_fraction == pytest.approx(float((~fired).double().mean()))
    assert many.fvu == pytest.approx(one.fvu, rel=1e-6) and np.array_equal(many.density, one.density)
