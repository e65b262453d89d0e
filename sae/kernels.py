"""The two sparse operations as Triton kernels for GPUs; ``sae/primitives.py`` says when they run.

A warp reads a row in whole cache lines, several rows are on their way at once, and sums are float32. Nothing waits for
the device (grids come from shapes alone) and there are no atomics, so equal inputs give equal bits.
"""

# mypy: disable-error-code="no-untyped-def"
# (Triton compiles annotations too, and knows only its own.)

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

# Tried one by one on an H100 (benchmarks/kernel_sizes.py): 2 warps are as fast as 4 or up to 1.15 times as fast, 8 lose
# up to half; more rows at once, and wider or narrower blocks, lose or change nothing that both sizes of SAE agree on.
PAIRS = 8  # rows a program reads at once
BLOCK = 256  # channels a program reads at once
WARPS = 2
# Latents are uneven: one that is on in every vector has thousands of pairs where the mean has 16, and a single program
# would still be adding them, 8 at a time, when the rest of the GPU is done. So bags are cut at multiples of CUT pairs.
CUT = 256


@cache
def available() -> bool:
    """Whether Triton can be imported."""
    return triton is not None


@cache
def work_on(device: torch.device) -> bool:
    """Whether both kernels start there; tried once. Triton builds them on first use, which not every machine can."""
    if not available():
        return False
    try:
        row, at = torch.ones(1, 1, device=device), torch.zeros(2 * CUT, dtype=torch.int64, device=device)
        spmm_triton(row, at, at[:1], sddmm_triton(row, row, at, at))
    except Exception as error:  # a compiler's, a linker's or a driver's
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(f"Triton cannot run kernels on {device}, so torch sums rows, slower: {reason}", stacklevel=2)
        return False
    return True


def sddmm_triton(left_ND: Tensor, right_MD: Tensor, left_E: Tensor, right_E: Tensor) -> Tensor:
    """<left[left_E], right[right_E]> for each pair: [E], in the wider of the two dtypes (not float64).

    Indices int32 or int64.
    """
    dtype = torch.promote_types(left_ND.dtype, right_MD.dtype)
    out_E = torch.empty(len(left_E), dtype=dtype, device=left_ND.device)
    if not out_E.numel():
        return out_E
    left, right, width = _by_row(left_ND), _by_row(right_MD), left_ND.shape[1]
    with torch.cuda.device_of(out_E):
        _sddmm_kernel[(triton.cdiv(len(out_E), PAIRS),)](
            *(left, right, left_E.contiguous(), right_E.contiguous(), out_E),
            *(len(out_E), width, left.stride(0), right.stride(0)),
            PAIRS=PAIRS,
            BLOCK=_block(width),
            num_warps=WARPS,
        )
    return out_E


def spmm_triton(source_ND: Tensor, at_E: Tensor, offsets_R: Tensor, weights_E: Tensor) -> Tensor:
    """For each bag r the sum of weights * source[at] over pairs offsets[r] to offsets[r + 1]: [R, D].

    In the wider dtype of rows and weights (not float64); indices and offsets int32 or int64.

    Two passes in a fixed order. The pairs are cut every CUT; at most one bag crosses each cut. First, for every cut,
    the crossing bag's pairs from there to the next cut are summed; then, for every bag, its pairs up to its first cut,
    plus those sums. The longest loop is thus over CUT pairs, whatever the bags are.
    """
    (bags,), pairs, width = offsets_R.shape, len(at_E), source_ND.shape[1]
    dtype = torch.promote_types(source_ND.dtype, weights_E.dtype)
    if not bags * pairs * width:
        return torch.zeros(bags, width, dtype=dtype, device=source_ND.device)
    source, offsets_R = _by_row(source_ND), offsets_R.contiguous()
    inputs = (source, at_E.contiguous(), offsets_R, weights_E.contiguous())
    sizes = (pairs, bags, width, source.stride(0))
    constants: dict[str, Any] = {"CUT": CUT, "PAIRS": PAIRS, "BLOCK": _block(width), "num_warps": WARPS}
    # Blocks of channels are the outer axis: the GPU sweeps one slice of the rows, which its cache holds, at a time.
    blocks = triton.cdiv(width, constants["BLOCK"])
    cuts_C = CUT * torch.arange(1, triton.cdiv(pairs, CUT), dtype=offsets_R.dtype, device=offsets_R.device)
    bags_C = torch.searchsorted(offsets_R, cuts_C) - 1  # the last begun before the cut
    carried_CD = torch.empty(len(cuts_C), width, device=source.device)
    out_RD = torch.empty(bags, width, dtype=dtype, device=source.device)
    with torch.cuda.device_of(out_RD):
        if len(cuts_C):
            _carried_kernel[(len(cuts_C), blocks)](*inputs, bags_C, carried_CD, *sizes, **constants)
        _spmm_kernel[(bags, blocks)](*inputs, carried_CD, out_RD, *sizes, **constants)
    return out_RD


