"""Which SAEs a site has, and their weights in the stacked form in which they are trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sae.errors import SAEError
from sae.model import SAE, ThresholdSAE, TopKSAE
from sae.settings import SAESettings


@dataclass(frozen=True)
class Member:
    """One SAE of a site: ``n`` latents, ``k`` on, initialised from ``seed``; ``frozen`` keeps the decoder so."""

    k: int
    n: int
    seed: int
    frozen: bool = False


def members_of(settings: SAESettings, d: int, seed: int) -> list[Member]:
    """Every SAE that the settings ask for at a site of ``d`` channels, the dictionaries of each k first."""
    members = [
        Member(k, expansion * d, seed + i)
        for i in range(settings.seeds)
        for expansion in settings.expansion
        for k in settings.k
    ]
    if settings.frozen_control:
        members += [Member(k, settings.expansion[0] * d, seed, frozen=True) for k in settings.k]
    return members


class Stack:
    """S SAEs of one width, trained as one: parameters float32, the encoder stored a row per latent.

    ``W_enc`` [S * M, D], ``W_dec`` [S * M, D] (unit rows), ``b`` [S, D]. They work on standardised vectors: centred,
    with mean square 1 a channel.
    """

    def __init__(self, d: int, members: list[Member], device: str | torch.device = "cpu") -> None:
        widths = {member.n for member in members}
        if len(widths) != 1:
            raise ValueError(f"a stack holds SAEs of one width, got {sorted(widths)}")
        self.d, self.n, self.members = d, widths.pop(), list(members)
        for member in members:
            if member.k > self.n:
                raise SAEError(
                    f"sae.k is {member.k} but the SAE has only {self.n} latents: lower k or raise sae.expansion"
                )
        self.W_dec = torch.cat([_unit_rows(self.n, d, member.seed) for member in members]).to(device)
        self.W_enc = self.W_dec.clone()
        self.b = torch.zeros(len(members), d, device=device)  # standardised vectors are centred
        self.frozen_S = torch.tensor([member.frozen for member in members], device=device)
        for parameter in self.parameters():
            parameter.requires_grad_()

    def __len__(self) -> int:
        return len(self.members)

    def parameters(self) -> list[Tensor]:
        """Encoder, decoder, bias."""
        return [self.W_enc, self.W_dec, self.b]

    def member(self, index: int, threshold: float | None = None) -> SAE:
        """One SAE of the stack, for standardised vectors; with a threshold, a ``ThresholdSAE``."""
        spec = self.members[index]
        rows = slice(index * self.n, (index + 1) * self.n)
        sae: SAE = TopKSAE(self.d, self.n, spec.k)
        if threshold is not None:
            sae = ThresholdSAE(self.d, self.n, spec.k)
            sae.threshold.data.fill_(threshold)
        with torch.no_grad():
            sae.W_enc.copy_(self.W_enc[rows].T)
            sae.W_dec.copy_(self.W_dec[rows])
            sae.b_dec.copy_(self.b[index])
        return sae.requires_grad_(False)


def _unit_rows(n: int, d: int, seed: int) -> Tensor:
    """Random unit concept vectors [n, d]; the encoder starts as their transpose (notes of Gao et al. 2024)."""
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


def untrained(d: int, member: Member) -> SAE:
    """The control: a member as it is initialised, for standardised vectors, without a step of training."""
    return Stack(d, [member]).member(0)


def fold(sae: SAE, mean_D: Tensor, scale: float) -> SAE:
    """Turn an SAE of (x - mean) * scale into one of x itself, in place. Returns it.

    Concept vectors keep their unit norm and codes are divided by the scale, so that a code is a length in the units
    of x; which latents are on does not change. Pre-activations: (x - mean - b / s) W_enc = pre / s.
    """
    with torch.no_grad():
        sae.b_dec.div_(scale).add_(mean_D)
        sae.b_enc.div_(scale)
        if isinstance(sae, ThresholdSAE):
            sae.threshold.div_(scale)
    return sae
