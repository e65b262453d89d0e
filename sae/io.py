"""SAEs on disk, in the folder format that SAELens reads: ``cfg.json`` and ``sae_weights.safetensors``.

SAELens with ``rescale_acts_by_decoder_norm`` multiplies pre-activations by the decoder's norms before TopK and
divides by them after. Our folded decoder rows all share one norm, so that ordering equals ours, but the codes would
be scaled; the exported weights therefore have unit-norm decoder rows and an encoder that carries the norm, and
``decoder_norm`` in the metadata gives it back on loading.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sae.errors import SAEError
from sae.model import TopKSAE

SAELENS_VERSION = "6.54.12"  # the version whose format this is; below 6.0 SAELens drops the metadata
TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


def save_sae(folder: str | Path, sae: TopKSAE, metadata: dict[str, Any]) -> None:
    """Write the folder; the configuration comes last, so a folder with one is whole."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    norm = float(sae.W_dec.detach().norm(dim=1).mean())
    weights = {
        "W_enc": sae.W_enc.detach() * norm,
        "b_enc": torch.zeros(sae.n),
        "W_dec": sae.W_dec.detach() / norm,
        "b_dec": sae.b_dec.detach(),
    }
    scratch = folder / ".sae_weights.tmp"
    save_file({name: value.float().contiguous() for name, value in weights.items()}, scratch)
    os.replace(scratch, folder / "sae_weights.safetensors")
    config = {
        "architecture": "topk",
        "d_in": sae.d,
        "d_sae": sae.n,
        "k": sae.k,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": True,
        "metadata": {
            "sae_lens_version": SAELENS_VERSION,
            "sae_lens_training_version": SAELENS_VERSION,
            "decoder_norm": norm,
            **metadata,
        },
    }
    scratch = folder / ".cfg.tmp"
    scratch.write_text(json.dumps(config, indent=1, sort_keys=True))
    os.replace(scratch, folder / "cfg.json")


def load_sae(folder: str | Path) -> TopKSAE:
    """Read a folder written by ``save_sae``. Raises ``SAEError`` naming the file when it is missing or damaged."""
    folder = Path(folder)
    try:
        config = json.loads((folder / "cfg.json").read_text())
        weights = load_file(folder / "sae_weights.safetensors")
    except FileNotFoundError as error:
        raise SAEError(
            f"{folder} holds no SAE ({error.filename or 'a file'} is missing): run `concepts train`"
        ) from error
    except (ValueError, OSError, SafetensorError) as error:
        raise SAEError(
            f"{folder}: the SAE's files are damaged: delete the folder's record and run `concepts train`"
        ) from error
    lacking = [name for name in TENSORS if name not in weights]
    if lacking:
        raise SAEError(f"{folder / 'sae_weights.safetensors'} lacks the tensors {', '.join(lacking)}: export it again")
    if weights["b_enc"].abs().max() > 0:
        raise SAEError(f"{folder}: b_enc is not zero, and this architecture has no encoder bias: it is not our export")
    sae = TopKSAE(config["d_in"], config["d_sae"], config["k"])
    norm = float(config["metadata"].get("decoder_norm", 1.0))
    with torch.no_grad():
        sae.W_enc.copy_(weights["W_enc"] / norm)
        sae.W_dec.copy_(weights["W_dec"] * norm)
        sae.b_dec.copy_(weights["b_dec"])
    return sae.requires_grad_(False)
