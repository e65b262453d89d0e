"""Edits of a residual update by concept vectors (paper, section 5). Done on the update itself, never by decoding.

Strengths are in units of the site's RMS residual-update norm, so that they compare between blocks and timesteps, or
follow the code's norm, as the paper's do (``concepts/scalings.py``), whose strengths cannot be copied.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from concepts.edit_controls import CONCEPTS, WRONG_REGION
from concepts.scalings import RMS, code_norms, sizes, summed_length

Codes = tuple[Tensor, Tensor]  # values and latents, each [B * H * W, K]


@dataclass(frozen=True)
class ConceptEdit:
    """An edit by concepts of one SAE or, as a control, along other directions with the same norm everywhere.

    ``vectors_MD``: all concept vectors of the SAE; ``cids_C`` int64: those edited; ``size``: the norm that is added, in
    the update's own unit or, under a ``scaling`` by the code's norm, the strength; ``control``: what the directions are
    of, a value of that column.
    """

    vectors_MD: Tensor
    cids_C: Tensor
    size: float
    control: str
    scaling: str = RMS

    def everywhere(self, delta_BHWD: Tensor, directions_BD: Tensor, codes: Codes | None = None) -> Tensor:
        """The update after a global edit, each image along its own direction; ``codes`` are the update's.

        A scaling by the code's norm needs them.
        """
        return global_edit(delta_BHWD, _per_cell(directions_BD, delta_BHWD), self._sizes(delta_BHWD, codes))

    def in_region(self, delta_BHWD: Tensor, codes: Codes, directions_BD: Tensor, region_BHW: Tensor) -> Tensor:
        """The update after a spatial edit; ``codes`` are the update's.

        A control takes away as much as the concepts write outside the region, along its own direction.
        """
        directions_B11D = _per_cell(directions_BD, delta_BHWD)
        written = contribution(*codes, self.vectors_MD, self.cids_C)
        removed_BHWD = written.reshape(delta_BHWD.shape).to(delta_BHWD)
        if self.control not in (CONCEPTS, WRONG_REGION):
            removed_BHWD = removed_BHWD.norm(dim=-1, keepdim=True) * directions_B11D
        region_BHW = region_BHW.to(delta_BHWD.device)
        return spatial_edit(delta_BHWD, directions_B11D, removed_BHWD, region_BHW, self._sizes(delta_BHWD, codes))

    def _sizes(self, delta_BHWD: Tensor, codes: Codes | None) -> float | Tensor:
        """The norm that is added: one number, or [B, H, W, 1] where it follows the codes."""
        if self.scaling == RMS:
            return self.size
        assert codes is not None, "a scaling by the code's norm needs the codes"
        rows, columns = delta_BHWD.shape[1:3]
        norms_BHW = code_norms(codes[0], (len(delta_BHWD), rows, columns)).to(delta_BHWD)
        added = sizes(self.scaling, self.size, summed_length(self.vectors_MD, self.cids_C), norms_BHW)
        return added[..., None]


def _per_cell(directions_BD: Tensor, delta_BHWD: Tensor) -> Tensor:
    return directions_BD[:, None, None, :].to(delta_BHWD)


def edit_direction(vectors_MD: Tensor) -> Tensor:
    """Unit vector [D] along the sum of concept vectors, each scaled to length 1 first."""
    units = vectors_MD / vectors_MD.norm(dim=1, keepdim=True).clamp_min(1e-12)
    total = units.sum(0)
    return total / total.norm().clamp_min(1e-12)


def random_direction(width: int, seed: int) -> Tensor:
    """The control: a uniformly random unit vector [D], so that the edit has the same norm and no meaning."""
    direction = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return direction / direction.norm()


def spatial_edit(
    delta_BHWD: Tensor, direction_D: Tensor, removed_BHWD: Tensor, region_BHW: Tensor, size: float | Tensor
) -> Tensor:
    """Inside the region: delta + size * direction. Outside: delta - removed.

    ``removed`` is what the edited concepts write at each position, sum_c Z_c f_c; ``size`` is in the update's own
    unit, one number or [B, H, W, 1]; ``region`` is bool.
    """
    raised = delta_BHWD + size * direction_D
    return torch.where(region_BHW[..., None], raised, delta_BHWD - removed_BHWD)


def global_edit(delta_BHWD: Tensor, direction_D: Tensor, size: float | Tensor) -> Tensor:
    """delta + size * direction at every position; ``size`` is one number or [B, H, W, 1]."""
    return delta_BHWD + size * direction_D


def contribution(values_NK: Tensor, indices_NK: Tensor, vectors_MD: Tensor, cids_C: Tensor) -> Tensor:
    """sum over the concepts ``cids`` of Z_c f_c at each position, [N, D]."""
    kept = torch.where(torch.isin(indices_NK, cids_C), values_NK, torch.zeros_like(values_NK))
    return torch.einsum("nk,nkd->nd", kept, vectors_MD[indices_NK])
