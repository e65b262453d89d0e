"""SAEs to disk and back, in the folder format that SAELens reads (``sae/folder.py``).

A ``TopKSAE`` is SAELens' architecture "topk", a ``ThresholdSAE`` its "jumprelu". Our concept vectors have unit norm, so
codes and reconstructions are equal in both packages whether or not one rescales by decoder norms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from sae.errors import SAEError
from sae.folder import CONFIG, TENSORS, TORCH, WEIGHTS, check_shapes, k_of, read_folder
from sae.model import SAE, ThresholdSAE, TopKSAE
from storage.atomic import write_atomic

SAELENS_VERSION = "6.54.12"  # the version whose format this is; below 6.0 SAELens drops the metadata


def save_sae(folder: str | Path, sae: SAE, metadata: dict[str, Any]) -> None:
    """Write the folder; the configuration comes last, so a folder with one is whole."""
    folder = Path(folder)
    weights = {name: getattr(sae, name).detach().float().cpu().contiguous() for name in TENSORS}
    config: dict[str, Any] = {
        "architecture": "topk",
        "d_in": sae.d,
        "d_sae": sae.n,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": SAELENS_VERSION,
            "sae_lens_training_version": SAELENS_VERSION,
            **metadata,
        },
    }
    if isinstance(sae, ThresholdSAE):
        weights["threshold"] = sae.threshold.detach().contiguous()
        config |= {"architecture": "jumprelu"}
        config["metadata"]["k"] = sae.k
    elif isinstance(sae, TopKSAE):
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    write_atomic(folder / WEIGHTS, save(weights))
    write_atomic(folder / CONFIG, json.dumps(config, indent=1, sort_keys=True).encode())


def load_sae(folder: str | Path, digests: Mapping[str, str] | None = None) -> SAE:
    """Read an SAE of ours or of SAELens 6 (topk or jumprelu). ``digests`` maps a file's name to its SHA-256, if known.

    Weights are compared with it once for as long as they stay the same file, as tables are, and copied once.

    Raises ``SAEError`` naming the file when it is missing, damaged or not the one of the digest, lacks a tensor or a
    field, or is of an architecture or a normalisation that has no equal here.
    """
    folder = Path(folder)
    config, weights = read_folder(folder, digests, TORCH)
    return build(folder, weights, k_of(folder, config))


def build(origin: Path, weights: dict[str, Tensor], k: int) -> SAE:
    """An SAE from W_enc [D, M], b_enc [M], W_dec [M, D], b_dec [D] and, for one with a threshold, threshold [M]."""
    d, n = check_shapes(origin, weights)
    for name, tensor in weights.items():
        if not all(torch.isfinite(end) for end in tensor.aminmax()):  # a NaN is both
            raise SAEError(f"{origin}: {name} holds a value that is not finite: export it again")
    with torch.device("meta"):  # no zeros that are replaced at once
        sae = ThresholdSAE(d, n, k) if "threshold" in weights else TopKSAE(d, n, k)
    for name, tensor in weights.items():
        own = tensor.float().T.contiguous().T if name == "W_enc" else tensor.float().clone()  # as SAE stores it
        setattr(sae, name, torch.nn.Parameter(own, requires_grad=False))
    return sae.requires_grad_(False)
