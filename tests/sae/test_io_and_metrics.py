import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sae.encoder import load_encoder, load_vectors, products_with
from sae.errors import SAEError
from sae.foreign import load_foreign
from sae.io import load_sae, save_sae
from sae.members import fold
from sae.metrics import evaluate, evaluate_all
from sae.model import ThresholdSAE, TopKSAE
from tests.sae.synthetic import Synthetic


def some_sae(kind=TopKSAE):
    """An SAE with unit concept vectors and nothing symmetrical about it."""
    generator = torch.Generator().manual_seed(1)
    sae = kind(16, 48, 4)
    with torch.no_grad():
        sae.W_dec.copy_(torch.nn.functional.normalize(torch.randn(48, 16, generator=generator), dim=1))
        sae.W_enc.copy_(sae.W_dec.T + 0.1 * torch.randn(16, 48, generator=generator))
        sae.b_dec.copy_(torch.randn(16, generator=generator))
        if kind is ThresholdSAE:
            sae.threshold.fill_(0.7)
    return fold(sae.requires_grad_(False), torch.full((16,), 0.3), 1.7)


def dense_codes(sae, x):
    values, latents = sae.encode(x)
    return torch.zeros(len(x), sae.n).scatter(1, latents, values)


def encoded(encoder, x):
    """Dense codes by what encodes without PyTorch."""
    values, latents = encoder.encode(x.numpy())
    assert (values.dtype, latents.dtype) == (np.float32, np.int64) and (values >= 0).all()
    return torch.zeros(len(x), encoder.n).scatter(1, torch.from_numpy(latents), torch.from_numpy(values))


def saelens_forward(folder, x):
    """SAELens 6's forward, written from its documentation and code; the package itself: tests/system."""
    w, cfg = load_file(folder / "sae_weights.safetensors"), json.loads((folder / "cfg.json").read_text())
    norms = w["W_dec"].norm(dim=1) if cfg.get("rescale_acts_by_decoder_norm") else torch.ones(cfg["d_sae"])
    shift = w["b_dec"] if cfg.get("apply_b_dec_to_input", True) else 0
    pre = ((x - shift) @ w["W_enc"] + w["b_enc"]) * norms
    if cfg["architecture"] == "jumprelu":
        codes = pre.relu() * (pre > w["threshold"])
    else:
        top, where = pre.topk(cfg["k"], dim=1)
        codes = torch.zeros_like(pre).scatter(1, where, top.relu())
    return codes, (codes / norms) @ w["W_dec"] + w["b_dec"]


