"""Encoding maps of activations, a shard's worth in one product."""

from __future__ import annotations

import numpy as np
import torch

from sae.model import SAE


def encode_maps(sae: SAE, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of residual updates [n, h, w, C]: values float32 and latents int64, [n, h*w, slots].

    Encoded where the SAE is; what comes back is on the CPU.
    """
    n, height, width, channels = maps.shape
    with torch.no_grad():
        x = torch.from_numpy(maps).to(sae.b_dec.device).float().reshape(-1, channels)
        values, latents = sae.encode(x)
    shape = (n, height * width, values.shape[-1])
    return values.reshape(shape).cpu().numpy(), latents.reshape(shape).cpu().numpy()
