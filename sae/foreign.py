"""Reading published SAEs of other formats: those of OpenAI's sparse_autoencoder and of sdxl-unbox.

Both name their tensors alike: ``encoder.weight`` [M, D], ``latent_bias`` [M], ``decoder.weight`` [D, M], ``pre_bias``
[D], with codes TopK(ReLU(encoder (x - pre_bias) + latent_bias)). Such files are pickles, which can run any code when
they are read, so we do not read them: convert a file you trust to safetensors once,

    weights = torch.load("state_dict.pth", map_location="cpu", weights_only=True)
    weights = weights.get("state_dict", weights)
    save_file({k: v.contiguous() for k, v in weights.items() if torch.is_tensor(v)}, "state_dict.safetensors")

and give its path to ``load_foreign``.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from sae.errors import SAEError
from sae.folder import check_tensors
from sae.io import build
from sae.model import SAE

TENSORS = ("encoder.weight", "latent_bias", "decoder.weight", "pre_bias")


def load_foreign(file: str | Path, k: int | None = None) -> SAE:
    """An SAE from a safetensors file with those tensors; ``k`` defaults to that of a ``config.json`` beside it.

    Concept vectors keep the norm they were published with. OpenAI's own TopK models normalise each vector over its
    channels before encoding; that depends on the vector and cannot be folded into weights: give the SAE normalised
    vectors. sdxl-unbox's take the residual update as it is. Raises ``SAEError`` naming the file and what it lacks.
    """
    file = Path(file)
    if file.suffix != ".safetensors":
        raise SAEError(
            f"{file} is not a safetensors file: pickles can run code and are not read; `sae/foreign.py` tells how to "
            "convert one you trust"
        )
    try:
        tensors = load_file(file)
    except (OSError, ValueError, SafetensorError) as error:
        raise SAEError(f"{file} cannot be read ({error}): convert it again") from error
    check_tensors(file, tensors, TENSORS)
    weights = {
        "W_enc": tensors["encoder.weight"].float().T,
        "b_enc": tensors["latent_bias"].float(),
        "W_dec": tensors["decoder.weight"].float().T,
        "b_dec": tensors["pre_bias"].float(),
    }
    return build(file, weights, k if k is not None else _k_beside(file))


def _k_beside(file: Path) -> int:
    config = file.with_name("config.json")
    try:
        return int(json.loads(config.read_text(encoding="utf-8"))["k"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SAEError(f"{file}: k is not known: pass it, or put a config.json with it beside the file") from error
