"""How large an edit is, position by position: by the site's norm, or by the code's as the paper prints it (section 5).

The paper gives two sizes: beta ||Z_ij|| for spatial edits and beta ||Z_ij|| / sum_ij ||Z_ij|| for global ones. With the
strengths it reports (4000, 400, 1000 and 8, 10, 10) the two look swapped, so each kind of edit may have either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # settings name the scalings, and are read where no model is
    from torch import Tensor

RMS, CODE_NORM, CODE_SHARE = "rms", "code_norm", "code_share"
SCALINGS = {
    RMS: "the root mean square norm of the site's residual updates, alike at every position",
    CODE_NORM: "the norm of the position's own code times the length of the sum of the edited concept vectors",
    CODE_SHARE: "that norm's share of the sum of the norms over all positions of the image, times the same length",
}


def code_norms(values_NK: Tensor, shape_BHW: tuple[int, int, int]) -> Tensor:
    """||Z_ij||, float [B, H, W], of the codes' values at B * H * W positions."""
    return values_NK.norm(dim=-1).reshape(shape_BHW)


def summed_length(vectors_MD: Tensor, cids_C: Tensor) -> float:
    """Length of sum_c f_c, the vector that the paper adds."""
    return float(vectors_MD[cids_C].sum(0).norm())


def sizes(scaling: str, strength: float, unit: float, norms_BHW: Tensor) -> Tensor:
    """The norm that an edit adds at each position, [B, H, W], in the update's own unit.

    ``unit``: the site's RMS norm for ``rms``, the length of the sum of concept vectors for the other two. ``norms_BHW``
    are the codes' (``code_norms``), of which ``rms`` takes the shape alone. An image without any code gets no edit.
    Raises ``ValueError`` for another scaling.
    """
    if scaling == RMS:
        return norms_BHW.new_full(norms_BHW.shape, strength * unit)
    if scaling == CODE_NORM:
        return strength * unit * norms_BHW
    if scaling == CODE_SHARE:
        return strength * unit * norms_BHW / norms_BHW.sum((1, 2), keepdim=True).clamp_min(1e-12)
    raise ValueError(f"no scaling {scaling!r}: give {', '.join(SCALINGS)}")
