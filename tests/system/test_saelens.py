"""The round trip through SAELens itself, in an environment of its own: the package is too heavy for ours.

python3 -m venv saelens && saelens/bin/pip install sae-lens==6.54.12
SAELENS_PYTHON=saelens/bin/python python -m pytest tests/system/test_saelens.py
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from sae.io import load_sae
from sae.members import Member, fold
from sae.model import ThresholdSAE, TopKSAE
from sae.settings import SAESettings
from sae.source import measure
from tests.sae.synthetic import Synthetic, train_on

PYTHON = os.environ.get("SAELENS_PYTHON")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="set SAELENS_PYTHON to a Python with `pip install sae-lens==6.54.12`"
)
SIDE = Path(__file__).with_name("saelens_side.py")


def saelens(command, folder, x, tmp_path):
    np.save(tmp_path / "x.npy", x.numpy())
    arguments = [PYTHON, str(SIDE), command, str(folder), str(tmp_path / "x.npy"), str(tmp_path / "out.npz")]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npz")
    return torch.from_numpy(found["codes"]), torch.from_numpy(found["reconstruction"]), str(found["name"])


def dense_codes(sae, x):
    values, latents = sae.encode(x)
    return torch.zeros(len(x), sae.n).scatter(1, latents, values)


@pytest.mark.parametrize(
    ("variant", "kind", "name"),
    [
        ({}, TopKSAE, "TopKSAE"),
        ({"variant": "batchtopk"}, ThresholdSAE, "JumpReLUSAE"),
        ({"matryoshka": (0.25, 1.0)}, TopKSAE, "TopKSAE"),
    ],
)
def test_saelens_gives_our_codes_and_reconstructions(tmp_path, variant, kind, name):
    """A trained SAE of each variant, folded for vectors with an offset and a scale, to 1e-5."""
    from sae.io import save_sae

    source, member = Synthetic(32, 6400, 0), Member(4, 96, 0)
    source.x = 3 * source.x + 1
    settings = SAESettings(batch_size=64, lr=3e-3, dead_after_vectors=2000, **variant)
    statistics = measure(source)
    sae = fold(train_on(source, settings, [member]).saes[member], statistics.mean, statistics.scale)
    assert type(sae) is kind
    save_sae(tmp_path / "sae", sae, {"hook_name": "mid", "timestep": 0.5})
    x = source.x[:500]
    codes, reconstruction, theirs = saelens("read", tmp_path / "sae", x, tmp_path)
    assert theirs == name
    assert (codes - dense_codes(sae, x)).abs().max() < 1e-5
    assert (reconstruction - sae(x)).abs().max() < 1e-5


def test_we_give_saelens_codes_and_reconstructions(tmp_path):
    x = torch.randn(300, 32, generator=torch.Generator().manual_seed(4))
    codes, reconstruction, _ = saelens("write", tmp_path / "theirs", x, tmp_path)
    sae = load_sae(tmp_path / "theirs")
    assert (dense_codes(sae, x) - codes).abs().max() < 1e-4 * codes.abs().max()
    assert (sae(x) - reconstruction).abs().max() < 1e-4 * reconstruction.abs().max()


def test_a_folder_of_a_study_is_read_by_saelens(tmp_path, tiny_study):
    folder = next(tiny_study.rglob("mid/0.00/cond/k4/cfg.json")).parent
    sae = load_sae(folder)
    x = torch.randn(200, sae.d, generator=torch.Generator().manual_seed(4))
    codes, reconstruction, _ = saelens("read", folder, x, tmp_path)
    assert (codes - dense_codes(sae, x)).abs().max() < 1e-5
    assert (reconstruction - sae(x)).abs().max() < 1e-5