def _by_row(rows: Tensor) -> Tensor:
    return rows if rows.stride(1) == 1 else rows.contiguous()


def _block(width: int) -> int:
    return min(BLOCK, triton.next_power_of_2(max(width, 1)))


def _kernel(function: Callable[..., Any]) -> Any:
    """Compile on first use, once for all numbers of pairs and bags; without Triton nothing calls it."""
    if triton is None:
        return function
    return triton.jit(function, do_not_specialize=["n_pairs", "n_bags"])


@_kernel
def _sddmm_kernel(
    left,
    right,
    left_at,
    right_at,
    out,
    n_pairs,
    width,
    left_stride,
    right_stride,
    PAIRS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A program makes PAIRS products. Pairs in row order share their left row, which is then read from cache."""
    pairs = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    on = pairs < n_pairs
    left_rows = left + tl.load(left_at + pairs, mask=on, other=0).to(tl.int64)[:, None] * left_stride
    right_rows = right + tl.load(right_at + pairs, mask=on, other=0).to(tl.int64)[:, None] * right_stride
    total = tl.zeros((PAIRS, BLOCK), tl.float32)
    for start in range(0, width, BLOCK):
        columns = (start + tl.arange(0, BLOCK))[None, :]
        read = on[:, None] & (columns < width)
        a = tl.load(left_rows + columns, mask=read, other=0.0)
        b = tl.load(right_rows + columns, mask=read, other=0.0)
        total += a.to(tl.float32) * b.to(tl.float32)
    tl.store(out + pairs, tl.sum(total, axis=1).to(out.dtype.element_ty), mask=on)


@_kernel
def _sum_of_rows(source, at, weights, first, last, columns, width, stride, PAIRS: tl.constexpr, BLOCK: tl.constexpr):
    """The sum of weights * source[at] over pairs first to last: float32 [BLOCK]."""
    total = tl.zeros((PAIRS, BLOCK), tl.float32)
    for start in range(first, last, PAIRS):
        pairs = start + tl.arange(0, PAIRS)
        on = pairs < last
        rows = source + tl.load(at + pairs, mask=on, other=0).to(tl.int64)[:, None] * stride
        weight = tl.load(weights + pairs, mask=on, other=0.0).to(tl.float32)
        tile = tl.load(rows + columns[None, :], mask=on[:, None] & (columns < width)[None, :], other=0.0)
        total += weight[:, None] * tile.to(tl.float32)
    return tl.sum(total, axis=0)


@_kernel
def _carried_kernel(
    source,
    at,
    offsets,
    weights,
    bags,
    carried,
    n_pairs,
    n_bags,
    width,
    stride,
    CUT: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """For each cut, of the last bag begun before it, the sum from there to the next cut; 0 if it has ended by then."""
    cut = tl.program_id(0).to(tl.int64)
    first = (cut + 1) * CUT
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    bag = tl.load(bags + cut)
    end = tl.load(offsets + bag + 1, mask=bag + 1 < n_bags, other=n_pairs).to(tl.int64)
    last = tl.minimum(end, first + CUT)
    total = _sum_of_rows(source, at, weights, first, last, columns, width, stride, PAIRS, BLOCK)
    tl.store(carried + cut * width + columns, total, mask=columns < width)


@_kernel
def _spmm_kernel(
    source,
    at,
    offsets,
    weights,
    carried,
    out,
    n_pairs,
    n_bags,
    width,
    stride,
    CUT: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A program makes one block of one bag: its pairs to the first cut, then what is carried over the later ones."""
    bag = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    first = tl.load(offsets + bag).to(tl.int64)
    end = tl.load(offsets + bag + 1, mask=bag + 1 < n_bags, other=n_pairs).to(tl.int64)
    last = tl.minimum(end, (first // CUT + 1) * CUT)
    total = _sum_of_rows(source, at, weights, first, last, columns, width, stride, PAIRS, BLOCK)
    for cut in range(first // CUT, (end - 1) // CUT):
        total += tl.load(carried + cut * width + columns, mask=columns < width, other=0.0)
    tl.store(out + bag * width + columns, total.to(out.dtype.element_ty), mask=columns < width)