@pytest.mark.parametrize("kind", [TopKSAE, ThresholdSAE])
def test_the_export_has_our_codes_and_reconstructions_by_saelens_formula(tmp_path, kind):
    sae, x = some_sae(kind), Synthetic(16, 200, 0).x
    save_sae(tmp_path, sae, {"hook_name": "mid"})
    codes, reconstruction = saelens_forward(tmp_path, x)
    assert torch.allclose(codes, dense_codes(sae, x), atol=1e-5)
    assert torch.allclose(reconstruction, sae(x), atol=1e-5)
    again = load_sae(tmp_path)
    assert type(again) is kind and again.k == 4
    assert torch.equal(again.W_enc, sae.W_enc) and torch.equal(dense_codes(again, x), dense_codes(sae, x))
    half = load_encoder(tmp_path)
    assert (half.n, half.k, half.threshold is None) == (48, 4, kind is TopKSAE)
    assert torch.allclose(encoded(half, x), codes, atol=1e-5)


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("architecture", ["topk", "jumprelu"])
def test_foreign_saelens_folders_keep_their_codes(tmp_path, architecture, subtract, rescale):
    """Decoder rows of any norm, an encoder bias, and both conventions about b_dec."""
    generator = torch.Generator().manual_seed(3)
    shapes = {"W_enc": (16, 48), "b_enc": (48,), "W_dec": (48, 16), "b_dec": (16,)}
    weights = {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
    config = {"architecture": architecture, "d_in": 16, "d_sae": 48, "k": 4, "apply_b_dec_to_input": subtract}
    if architecture == "jumprelu":
        weights["threshold"] = torch.rand(48, generator=generator) * 3
    config["rescale_acts_by_decoder_norm"] = rescale and architecture == "topk"
    save_file(weights, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    sae, x = load_sae(tmp_path), torch.randn(100, 16, generator=generator)
    codes, reconstruction = saelens_forward(tmp_path, x)
    assert torch.allclose(dense_codes(sae, x), codes, atol=1e-4)
    assert torch.allclose(sae(x), reconstruction, atol=1e-4)
    assert torch.allclose(encoded(load_encoder(tmp_path), x), codes, atol=1e-4)


def test_folding_keeps_the_latents_and_puts_codes_in_units_of_x():
    sae, x, mean, scale = some_sae(), Synthetic(16, 100, 0).x, torch.full((16,), 0.4), 2.5
    inside, before = dense_codes(sae, (x - mean) * scale), sae((x - mean) * scale)
    raw = fold(sae, mean, scale)
    assert torch.allclose(dense_codes(raw, x), inside / scale, atol=1e-5)
    assert torch.allclose(raw(x), before / scale + mean, atol=1e-5)
    assert torch.allclose(raw.concept_vectors().norm(dim=1), torch.ones(48), atol=1e-6)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("truncate", "damaged"),
        ("no weights", "run `concepts train`"),
        ("no tensor", "lacks the tensors b_enc, W_dec, b_dec"),
        ("bad json", "damaged"),
        ("gated", "architecture 'gated' cannot be read"),
        ("no k", "lacks the field k"),
        ("normalised", "normalize_activations is 'layer_norm'"),
        ("shape", "b_dec is"),
        ("nan", "W_dec holds a value that is not finite"),
    ],
)
@pytest.mark.parametrize("read", [load_sae, load_encoder])
def test_damaged_and_foreign_folders_are_named(tmp_path, damage, sentence, read):
    if read is load_encoder:  # which leaves the decoder unread
        sentence = {"W_dec holds a value that is not finite": "W_enc holds a value that is not finite"}.get(
            sentence, sentence.replace("W_dec, ", "")
        )
    save_sae(tmp_path, some_sae(), {})
    weights, config = tmp_path / "sae_weights.safetensors", json.loads((tmp_path / "cfg.json").read_text())
    tensors = load_file(weights)
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:200])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "bad json":
        (tmp_path / "cfg.json").write_text("{")
    elif damage in ("gated", "no k", "normalised"):
        config |= {"gated": {"architecture": "gated"}, "normalised": {"normalize_activations": "layer_norm"}}.get(
            damage, {}
        )
        if damage == "no k":
            del config["k"]
        (tmp_path / "cfg.json").write_text(json.dumps(config))
    else:
        tensors["W_dec" if read is load_sae else "W_enc"][3, 3] = torch.nan if damage == "nan" else 0.0
        if damage == "shape":
            tensors["b_dec"] = torch.zeros(3)
        save_file({"W_enc": tensors["W_enc"]} if damage == "no tensor" else tensors, weights)
    with pytest.raises(SAEError, match=sentence) as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_the_vectors_alone_and_their_products_are_those_of_the_whole(tmp_path):
    save_sae(tmp_path, some_sae(), {})
    weights = tmp_path / "sae_weights.safetensors"
    digests = {weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()}
    vectors = load_vectors(tmp_path, digests)
    assert np.array_equal(vectors, some_sae().W_dec.numpy())
    wanted = [float(sum(a * b for a, b in zip(vectors[7], other, strict=True))) for other in vectors]
    assert products_with(tmp_path, digests, 7).tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("read", [load_encoder, load_vectors, lambda *given: products_with(*given, 0)])
def test_a_part_of_an_sae_is_refused_where_the_whole_is(tmp_path, read):
    save_sae(tmp_path, some_sae(), {})
    weights = tmp_path / "sae_weights.safetensors"
    digests = {weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()}
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(SAEError, match=r"^\S+ is damaged \(its checksum is [^()]*\): run `concepts repair`"):
        read(tmp_path, digests)
    weights.unlink()
    with pytest.raises(SAEError, match=r"is missing.*concepts repair"):
        read(tmp_path, digests)


def test_what_encodes_reads_smaller_and_larger_floats_and_names_others(tmp_path):
    save_sae(tmp_path, some_sae(), {})
    weights = tmp_path / "sae_weights.safetensors"
    tensors, x = load_file(weights), Synthetic(16, 50, 0).x
    stored = {name: tensor.half() if name == "W_enc" else tensor.double() for name, tensor in tensors.items()}
    save_file(stored, weights)
    assert torch.allclose(encoded(load_encoder(tmp_path), x), dense_codes(load_sae(tmp_path), x), atol=1e-5)
    save_file({**tensors, "b_enc": tensors["b_enc"].bfloat16()}, weights)
    with pytest.raises(SAEError, match="b_enc is stored as BF16, not as one of F64, F32, F16"):
        load_encoder(tmp_path)
    weights.write_bytes((2**40).to_bytes(8, "little") + weights.read_bytes()[8:])
    with pytest.raises(SAEError, match="its header is cut off"):
        load_encoder(tmp_path)


