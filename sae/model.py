"""Sparse autoencoders as they are used: encode, decode, concept vectors. Training has its own stacked form.

Shape suffixes: N vectors, D channels, M latents, K slots of a code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from sae.errors import SAEError
from sae.largest import largest


class SAE(nn.Module, ABC):
    """z = act((x - b_dec) W_enc + b_enc), x_hat = z W_dec + b_dec; a subclass says which latents are on.

    Parameters in SAELens' orientation: ``W_enc`` [D, M], ``b_enc`` [M] (zero in our own SAEs), ``W_dec`` [M, D],
    ``b_dec`` [D], all float32. A concept is a latent; its concept vector is its row of ``W_dec``.
    """

    def __init__(self, d: int, n: int) -> None:
        super().__init__()
        self.d, self.n = d, n
        # Stored a row per latent: that is how the product x W_enc reads it fastest.
        self.W_enc = nn.Parameter(torch.zeros(n, d).T)
        self.b_enc = nn.Parameter(torch.zeros(n))
        self.W_dec = nn.Parameter(torch.zeros(n, d))
        self.b_dec = nn.Parameter(torch.zeros(d))

    def pre_activations(self, x_ND: Tensor) -> Tensor:
        """[N, M], before any latent is switched off."""
        return torch.addmm(self.b_enc, x_ND - self.b_dec, self.W_enc)

    @abstractmethod
    def encode(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Codes as (values float32 [N, K] >= 0, latents int64 [N, K]); a slot that is off has value 0."""

    def decode(self, values_NK: Tensor, latents_NK: Tensor) -> Tensor:
        """Reconstruction [N, D]. Touches the K chosen rows of the decoder, without an [N, K, D] temporary."""
        weighted = embedding_bag(latents_NK, self.W_dec, per_sample_weights=values_NK, mode="sum")
        return weighted + self.b_dec

    def forward(self, x_ND: Tensor) -> Tensor:
        """Reconstruction of x."""
        return self.decode(*self.encode(x_ND))

    def concept_vectors(self) -> Tensor:
        """Decoder rows [M, D]: the direction each concept writes."""
        return self.W_dec


class TopKSAE(SAE):
    """The K largest latents of each vector, after ReLU (paper, section 2)."""

    def __init__(self, d: int, n: int, k: int) -> None:
        if k > n:
            raise SAEError(f"sae.k is {k} but the SAE has only {n} latents: lower k or raise sae.expansion")
        super().__init__(d, n)
        self.k = k

    def encode(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """The k largest, in no order; see ``SAE.encode``."""
        values_NK, latents_NK = largest(self.pre_activations(x_ND), self.k)
        return values_NK.relu(), latents_NK


class ThresholdSAE(SAE):
    """Every latent above its ``threshold`` [M] >= 0 (JumpReLU): what BatchTopK becomes once training has ended.

    ``k`` is the mean number of latents on that it was trained for; a vector may have more or fewer.
    """

    def __init__(self, d: int, n: int, k: int) -> None:
        super().__init__(d, n)
        self.k = k
        self.threshold = nn.Parameter(torch.zeros(n))

    def encode(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """As many slots as the fullest vector of ``x_ND`` needs; see ``SAE.encode``."""
        pre_NM = self.pre_activations(x_ND)
        pre_NM = torch.where(pre_NM > self.threshold.clamp_min(0), pre_NM, 0)
        slots = max(1, int((pre_NM > 0).sum(1).max())) if len(pre_NM) else 1
        return pre_NM.topk(slots, dim=1, sorted=False)
