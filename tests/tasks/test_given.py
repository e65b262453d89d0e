"""Every mistake in a dictionary that a user gives to the bench is one sentence, before the bench begins."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sae.io import save_sae
from sae.model import TopKSAE
from storage.errors import AtlasError
from study.config import load_config
from study.study import Study
from tasks import given
from tasks.bench import BenchInputs
from tasks.given import given_dictionaries
from tasks.methods import METHODS
from tests.paths import ROOT

CHANNELS, SITE = 16, "up/0.00/cond"


class Store:
    def shape(self, site):
        return (8, 8, CHANNELS)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(given, "store_of", lambda study: Store())
    config = load_config(ROOT / "configs" / "tiny.yaml", ["sites.conditionings=[cond, uncond]"])
    return Study(str(tmp_path / "study"), config, "hash")


@pytest.fixture
def folder(tmp_path):
    sae = TopKSAE(CHANNELS, 32, 4)
    torch.nn.init.normal_(sae.W_enc)
    torch.nn.init.normal_(sae.W_dec)
    save_sae(tmp_path / "mine", sae, {})
    return tmp_path / "mine"


def configured(folder, **changed):
    path = folder / "cfg.json"
    facts = {**json.loads(path.read_text(encoding="utf-8")), **changed}
    path.write_text(json.dumps({k: v for k, v in facts.items() if v is not None}), encoding="utf-8")


def weighed(folder, **changed):
    path = folder / "sae_weights.safetensors"
    tensors = {**load_file(path), **changed}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)


def test_a_folder_that_fits_is_taken(study, folder):
    assert given_dictionaries(study, [f"mine={SITE}={folder}"]) == {"mine": (SITE, str(folder))}


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("mine", "write NAME=BLOCK/T/COND=FOLDER"),
        ("", "write NAME=BLOCK/T/COND=FOLDER"),
        ("=", "write NAME=BLOCK/T/COND=FOLDER"),
        ("mine={folder}", "write NAME=BLOCK/T/COND=FOLDER"),
        (f"={SITE}={{folder}}", "write NAME=BLOCK/T/COND=FOLDER"),
        (f"mine={SITE}=", "write NAME=BLOCK/T/COND=FOLDER"),
        ("mine=up/0/cond={folder}", "the study has no site 'up/0/cond'; it has mid/1.00/cond"),
        ("mine=top/0.00/cond={folder}", "the study has no site 'top/0.00/cond'"),
        ("mine=up/0.00/uncond={folder}", "the bench scores cond sites alone"),
        (f"a/b={SITE}={{folder}}", "cannot be a name"),
        (f"../x={SITE}={{folder}}", "cannot be a name"),
        (f"a\nb={SITE}={{folder}}", "cannot be a name"),
        (f"*={SITE}={{folder}}", "cannot be a name"),
        (f"{'x' * 300}={SITE}={{folder}}", "cannot be a name"),
        (f"Trained={SITE}={{folder}}", "'Trained' is the name of one of the bench's own methods"),
        (f"mine={SITE}=/no/such/folder", "/no/such/folder is not there: give the folder"),
        (f"mine={SITE}={{folder}}/cfg.json", "cfg.json is no folder: give the folder"),
        (f"mine={SITE}={{folder}}/..", "holds no sae_weights.safetensors: give a SAELens folder"),
    ],
)
def test_a_mistaken_argument_is_named(study, folder, argument, says):
    with pytest.raises(ValueError, match=says) as refused:
        given_dictionaries(study, [argument.format(folder=folder)])
    assert isinstance(refused.value, AtlasError) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", METHODS)
def test_names_of_our_own_methods_are_refused(study, folder, name):
    with pytest.raises(ValueError, match="one of the bench's own methods"):
        given_dictionaries(study, [f"{name}={SITE}={folder}"])


def test_one_name_twice_is_refused(study, folder):
    with pytest.raises(ValueError, match="--dictionary mine is given twice"):
        given_dictionaries(study, [f"mine={SITE}={folder}", f"mine=up/1.00/cond={folder}"])


DAMAGES = {
    "no configuration": (lambda f: (f / "cfg.json").unlink(), "holds no cfg.json: give a SAELens folder"),
    "no JSON": (lambda f: (f / "cfg.json").write_bytes(b"\xff{"), "give the folder of a whole SAE"),
    "a list": (lambda f: (f / "cfg.json").write_bytes(b"[]"), "architecture .* cannot be read"),
    "of another kind": (lambda f: configured(f, architecture="gated"), "architecture 'gated' cannot be read"),
    "no k": (lambda f: configured(f, k=None), "lacks the field k"),
    "k of zero": (lambda f: configured(f, k=0), "k is 0: make it the number of latents"),
    "negative k": (lambda f: configured(f, k=-3), "k is -3: make it the number of latents"),
    "true k": (lambda f: configured(f, k=True), "k is True: make it the number of latents"),
    "k beyond the latents": (lambda f: configured(f, k=99), "k is 99 but the SAE has only 32 latents"),
    "k as text": (lambda f: configured(f, k="many"), "lacks the field k"),
    "odd metadata": (lambda f: configured(f, metadata=[1], architecture="jumprelu"), "lacks the tensors threshold"),
    "no weights": (lambda f: (f / "sae_weights.safetensors").write_bytes(b""), "damaged"),
    "cut weights": (lambda f: cut(f / "sae_weights.safetensors"), "damaged"),
    "a folder for weights": (lambda f: as_folder(f / "sae_weights.safetensors"), "holds no sae_weights.safetensors"),
    "a tensor too few": (lambda f: weighed(f, b_dec=None), "lacks the tensors b_dec"),
    "no encoder": (lambda f: weighed(f, W_enc=None), "lacks the tensors W_enc"),
    "another width": (lambda f: save_sae(f, TopKSAE(24, 32, 4), {}), "encodes 24 channels, the site has 16"),
    "widths that differ": (lambda f: weighed(f, W_dec=torch.zeros(32, 8)), r"W_dec is \(32, 8\), but W_enc is"),
    "widths that differ and a bias to fold": (
        lambda f: (weighed(f, b_dec=torch.zeros(3)), configured(f, apply_b_dec_to_input=False)),
        r"b_dec is \(3,\), but W_enc is",
    ),
    "one dimension": (lambda f: weighed(f, W_enc=torch.zeros(16)), r"W_enc is \(16,\), not channels by latents"),
    "nothing in it": (lambda f: weighed(f, W_enc=torch.zeros(16, 0)), r"W_enc is \(16, 0\), not channels by latents"),
    "NaN": (lambda f: weighed(f, W_dec=torch.full((32, 16), torch.nan)), "W_dec holds a value that is not finite"),
    "infinity": (lambda f: weighed(f, b_enc=torch.full((32,), torch.inf)), "b_enc holds a value that is not finite"),
    "too many latents": (lambda f: weighed(f, W_enc=torch.zeros(16, 2**17)), "has 131072 latents, the bench takes"),
    "terabytes": (lambda f: sparse(f / "sae_weights.safetensors", 2**41), "has 2048 GiB, the bench takes at most 4"),
}


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def as_folder(path):
    path.unlink()
    path.mkdir()


def sparse(path, size):
    with path.open("r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_folder_that_holds_no_fit_sae_is_named(study, folder, name):
    damage, says = DAMAGES[name]
    try:
        damage(folder)
    except OSError as error:
        pytest.skip(f"this disk has no such file: {error}")
    with pytest.raises(ValueError, match=says) as refused:
        given_dictionaries(study, [f"mine={SITE}={folder}"])
    assert isinstance(refused.value, AtlasError) and "--dictionary mine" in str(refused.value)
    assert "concepts train" not in str(refused.value) and "\n" not in str(refused.value)


def test_another_configuration_of_the_same_weights_is_scored_again(folder, tmp_path):
    truth = tmp_path / "truth"
    truth.write_bytes(b"x")
    inputs = BenchInputs(str(truth), {"mine": (SITE, str(Path(folder)))})
    before = inputs.facts()
    configured(folder, k=2)
    assert inputs.facts() != before