class TestForeignFiles:
    """OpenAI's and sdxl-unbox's tensors, and the formula they share, written out."""

    def write(self, folder, **changes):
        generator = torch.Generator().manual_seed(0)
        shapes = {"encoder.weight": (48, 16), "latent_bias": (48,), "decoder.weight": (16, 48), "pre_bias": (16,)}
        tensors = {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()} | changes
        save_file({k: v for k, v in tensors.items() if v is not None}, folder / "state_dict.safetensors")
        return tensors

    def test_codes_and_reconstruction(self, tmp_path):
        w, x = self.write(tmp_path), torch.randn(50, 16)
        (tmp_path / "config.json").write_text(json.dumps({"n_dirs_local": 48, "d_model": 16, "k": 4, "auxk": 256}))
        sae = load_foreign(tmp_path / "state_dict.safetensors")
        pre = torch.nn.functional.linear(x - w["pre_bias"], w["encoder.weight"], w["latent_bias"])
        top, where = pre.topk(4, dim=1)
        codes = torch.zeros_like(pre).scatter(1, where, top.relu())
        assert torch.allclose(dense_codes(sae, x), codes, atol=1e-5)
        assert torch.allclose(sae(x), codes @ w["decoder.weight"].T + w["pre_bias"], atol=1e-4)

    def test_errors(self, tmp_path):
        self.write(tmp_path)
        with pytest.raises(SAEError, match="k is not known"):
            load_foreign(tmp_path / "state_dict.safetensors")
        with pytest.raises(SAEError, match="pickles can run code"):
            load_foreign(tmp_path / "state_dict.pth", 4)
        self.write(tmp_path, latent_bias=None)
        with pytest.raises(SAEError, match="lacks the tensors latent_bias"):
            load_foreign(tmp_path / "state_dict.safetensors", 4)
        (tmp_path / "state_dict.safetensors").write_bytes(b"no")
        with pytest.raises(SAEError, match="cannot be read"):
            load_foreign(tmp_path / "state_dict.safetensors", 4)


def test_what_was_loaded_is_no_longer_of_its_file_and_a_change_of_that_is_noticed(tmp_path):
    sae, file = some_sae(ThresholdSAE), tmp_path / "sae_weights.safetensors"
    save_sae(tmp_path, sae, {})
    whole = file.read_bytes()
    digests = {file.name: hashlib.sha256(whole).hexdigest()}
    loaded = load_sae(tmp_path, digests)
    with file.open("r+b") as same:  # the very file, in its place
        same.seek(len(whole) - 4096)
        same.write(bytes(4096))
    assert all(torch.equal(getattr(loaded, name), tensor) for name, tensor in sae.state_dict().items())
    with pytest.raises(SAEError, match="its checksum is not the recorded one"):
        load_sae(tmp_path, digests)
    file.unlink()
    with pytest.raises(SAEError, match=r"holds no SAE \(.*sae_weights.safetensors is missing\): run `concepts repair`"):
        load_sae(tmp_path, digests)


def test_a_threshold_sae_lets_any_number_through():
    sae, x = some_sae(ThresholdSAE), Synthetic(16, 300, 0).x
    pre = sae.pre_activations(x)
    expected = torch.where(pre > sae.threshold, pre, 0)
    assert torch.equal(dense_codes(sae, x), expected)
    counts = (expected > 0).sum(1)
    assert counts.min() < counts.max()
    assert sae(x[:0]).shape == (0, 16)


def test_metrics_equal_their_definitions_and_do_not_depend_on_chunking():
    sae, x = some_sae(), Synthetic(16, 500, 3).x
    one = evaluate(sae, [x.numpy()])
    many, other = evaluate_all([sae, some_sae(ThresholdSAE)], [x[i : i + 7].numpy() for i in range(0, 500, 7)])
    error = (x - sae(x)).double()
    spread = (x - x.mean(0)).double() ** 2
    assert one.fvu == pytest.approx(float((error**2).sum() / spread.sum()), rel=1e-5)
    assert one.explained_variance == pytest.approx(1 - one.fvu)
    assert one.scaled_mse == pytest.approx(float(((error**2).sum(0) / spread.sum(0)).mean()), rel=1e-5)
    values, indices = sae.encode(x)
    assert one.l0 == pytest.approx(float((values > 0).sum(1).double().mean()))
    fired = torch.zeros(48, dtype=torch.bool)
    fired[indices[values > 0]] = True
    assert one.dead_fraction == pytest.approx(float((~fired).double().mean()))
    assert many.fvu == pytest.approx(one.fvu, rel=1e-6) and np.array_equal(many.density, one.density)
    assert other.fvu != one.fvu


def test_the_density_histogram_counts_every_latent_that_fired():
    found = evaluate(some_sae(), [Synthetic(16, 500, 3).x.numpy()])
    histogram = found.density_histogram()
    assert len(histogram) == 13 and sum(histogram) == int((found.density > 0).sum())
    above = int((found.density >= 10**-0.5).sum())
    assert histogram[-1] == above or histogram[-2] + histogram[-1] >= above


def test_no_held_out_vectors_is_said():
    with pytest.raises(SAEError, match="no held-out vectors"):
        evaluate(some_sae(), [])
