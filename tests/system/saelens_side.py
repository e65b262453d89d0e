"""SAELens' side of the round trip, run by a Python that has the package: ``tests/system/test_saelens.py`` calls it.

    python tests/system/saelens_side.py read FOLDER X.npy OUT.npz      codes and reconstructions of our export
    python tests/system/saelens_side.py write FOLDER X.npy OUT.npz     a folder of its own, for us to read

Needs only sae-lens and numpy, nothing of ours.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from sae_lens import SAE


def evaluate(sae, x, out):
    """Dense codes [N, M] and reconstructions [N, D]."""
    with torch.no_grad():
        codes = sae.encode(torch.from_numpy(x))
        np.savez(out, codes=codes.numpy(), reconstruction=sae.decode(codes).numpy(), name=type(sae).__name__)


def write(folder, x, out):
    """A TopK SAE of SAELens' own, with an encoder bias and decoder rows of many norms, saved by its own method."""
    config = {
        "architecture": "topk",
        "d_in": x.shape[1],
        "d_sae": 96,
        "k": 5,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": True,
        "metadata": {"sae_lens_version": "6.54.12"},
    }
    sae = SAE.from_dict(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec):
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    evaluate(sae, x, out)
    sae.save_model(folder)
    assert json.loads((Path(folder) / "cfg.json").read_text())["architecture"] == "topk"


if __name__ == "__main__":
    command, folder, x_file, out = sys.argv[1:]
    x = np.load(x_file)
    if command == "write":
        write(folder, x, out)
    else:
        evaluate(SAE.load_from_disk(folder, device="cpu"), x, out)
