"""Which SAEs a site has, and their weights in the stacked form in which they are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from sae.errors import SAEError
from sae.kinds import FROZEN, FROZEN_ENCODER, SOFT_FROZEN, TRAINED
from sae.model import SAE, ThresholdSAE, TopKSAE
from sae.settings import SAESettings

NEAREST = 0.8  # the cosine to its start below which no decoder row of a soft-frozen SAE goes


@dataclass(frozen=True)
class Member:
    """One SAE of a site: ``n`` latents, ``k`` on, initialised from ``seed``; its ``kind`` says what may move.

    ``trained``: everything. ``frozen``: all but the decoder. ``soft_frozen``: everything, but each decoder row only as
    far as a cosine of 0.8 to its start (arXiv 2602.14111). ``frozen_encoder``: the decoder alone.
    """

    k: int
    n: int
    seed: int
    kind: str = TRAINED


def members_of(settings: SAESettings, d: int, seed: int) -> list[Member]:
    """Every SAE that the settings ask for at a site of ``d`` channels, the dictionaries of each k first."""
    members = [
        Member(k, expansion * d, seed + i)
        for i in range(settings.seeds)
        for expansion in settings.expansion
        for k in settings.k
    ]
    kinds = (*([FROZEN] if settings.frozen_control else []), *settings.controls)
    return members + [Member(k, settings.expansion[0] * d, seed, kind) for kind in kinds for k in settings.k]


def shared_members(settings: SAESettings, d: int, seed: int) -> list[Member]:
    """The SAEs of all times of a block of ``d`` channels: one a k and seed, those of the first seed first."""
    return [Member(k, settings.expansion[0] * d, seed + i) for i in range(settings.seeds) for k in settings.k]


class Stack:
    """S SAEs of one width, trained as one: parameters float32, the encoder stored a row per latent.

    ``W_enc`` [S * M, D], ``W_dec`` [S * M, D] (unit rows), ``b`` [S, D]. They work on standardised vectors: centred,
    with mean square 1 a channel. ``start`` [S * M, D] is the decoder as it was drawn; no step changes it.
    """

    def __init__(
        self, d: int, members: list[Member], device: str | torch.device = "cpu", encoder_start: float = 1.0
    ) -> None:
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
        self.W_enc, self.start = self.W_dec.clone(), self.W_dec.clone()
        for index, member in enumerate(members):
            if member.kind != FROZEN_ENCODER:  # which could never grow to the length that unit concept vectors need
                self.W_enc[self.rows(index)] *= encoder_start
        self.b = torch.zeros(len(members), d, device=device)  # standardised vectors are centred
        self.frozen_S = torch.tensor([member.kind == FROZEN for member in members], device=device)
        self.frozen_encoder_S = torch.tensor([member.kind == FROZEN_ENCODER for member in members], device=device)
        for parameter in self.parameters():
            parameter.requires_grad_()

    def __len__(self) -> int:
        return len(self.members)

    def parameters(self) -> list[Tensor]:
        """Encoder, decoder, bias."""
        return [self.W_enc, self.W_dec, self.b]

    @torch.no_grad()
    def turn(self, axes_DD: Tensor, start_only: bool = False) -> None:
        """Express the start and, unless they are so already, all weights in other axes: D unit rows."""
        for tensor in (self.start, *([] if start_only else self.parameters())):
            tensor.copy_(tensor @ axes_DD.T)

    @torch.no_grad()
    def keep_near_start(self) -> None:
        """Bring decoder rows of soft-frozen members that have gone too far back onto the cone round their start."""
        for index, member in enumerate(self.members):
            if member.kind == SOFT_FROZEN:
                rows = self.rows(index)
                self.W_dec[rows] = onto_cone(self.W_dec[rows], self.start[rows])

    @torch.no_grad()
    def begin_at(self, saes: Mapping[Member, SAE]) -> None:
        """Take the weights of SAEs of standardised vectors, one for each member, in place of those that were drawn."""
        for index, member in enumerate(self.members):
            sae, rows = saes[member], self.rows(index)
            self.W_enc[rows] = sae.W_enc.T.to(self.W_enc.device)
            self.W_dec[rows] = sae.W_dec.to(self.W_dec.device)
            self.b[index] = sae.b_dec.to(self.b.device)

    def rows(self, index: int) -> slice:
        """Where the latents of one SAE are in the stacked weights."""
        return slice(index * self.n, (index + 1) * self.n)

    def member(self, index: int, threshold: float | None = None) -> SAE:
        """One SAE of the stack, for standardised vectors; with a threshold, a ``ThresholdSAE``."""
        spec = self.members[index]
        rows = self.rows(index)
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


def onto_cone(rows_MD: Tensor, start_MD: Tensor) -> Tensor:
    """Unit rows [M, D], those with a cosine below 0.8 to their start replaced by the nearest unit row that has 0.8.

    That is 0.8 start + 0.6 of the unit vector along the row's part orthogonal to its start. Rows nearer are returned
    bit for bit; nothing here waits for the device.
    """
    cosine_M1 = torch.linalg.vecdot(rows_MD, start_MD)[:, None]
    across_MD = rows_MD - cosine_M1 * start_MD
    across_MD = across_MD / across_MD.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return torch.where(cosine_M1 < NEAREST, NEAREST * start_MD + sqrt(1 - NEAREST**2) * across_MD, rows_MD)


@torch.no_grad()
def turned_back(sae: SAE, axes_DD: Tensor) -> SAE:
    """An SAE of x expressed in ``axes_DD`` (unit rows) turned, in place, into one of x itself. Returns it."""
    sae.W_enc.copy_(axes_DD.T @ sae.W_enc)
    sae.W_dec.copy_(sae.W_dec @ axes_DD)
    sae.b_dec.copy_(sae.b_dec @ axes_DD)
    return sae


def untrained(d: int, member: Member) -> SAE:
    """The control: the decoder as it is drawn, read by its transpose, for standardised vectors, without a step."""
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


def unfold(sae: SAE, mean_D: Tensor, scale: float) -> SAE:
    """Turn an SAE of x into one of (x - mean) * scale, in place, but for thresholds: undoes ``fold``. Returns it."""
    with torch.no_grad():
        sae.b_dec.sub_(mean_D).mul_(scale)
    return sae
