"""The TopK sparse autoencoder (paper, section 2). Shape suffixes: N vectors, D channels, M latents, K active."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from sae.errors import SAEError


class TopKSAE(nn.Module):
    """z = TopK(ReLU((x - b) W_enc)), x_hat = z W_dec + b, with one shared bias and none inside the encoder.

    Parameters in SAELens' orientation: ``W_enc`` [D, M], ``W_dec`` [M, D], ``b_dec`` [D], all float32. A concept
    is a latent; its concept vector is its row of ``W_dec``.
    """

    def __init__(self, d: int, n: int, k: int) -> None:
        super().__init__()
        if k > n:
            raise SAEError(f"sae.k is {k} but the SAE has only {n} latents: lower k or raise sae.expansion")
        self.d, self.n, self.k = d, n, k
        self.W_enc = nn.Parameter(torch.zeros(d, n))
        self.W_dec = nn.Parameter(torch.zeros(n, d))
        self.b_dec = nn.Parameter(torch.zeros(d))

    def initialise(self, mean_D: Tensor, seed: int) -> None:
        """Unit-norm random decoder, encoder its transpose, bias the data's mean (notes of Gao et al.)."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.W_dec.copy_(torch.randn(self.n, self.d, generator=generator))
            self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True))
            self.W_enc.copy_(self.W_dec.T)
            self.b_dec.copy_(mean_D)

    def pre_activations(self, x_ND: Tensor) -> Tensor:
        """[N, M], before ReLU and TopK."""
        return (x_ND - self.b_dec) @ self.W_enc

    def encode(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Codes as (values float32 [N, K] >= 0, indices int64 [N, K]); a latent that is off has value 0."""
        values_NK, indices_NK = self.pre_activations(x_ND).topk(self.k, dim=1, sorted=False)
        return values_NK.relu(), indices_NK

    def decode(self, values_NK: Tensor, indices_NK: Tensor) -> Tensor:
        """Reconstruction [N, D]. Touches the K chosen rows of the decoder, without an [N, K, D] temporary."""
        weighted = embedding_bag(indices_NK, self.W_dec, per_sample_weights=values_NK, mode="sum")
        return weighted + self.b_dec

    def forward(self, x_ND: Tensor) -> Tensor:
        """Reconstruction of x."""
        return self.decode(*self.encode(x_ND))

    def concept_vectors(self) -> Tensor:
        """Decoder rows [M, D]: the direction each concept writes."""
        return self.W_dec

    def folded(self, mean_D: Tensor, scale: float) -> TopKSAE:
        """The SAE for raw vectors, given this one for (x - mean) * scale.

        Codes are unchanged and reconstructions are in raw units: W_enc * s, W_dec / s, b / s + mean.
        """
        raw = TopKSAE(self.d, self.n, self.k)
        with torch.no_grad():
            raw.W_enc.copy_(self.W_enc * scale)
            raw.W_dec.copy_(self.W_dec / scale)
            raw.b_dec.copy_(self.b_dec / scale + mean_D)
        return raw
